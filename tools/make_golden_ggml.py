#!/usr/bin/env python3
"""Writes models of tests/golden/whisper as whisper.cpp's ggml files, from their safetensors.

    python tools/make_golden_ggml.py [tests/golden/whisper]

Needs numpy, torch (for bf16), safetensors and transformers (whose mel filters are librosa's).

  deep_decoder/ggml-f16.bin  matrices f16, the rest f32, as whisper.cpp's converters have it
  wide_input/ggml-f32.bin    all f32

The values are those of the safetensors: f16 and bf16 are exact in f32. The vocabulary is the first
100 bytes: too few for steering tokens, which is what models of 160 tokens have.
"""

import json
import pathlib
import struct
import sys

import numpy as np
from safetensors.torch import load_file
from transformers.audio_utils import mel_filter_bank

MODELS = {"deep_decoder": np.float16, "wide_input": np.float32}
NAMES = [("model.", ""), (".layers.", ".blocks."), (".encoder_attn_layer_norm.", ".cross_attn_ln."),
         (".self_attn_layer_norm.", ".attn_ln."), (".final_layer_norm.", ".mlp_ln."),
         (".encoder_attn.", ".cross_attn."), (".self_attn.", ".attn."), (".q_proj.", ".query."),
         (".k_proj.", ".key."), (".v_proj.", ".value."), (".out_proj.", ".out."), (".fc1.", ".mlp.0."),
         (".fc2.", ".mlp.2."), ("encoder.layer_norm.", "encoder.ln_post."),
         ("decoder.layer_norm.", "decoder.ln."), (".embed_positions.weight", ".positional_embedding"),
         (".embed_tokens.", ".token_embedding.")]


def integers(*values):
    return struct.pack(f"<{len(values)}i", *values)


def tensor(name, values, matrices):
    for old, new in NAMES:
        name = name.replace(old, new)
    kept = values.ndim < 2 or name.endswith("positional_embedding")
    values = values.astype(np.float32 if kept else matrices)
    if name.startswith("encoder.conv") and name.endswith("bias"):
        values = values.reshape(-1, 1)
    head = integers(values.ndim, len(name), int(values.dtype == np.float16), *reversed(values.shape))
    return head + name.encode() + values.tobytes()


def ggml(directory, matrices):
    config = json.loads((directory / "config.json").read_text())
    tensors = load_file(directory / "model.safetensors")
    bins = config["num_mel_bins"]
    sizes = [config["vocab_size"]]
    for side, positions in (("encoder", "source"), ("decoder", "target")):
        sizes += [config[f"max_{positions}_positions"], config["d_model"],
                  config[f"{side}_attention_heads"], config[f"{side}_layers"]]
    filters = mel_filter_bank(201, bins, 0, 8000, 16000, norm="slaney", mel_scale="slaney").T
    tokens = [bytes([i]) for i in range(100)]
    parts = [integers(0x67676D6C, *sizes, bins, int(matrices == np.float16)),
             integers(*filters.shape), np.ascontiguousarray(filters, np.float32).tobytes(),
             integers(len(tokens)), *(integers(len(token)) + token for token in tokens)]
    parts += [tensor(name, values.float().numpy(), matrices) for name, values in tensors.items()
              if name != "proj_out.weight"]
    return b"".join(parts)


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "whisper"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for model, matrices in MODELS.items():
        name = "ggml-f16.bin" if matrices == np.float16 else "ggml-f32.bin"
        (root / model / name).write_bytes(ggml(root / model / "hf", matrices))
