#!/usr/bin/env python3
"""Makes tests/golden/translation/t5_gguf/model.gguf: the model of t5_json as llama.cpp's converter
writes a T5, by the names and keys that the gguf package has for it.

    python tools/make_golden_gguf_t5.py

Needs numpy, safetensors and gguf. What it computes is in t5_json/expected.json. The vocabulary has
the table of characters, the extra ids as llama.cpp lists them (user-defined) and padding.
"""
import base64
import json
import pathlib

import gguf
from safetensors.numpy import load_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "translation"


def add_sizes(writer, config):
    writer.add_context_length(config.get("n_positions", 512))
    writer.add_embedding_length(config["d_model"])
    writer.add_feed_forward_length(config["d_ff"])
    writer.add_block_count(config["num_layers"])
    writer.add_decoder_block_count(config["num_decoder_layers"])
    writer.add_head_count(config["num_heads"])
    writer.add_key_length(config["d_kv"])
    writer.add_value_length(config["d_kv"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_relative_attn_buckets_count(config["relative_attention_num_buckets"])
    writer.add_decoder_start_token_id(config["decoder_start_token_id"])


def add_vocabulary(writer, tokenizer, size):
    kinds = gguf.TokenType
    special = {"<pad>": kinds.CONTROL, "</s>": kinds.CONTROL, "<unk>": kinds.UNKNOWN}
    tokens, scores, types = [], [], []
    for token, score in tokenizer["model"]["vocab"]:
        extra = token.startswith("<extra_id_")
        tokens.append(token)
        scores.append(-1000.0 if extra else score)
        types.append(kinds.USER_DEFINED if extra else special.get(token, kinds.NORMAL))
    for i in range(len(tokens), size):
        tokens.append(f"[PAD{i}]")
        scores.append(-10000.0)
        types.append(kinds.UNUSED)
    table = tokenizer["normalizer"]["normalizers"][0]["precompiled_charsmap"]
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    writer.add_precompiled_charsmap(base64.b64decode(table))
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(True)


def main():
    source, target = GOLDEN / "t5_json", GOLDEN / "t5_gguf" / "model.gguf"
    config = json.loads((source / "config.json").read_text())
    target.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(target, "t5")
    add_sizes(writer, config)
    add_vocabulary(writer, json.loads((source / "tokenizer.json").read_text()), config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5, config["num_layers"])
    for name, values in load_file(source / "model.safetensors").items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), values.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
