#!/usr/bin/env python3
"""Writes a language model of random f16 weights in real sizes: for speed and memory, not text.

    python3 tools/make_random_decoder.py TOKENIZER_DIR DIR [--like llama-2-7b|phi-3-mini-128k|
        gemma-7b|olmo-2-13b] [--width 2048] [--layers 16] [--heads 32] [--head-width 64] [--mlp 5632]
        [--vocabulary 32000] [--context 16384] [--repeat] [--plan i12]

The tokenizer is another model's (its ids must fit the vocabulary). The sizes left out are those of
the model that it is to be like, or a Llama's with 0.95 billion weights, 1.9 GB. There are as many
key heads as heads. --repeat: all layers have the same weights. --plan: as if converted to k in these
rows, with 8 spill columns and a value map that is random too, so that nothing has to be derived;
there is then no W_V.
"""
import argparse
import json
import pathlib
import shutil

import numpy
from safetensors.numpy import save_file

DEFAULT = {"family": "llama", "width": 2048, "layers": 16, "heads": 32, "mlp": 5632,
           "vocabulary": 32000, "context": 16384}
LIKE = {
    "llama-2-7b": {"width": 4096, "layers": 32, "mlp": 11008, "context": 131072},
    "phi-3-mini-128k": {"family": "phi3", "width": 3072, "layers": 32, "mlp": 8192,
                        "vocabulary": 32064, "context": 131072},
    "gemma-7b": {"family": "gemma", "width": 3072, "layers": 28, "heads": 16, "head_width": 256,
                 "mlp": 24576, "vocabulary": 256000, "context": 131072},
    "olmo-2-13b": {"family": "olmo2", "width": 5120, "layers": 40, "heads": 40, "mlp": 13824,
                   "vocabulary": 100352, "context": 131072},
}
CLASSES = {"llama": "LlamaForCausalLM", "phi3": "Phi3ForCausalLM", "gemma": "GemmaForCausalLM",
           "olmo2": "Olmo2ForCausalLM"}
# From the engine's own names, which a converted model has, to those of the families' files.
NAMES = (("decoder.embed.", "model.embed_tokens."), ("decoder.layers.", "model.layers."),
         ("decoder.norm.", "model.norm."), ("head.", "lm_head."))
NORMS = {"olmo2": (("self.post_norm.", "post_attention_layernorm."),
                   ("mlp.post_norm.", "post_feedforward_layernorm."))}
LLAMA_NORMS = (("self.norm.", "input_layernorm."), ("mlp.norm.", "post_attention_layernorm."))
PARTS = (("self.out.", "self_attn.o_proj."), ("self.qkv.", "self_attn.qkv_proj."),
         ("self.q.", "self_attn.q_proj."), ("self.k.", "self_attn.k_proj."),
         ("self.v.", "self_attn.v_proj."), ("self.q_norm.", "self_attn.q_norm."),
         ("self.k_norm.", "self_attn.k_norm."), ("mlp.gate_up.", "mlp.gate_up_proj."),
         ("mlp.gate.", "mlp.gate_proj."), ("mlp.up.", "mlp.up_proj."),
         ("mlp.down.", "mlp.down_proj."))


def name_in_files(name, family):
    for ours, theirs in NAMES:
        if name.startswith(ours):
            name = theirs + name[len(ours):]
    for ours, theirs in NORMS.get(family, LLAMA_NORMS) + PARTS:
        name = name.replace(ours, theirs)
    return name


def attention_weights(sizes, matrix, random):
    width, all_heads = sizes.width, sizes.heads * sizes.head_width
    weights = {"self.out.weight": matrix(width, all_heads)}
    if sizes.plan is not None:
        return weights | {
            "self.q.weight": matrix(all_heads, width), "self.k.weight": matrix(all_heads, width),
            "self.value_map.weight": random.integers(-32767, 32768, (all_heads, all_heads), numpy.int16),
            "self.value_map.scale": numpy.full(all_heads, 2 ** -15 * all_heads ** -0.5, numpy.float32),
            "self.spill.weight": matrix(8, width),
            "self.spill_map.weight": matrix(all_heads, 8).astype(numpy.float32)}
    if sizes.family == "phi3":
        return weights | {"self.qkv.weight": matrix(3 * all_heads, width)}
    return weights | {f"self.{part}.weight": matrix(all_heads, width) for part in "qkv"}


