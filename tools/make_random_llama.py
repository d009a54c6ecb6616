#!/usr/bin/env python3
"""Writes a Llama-type model of random f16 weights in real sizes: for speed and memory, not text.

    python3 tools/make_random_llama.py TOKENIZER_DIR DIR [--width 2048] [--layers 16] [--heads 32]
                                       [--mlp 5632] [--vocabulary 32000] [--context 16384]

The tokenizer is another model's (its ids must fit the vocabulary). The defaults make 0.95 billion
weights with as many key heads as heads, 1.9 GB.
"""
import argparse
import json
import pathlib
import shutil

import numpy
from safetensors.numpy import save_file


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    for name, value in (("width", 2048), ("layers", 16), ("heads", 32), ("mlp", 5632),
                        ("vocabulary", 32000), ("context", 16384)):
        parser.add_argument(f"--{name}", type=int, default=value)
    sizes = parser.parse_args()
    random = numpy.random.default_rng(1)

    def matrix(outputs, inputs, scale=None):
        values = random.standard_normal((outputs, inputs), dtype=numpy.float32)
        return (values * (scale or inputs ** -0.5)).astype(numpy.float16)

    ones = numpy.ones(sizes.width, numpy.float16)
    weights = {"model.embed_tokens.weight": matrix(sizes.vocabulary, sizes.width, 0.02),
               "model.norm.weight": ones, "lm_head.weight": matrix(sizes.vocabulary, sizes.width)}
    for layer in range(sizes.layers):
        name = f"model.layers.{layer}."
        for part in "qkvo":
            weights[f"{name}self_attn.{part}_proj.weight"] = matrix(sizes.width, sizes.width)
        for part in ("gate", "up"):
            weights[f"{name}mlp.{part}_proj.weight"] = matrix(sizes.mlp, sizes.width)
        weights[name + "mlp.down_proj.weight"] = matrix(sizes.width, sizes.mlp)
        weights[name + "input_layernorm.weight"] = ones
        weights[name + "post_attention_layernorm.weight"] = ones
    sizes.directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, sizes.directory / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
              "hidden_size": sizes.width, "intermediate_size": sizes.mlp,
              "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
              "num_key_value_heads": sizes.heads, "vocab_size": sizes.vocabulary,
              "max_position_embeddings": sizes.context, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
              "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "float16"}
    (sizes.directory / "config.json").write_text(json.dumps(config, indent=1))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(sizes.tokenizer / file, sizes.directory)


if __name__ == "__main__":
    main()
