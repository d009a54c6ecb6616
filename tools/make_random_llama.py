#!/usr/bin/env python3
"""Writes a Llama-type model of random f16 weights in real sizes: for speed and memory, not text.

    python3 tools/make_random_llama.py TOKENIZER_DIR DIR [--width 2048] [--layers 16] [--heads 32]
                                       [--mlp 5632] [--vocabulary 32000] [--context 16384]
                                       [--repeat] [--plan i12]

The tokenizer is another model's (its ids must fit the vocabulary). The defaults make 0.95 billion
weights with as many key heads as heads, 1.9 GB. --repeat: all layers have the same weights. --plan:
as if converted to k in these rows, with 8 spill columns and a value map that is random too, so that
nothing has to be derived (a layer of 4,096 columns takes a minute); there is then no W_V.
"""
import argparse
import json
import pathlib
import shutil

import numpy
from safetensors.numpy import save_file


# The engine's own names, which a converted model has.
NAMES = (("model.embed_tokens.", "decoder.embed."), ("model.", "decoder."), ("lm_head.", "head."),
         ("self_attn.o_proj.", "self.out."), ("_proj.", "."), ("input_layernorm.", "self.norm."),
         ("post_attention_layernorm.", "mlp.norm."))


def converted_name(name):
    for theirs, ours in NAMES:
        name = name.replace(theirs, ours)
    return name


def layer_weights(sizes, matrix, random):
    width = sizes.width
    weights = {"self_attn.o_proj.weight": matrix(width, width),
               "mlp.gate_proj.weight": matrix(sizes.mlp, width),
               "mlp.up_proj.weight": matrix(sizes.mlp, width),
               "mlp.down_proj.weight": matrix(width, sizes.mlp),
               "input_layernorm.weight": numpy.ones(width, numpy.float16),
               "post_attention_layernorm.weight": numpy.ones(width, numpy.float16)}
    if sizes.plan is None:
        return weights | {f"self_attn.{part}_proj.weight": matrix(width, width) for part in "qkv"}
    return weights | {
        "self.q.weight": matrix(width, width), "self.k.weight": matrix(width, width),
        "self.value_map.weight": random.integers(-32767, 32768, (width, width), numpy.int16),
        "self.value_map.scale": numpy.full(width, 2 ** -15 * width ** -0.5, numpy.float32),
        "self.spill.weight": matrix(8, width),
        "self.spill_map.weight": matrix(width, 8).astype(numpy.float32)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    for name, value in (("width", 2048), ("layers", 16), ("heads", 32), ("mlp", 5632),
                        ("vocabulary", 32000), ("context", 16384)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--plan", choices=("i16", "i12", "i10", "i8"))
    sizes = parser.parse_args()
    random = numpy.random.default_rng(1)

    def matrix(outputs, inputs, scale=None):
        values = random.standard_normal((outputs, inputs), dtype=numpy.float32)
        return (values * (scale or inputs ** -0.5)).astype(numpy.float16)

    ones = numpy.ones(sizes.width, numpy.float16)
    weights = {"model.embed_tokens.weight": matrix(sizes.vocabulary, sizes.width, 0.02),
               "model.norm.weight": ones, "lm_head.weight": matrix(sizes.vocabulary, sizes.width)}
    for layer in range(sizes.layers):
        if layer == 0 or not sizes.repeat:
            one = layer_weights(sizes, matrix, random)
        for name, value in one.items():
            weights[f"model.layers.{layer}.{name}"] = value
    if sizes.plan is not None:
        weights = {converted_name(name): value for name, value in weights.items()}
    sizes.directory.mkdir(parents=True, exist_ok=True)
    metadata = {"format": "pt"} if sizes.plan is None else {"format": "slim", "slim_version": "0.1.0"}
    save_file(weights, sizes.directory / "model.safetensors", metadata=metadata)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
              "hidden_size": sizes.width, "intermediate_size": sizes.mlp,
              "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
              "num_key_value_heads": sizes.heads, "vocab_size": sizes.vocabulary,
              "max_position_embeddings": sizes.context, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
              "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float16"}
    if sizes.plan is not None:
        layers = [{"layer": layer, "attention": "self", "kind": "k", "row_type": sizes.plan,
                   "spill": 8, "rank": 0} for layer in range(sizes.layers)]
        (sizes.directory / "slim_plan.json").write_text(json.dumps({"format": 1, "layers": layers}))
    (sizes.directory / "config.json").write_text(json.dumps(config, indent=1))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(sizes.tokenizer / file, sizes.directory)


if __name__ == "__main__":
    main()