def layer_weights(sizes, matrix, random):
    width, inner = sizes.width, sizes.mlp
    gain = numpy.full(width, 0.0 if sizes.family == "gemma" else 1.0, numpy.float16)
    norm = "post_norm" if sizes.family == "olmo2" else "norm"
    weights = attention_weights(sizes, matrix, random) | {
        "mlp.down.weight": matrix(width, inner), f"self.{norm}.weight": gain, f"mlp.{norm}.weight": gain}
    if sizes.family == "olmo2":
        weights |= {f"self.{part}_norm.weight": gain for part in "qk"}
    if sizes.family == "phi3":
        return weights | {"mlp.gate_up.weight": matrix(2 * inner, width)}
    return weights | {f"mlp.{part}.weight": matrix(inner, width) for part in ("gate", "up")}


def config_of(sizes):
    config = {"architectures": [CLASSES[sizes.family]], "model_type": sizes.family,
              "hidden_size": sizes.width, "intermediate_size": sizes.mlp, "head_dim": sizes.head_width,
              "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
              "num_key_value_heads": sizes.heads, "vocab_size": sizes.vocabulary,
              "max_position_embeddings": sizes.context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "hidden_act": "silu", "tie_word_embeddings": sizes.family == "gemma",
              "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "torch_dtype": "float16"}
    if sizes.family == "gemma":
        config |= {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh"}
    if sizes.family == "phi3":
        pairs = sizes.head_width // 2
        factors = {"short_factor": [1.0 + 0.02 * i for i in range(pairs)],
                   "long_factor": [1.0 + 0.5 * i for i in range(pairs)]}
        config |= {"original_max_position_embeddings": 4096, "rope_scaling": factors | {"type": "longrope"}}
    return config


def read_sizes():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--like", choices=LIKE)
    for name in ("width", "layers", "heads", "head_width", "mlp", "vocabulary", "context"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--plan", choices=("i16", "i12", "i10", "i8"))
    sizes = parser.parse_args()
    for name, value in (DEFAULT | LIKE.get(sizes.like, {})).items():
        if getattr(sizes, name, None) is None:
            setattr(sizes, name, value)
    if sizes.head_width is None:
        sizes.head_width = sizes.width // sizes.heads
    return sizes


def main():
    sizes = read_sizes()
    random = numpy.random.default_rng(1)

    def matrix(outputs, inputs, scale=None):
        values = random.standard_normal((outputs, inputs), dtype=numpy.float32)
        return (values * (scale or inputs ** -0.5)).astype(numpy.float16)

    weights = {"decoder.embed.weight": matrix(sizes.vocabulary, sizes.width, 0.02),
               "decoder.norm.weight": numpy.ones(sizes.width, numpy.float16)}
    if sizes.family != "gemma":
        weights["head.weight"] = matrix(sizes.vocabulary, sizes.width)
    for layer in range(sizes.layers):
        if layer == 0 or not sizes.repeat:
            one = layer_weights(sizes, matrix, random)
        for name, value in one.items():
            weights[f"decoder.layers.{layer}.{name}"] = value
    metadata = {"format": "slim", "slim_version": "0.1.0"}
    if sizes.plan is None:
        metadata = {"format": "pt"}
        weights = {name_in_files(name, sizes.family): value for name, value in weights.items()}
    sizes.directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, sizes.directory / "model.safetensors", metadata=metadata)
    if sizes.plan is not None:
        layers = [{"layer": layer, "attention": "self", "kind": "k", "row_type": sizes.plan,
                   "spill": 8, "rank": 0} for layer in range(sizes.layers)]
        (sizes.directory / "slim_plan.json").write_text(json.dumps({"format": 1, "layers": layers}))
    (sizes.directory / "config.json").write_text(json.dumps(config_of(sizes), indent=1))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(sizes.tokenizer / file, sizes.directory)


if __name__ == "__main__":
    main()
