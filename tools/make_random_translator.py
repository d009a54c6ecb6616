#!/usr/bin/env python3
"""Writes a translation model of a published shape with random weights: a Hugging Face directory to
measure sizes and speed on, where the real weights cannot be had. Needs nothing but Python.

usage: make_random_translator.py SHAPE FOLDER
SHAPE: flan-t5-base, opus-mt-base. Weights are f16, of magnitude 2^-6 to 2^-4 with random signs;
norms are ones and zeros. Token 7 is the word "t7".
"""
import json
import pathlib
import struct
import sys

from make_random_whisper import write_model


def t5_config() -> dict:
    return {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5",
            "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_heads": 12, "num_layers": 12,
            "num_decoder_layers": 12, "vocab_size": 32128, "feed_forward_proj": "gated-gelu",
            "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
            "layer_norm_epsilon": 1e-6, "tie_word_embeddings": False, "is_encoder_decoder": True,
            "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "unk_token_id": 2}


def t5_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    width, inner = config["d_model"], config["num_heads"] * config["d_kv"]
    shapes = {"shared.weight": (config["vocab_size"], width),
              "lm_head.weight": (config["vocab_size"], width)}

    def branch(layer, number, kind, matrices):
        shapes[f"{layer}.layer.{number}.layer_norm.weight"] = (width,)
        for name, shape in matrices.items():
            shapes[f"{layer}.layer.{number}.{kind}.{name}.weight"] = shape

    attention = {"q": (inner, width), "k": (inner, width), "v": (inner, width), "o": (width, inner)}
    mlp = {"wi_0": (config["d_ff"], width), "wi_1": (config["d_ff"], width),
           "wo": (width, config["d_ff"])}
    for side, layers in (("encoder", "num_layers"), ("decoder", "num_decoder_layers")):
        shapes[f"{side}.final_layer_norm.weight"] = (width,)
        shapes[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (
            config["relative_attention_num_buckets"], config["num_heads"])
        for i in range(config[layers]):
            branch(f"{side}.block.{i}", 0, "SelfAttention", attention)
            if side == "decoder":
                branch(f"{side}.block.{i}", 1, "EncDecAttention", attention)
            branch(f"{side}.block.{i}", 2 if side == "decoder" else 1, "DenseReluDense", mlp)
    return shapes


def marian_config() -> dict:
    return {"architectures": ["MarianMTModel"], "model_type": "marian", "d_model": 512,
            "encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 8,
            "decoder_attention_heads": 8, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048,
            "vocab_size": 58101, "max_position_embeddings": 512, "activation_function": "swish",
            "scale_embedding": True, "static_position_embeddings": True,
            "share_encoder_decoder_embeddings": True, "tie_word_embeddings": True,
            "is_encoder_decoder": True, "decoder_start_token_id": 58100, "pad_token_id": 58100,
            "eos_token_id": 0, "bos_token_id": 0, "unk_token_id": 1}


def marian_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    width = config["d_model"]
    shapes = {"model.shared.weight": (config["vocab_size"], width),
              "final_logits_bias": (1, config["vocab_size"])}

    def put(name, *shape):
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]

    for side in ("encoder", "decoder"):
        for i in range(config[f"{side}_layers"]):
            layer = f"model.{side}.layers.{i}"
            for attention in ("self_attn", "encoder_attn")[:2 if side == "decoder" else 1]:
                for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    put(f"{layer}.{attention}.{part}", width, width)
                put(f"{layer}.{attention}_layer_norm", width)
            put(f"{layer}.fc1", config[f"{side}_ffn_dim"], width)
            put(f"{layer}.fc2", width, config[f"{side}_ffn_dim"])
            put(f"{layer}.final_layer_norm", width)
    return shapes


def tokenizer(config: dict) -> dict:
    """A tokenizer.json whose pieces are words, but for the special tokens."""
    special = {config["pad_token_id"]: "<pad>", config["eos_token_id"]: "</s>"}
    unknown = config["unk_token_id"]
    special[unknown] = "<unk>"
    pieces = [[special[i], 0.0] if i in special else [f"\u2581t{i}", -1.0]
              for i in range(config["vocab_size"])]
    spaces = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always",
              "split": True}
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None,
            "added_tokens": [{"id": i, "content": token, "single_word": False, "lstrip": False,
                              "rstrip": False, "normalized": False, "special": True}
                             for i, token in sorted(special.items())],
            "pre_tokenizer": spaces, "decoder": spaces,
            "post_processor": {"type": "TemplateProcessing",
                               "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
                               "pair": [{"Sequence": {"id": "A", "type_id": 0}}, end],
                               "special_tokens": {"</s>": {"id": "</s>", "tokens": ["</s>"],
                                                           "ids": [config["eos_token_id"]]}}},
            "model": {"type": "Unigram", "unk_id": unknown, "vocab": pieces}}


def clear_padding(file: pathlib.Path, config: dict) -> None:
    """Marian's decoder starts from an embedding of zeros, as CTranslate2 takes for granted."""
    with open(file, "r+b") as stored:
        (size,) = struct.unpack("<Q", stored.read(8))
        begin, _ = json.loads(stored.read(size))["model.shared.weight"]["data_offsets"]
        row = 2 * config["d_model"]
        stored.seek(8 + size + begin + config["pad_token_id"] * row)
        stored.write(bytes(row))


SHAPES = {"flan-t5-base": (t5_config, t5_shapes), "opus-mt-base": (marian_config, marian_shapes)}


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in SHAPES:
        sys.exit(__doc__)
    make_config, make_shapes = SHAPES[sys.argv[1]]
    config = make_config()
    folder = pathlib.Path(sys.argv[2])
    write_model(folder, config, make_shapes(config))
    if config["model_type"] == "marian":
        clear_padding(folder / "model.safetensors", config)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(config)) + "\n")


if __name__ == "__main__":
    main()
