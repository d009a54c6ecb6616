#!/usr/bin/env python3
"""Makes tests/golden/whisper: tiny random Whisper models and what Transformers says they compute.

Each model is written as a Hugging Face directory (one also in shards) and as a CTranslate2
directory, from the same weights, which are rounded to the file's type *before* the expected values
are computed: they are exact inputs to both sides. Expected values come from Transformers in
float64, without a cache.

    python tools/make_golden_whisper.py [output directory]

Needs numpy, torch, transformers, safetensors and ctranslate2.

  deep_decoder  80 bins, 2 + 3 layers, f16; hf, sharded, ct2
  wide_input    128 bins, 3 + 1 layers, 4 and 2 heads, unequal MLPs, bf16; hf, ct2
  computed      80 bins, 1 + 1 layers, f32; hf without the encoder's position table (sinusoids)

expected/model.safetensors of each model, f32 where nothing else is said:
  mel [3, frames, bins] f16   frames first, as the engine takes them
  encoded [3, positions, D]
  tokens [3, T]           random; the three windows' teacher-forced texts
  logits [3, T, V]
"""

import json
import pathlib
import shutil
import sys
import tempfile

import ctranslate2.converters
import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

MODELS = {
    "deep_decoder": dict(
        seed=1, dtype=torch.float16, ct2="float16", sharded=True, tokens=70,
        config=dict(num_mel_bins=80, encoder_layers=2, decoder_layers=3, d_model=32,
                    encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
                    decoder_ffn_dim=64, vocab_size=160, max_source_positions=100,
                    max_target_positions=80)),
    "wide_input": dict(
        seed=2, dtype=torch.bfloat16, ct2="bfloat16", sharded=False, tokens=9,
        config=dict(num_mel_bins=128, encoder_layers=3, decoder_layers=1, d_model=32,
                    encoder_attention_heads=4, decoder_attention_heads=2, encoder_ffn_dim=96,
                    decoder_ffn_dim=64, vocab_size=701, max_source_positions=40,
                    max_target_positions=40)),
    "computed": dict(
        seed=3, dtype=torch.float32, ct2=None, sharded=False, tokens=12,
        config=dict(num_mel_bins=80, encoder_layers=1, decoder_layers=1, d_model=32,
                    encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=40,
                    decoder_ffn_dim=40, vocab_size=64, max_source_positions=20,
                    max_target_positions=20)),
}


class Tokens:
    """What the CTranslate2 converter asks of a tokenizer."""

    additional_special_tokens = []

    def __init__(self, count):
        self.count = count

    def get_vocab(self):
        return {f"t{i}": i for i in range(self.count)}


class Converter(ctranslate2.converters.TransformersConverter):
    def load_tokenizer(self, tokenizer_class, model_name_or_path, **kwargs):
        config = json.loads((pathlib.Path(model_name_or_path) / "config.json").read_text())
        return Tokens(config["vocab_size"])


def build(entry):
    torch.manual_seed(entry["seed"])
    config = transformers.WhisperConfig(
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
        suppress_tokens=[], begin_suppress_tokens=[], attn_implementation="eager",
        **entry["config"])
    model = transformers.WhisperForConditionalGeneration(config).eval()
    # Larger than the usual initialisation: scores of a few units make the attention far from
    # uniform, so that a wrong key, scale or head shows.
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name == "model.encoder.embed_positions.weight":
                pass  # sinusoids
            elif "layer_norm.weight" in name:
                p.normal_(1, 0.2)
            elif name.endswith("bias"):
                p.normal_(0, 0.1)
            elif "embed" in name:
                p.normal_(0, 0.5)
            else:
                gain = 2.0 if ("q_proj" in name or "k_proj" in name) else 1.0
                p.normal_(0, gain / np.sqrt(p[0].numel()))
            p.copy_(p.to(entry["dtype"]).to(p.dtype))
    assert model.proj_out.weight.data_ptr() == model.model.decoder.embed_tokens.weight.data_ptr()
    return model


def expected(model, entry):
    config = model.config
    rng = np.random.default_rng(entry["seed"])
    mel = rng.normal(0, 0.7, (3, config.num_mel_bins, 2 * config.max_source_positions))
    mel = mel.astype(np.float16)
    tokens = rng.integers(0, config.vocab_size, (3, entry["tokens"]))
    with torch.no_grad():
        encoded = model.model.encoder(torch.tensor(mel.astype(np.float64))).last_hidden_state
        logits = model(encoder_outputs=(encoded,), decoder_input_ids=torch.tensor(tokens),
                       use_cache=False).logits
    return {
        "mel": np.ascontiguousarray(mel.transpose(0, 2, 1)),
        "encoded": encoded.float().numpy(),
        "tokens": tokens.astype(np.float32),
        "logits": logits.float().numpy(),
    }


def write(root, name, entry):
    directory = root / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model = build(entry)
    (directory / "expected").mkdir()
    save_file(expected(model.double(), entry), directory / "expected" / "model.safetensors")
    model = model.to(entry["dtype"])  # exact: see build
    model.save_pretrained(directory / "hf")
    if entry["sharded"]:
        model.save_pretrained(directory / "sharded", max_shard_size="60KB")
    if entry["ct2"]:
        Converter(str(directory / "hf")).convert(str(directory / "ct2"), quantization=entry["ct2"])
    for extra in directory.glob("*/generation_config.json"):
        extra.unlink()
    if name == "computed":
        drop(directory / "hf" / "model.safetensors", "model.encoder.embed_positions.weight")


def drop(path, tensor):
    tensors = load_file(path)
    del tensors[tensor]
    save_file(tensors, path, metadata={"format": "pt"})


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "whisper"
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for model_name, model_entry in MODELS.items():
        write(target, model_name, model_entry)
