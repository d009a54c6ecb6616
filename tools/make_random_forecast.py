#!/usr/bin/env python3
"""Writes a Chronos-Bolt, or a Chronos, of random f32 weights in real sizes: for speed and memory.

    python3 tools/make_random_forecast.py DIR [--tokens] [--width 768] [--layers 12] [--heads 12]
                                          [--mlp 3072]

The defaults are Chronos-Bolt-base's: 205 million weights, 0.8 GB. --tokens: a Chronos instead, of
4,096 tokens, 512 values back and 64 ahead; with --width 768 that is chronos-t5-base.
"""
import argparse
import json
import pathlib

import numpy
from safetensors.numpy import save_file


def stack(side, sizes, matrix):
    """The tensors of one side."""
    inner = sizes.heads * 64
    weights = {f"{side}.final_layer_norm.weight": numpy.ones(sizes.width, numpy.float32),
               f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight":
                   matrix(32, sizes.heads)}
    attentions = ["0.SelfAttention"] + (["1.EncDecAttention"] if side == "decoder" else [])
    for layer in range(sizes.layers):
        block = f"{side}.block.{layer}.layer."
        for attention in attentions:
            for part in "qkv":
                # Scores are not scaled: so they are a few units.
                scale = (sizes.width * 8) ** -0.5 if part == "q" else None
                weights[f"{block}{attention}.{part}.weight"] = matrix(inner, sizes.width, scale)
            weights[f"{block}{attention}.o.weight"] = matrix(sizes.width, inner)
        mlp = f"{block}{len(attentions)}.DenseReluDense."
        weights[f"{mlp}wi.weight"] = matrix(sizes.mlp, sizes.width)
        weights[f"{mlp}wo.weight"] = matrix(sizes.width, sizes.mlp)
        for branch in range(len(attentions) + 1):
            weights[f"{block}{branch}.layer_norm.weight"] = numpy.ones(sizes.width, numpy.float32)
    return weights


def patch_block(name, inputs, inner, outputs, matrix):
    shapes = {"hidden_layer": (inner, inputs), "output_layer": (outputs, inner),
              "residual_layer": (outputs, inputs)}
    weights = {f"{name}.{part}.weight": matrix(*shape) for part, shape in shapes.items()}
    return weights | {f"{name}.{part}.bias": numpy.zeros(shape[0], numpy.float32)
                      for part, shape in shapes.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--tokens", action="store_true")
    for name, value in (("width", 768), ("layers", 12), ("heads", 12), ("mlp", 3072)):
        parser.add_argument(f"--{name}", type=int, default=value)
    sizes = parser.parse_args()
    random = numpy.random.default_rng(1)

    def matrix(outputs, inputs, scale=None):
        values = random.standard_normal((outputs, inputs), dtype=numpy.float32)
        return values * numpy.float32(scale or inputs ** -0.5)

    config = {"architectures": ["ChronosBoltModelForForecasting"], "model_type": "t5",
              "d_model": sizes.width, "d_kv": 64, "d_ff": sizes.mlp, "num_heads": sizes.heads,
              "num_layers": sizes.layers, "num_decoder_layers": sizes.layers, "vocab_size": 2,
              "n_positions": 512, "feed_forward_proj": "relu", "is_encoder_decoder": True,
              "tie_word_embeddings": False, "pad_token_id": 0, "eos_token_id": 1,
              "reg_token_id": 1, "decoder_start_token_id": 0, "torch_dtype": "float32",
              "chronos_pipeline_class": "ChronosBoltPipeline",
              "chronos_config": {"context_length": 2048, "prediction_length": 64,
                                 "input_patch_size": 16, "input_patch_stride": 16,
                                 "quantiles": [level / 10 for level in range(1, 10)],
                                 "use_reg_token": True}}
    weights = stack("encoder", sizes, matrix) | stack("decoder", sizes, matrix)
    if sizes.tokens:
        config |= {"architectures": ["T5ForConditionalGeneration"], "vocab_size": 4096,
                   "tie_word_embeddings": True, "chronos_pipeline_class": "ChronosPipeline",
                   "chronos_config": {"tokenizer_class": "MeanScaleUniformBins",
                                      "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
                                      "context_length": 512, "prediction_length": 64,
                                      "n_tokens": 4096, "n_special_tokens": 2, "pad_token_id": 0,
                                      "eos_token_id": 1, "use_eos_token": True,
                                      "model_type": "seq2seq", "num_samples": 20,
                                      "temperature": 1.0, "top_k": 50, "top_p": 1.0}}
    else:
        outputs = 9 * 64
        weights |= patch_block("input_patch_embedding", 32, sizes.mlp, sizes.width, matrix)
        weights |= patch_block("output_patch_embedding", sizes.width, sizes.mlp, outputs, matrix)
    weights["shared.weight"] = matrix(config["vocab_size"], sizes.width, 1.0)
    sizes.directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, sizes.directory / "model.safetensors", metadata={"format": "pt"})
    (sizes.directory / "config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
