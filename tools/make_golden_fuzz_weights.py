#!/usr/bin/env python3
"""Writes the fuzz corpora of the weights formats and of JSON: tests/fuzz/corpus/<target>/<case>.

Small files, each whole or broken in one way, from which the fuzzers' mutations start.
"""
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent.parent / "tests" / "fuzz" / "corpus"


def write(target, cases):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in cases.items():
        (folder / name).write_bytes(data)


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_cases():
    whole = {
        "__metadata__": {"format": "pt"},
        "a.k.weight": entry("F32", [2, 1], 0, 8),
        "a.v.weight": entry("BF16", [3], 8, 14),
        "b": entry("F16", [1, 2, 1], 14, 18),
        "c": entry("I8", [], 18, 19),
        "none": entry("F32", [0, 4], 19, 19),
    }
    data = bytes(range(19))
    twice = b'{"w":' + json.dumps(entry("I8", [1], 0, 1)).encode()
    return {
        "whole": safetensors(whole, data),
        "unaligned": safetensors(json.dumps(whole).encode() + b" ", data),
        "empty": b"",
        "no_tensors": safetensors({}),
        "cut_header": safetensors(whole, data)[:60],
        "cut_data": safetensors(whole, data[:10]),
        "huge_length": safetensors(whole, data, length=2**64 - 1),
        "overlap": safetensors({"k": entry("F32", [2], 0, 8), "v": entry("F32", [2], 0, 8)},
                               bytes(8)),
        "overflow": safetensors({"w": entry("F32", [2**32, 2**32, 0], 0, 0)}),
        "beyond": safetensors({"w": entry("F32", [2], 2**62, 2**62 + 8)}, bytes(8)),
        "backwards": safetensors({"w": entry("F32", [2], 8, 0)}, bytes(8)),
        "unknown_dtype": safetensors({"w": entry("I64", [1], 0, 8)}, bytes(8)),
        "wrong_size": safetensors({"w": entry("F32", [3], 0, 8)}, bytes(8)),
        "twice": safetensors(twice + b"," + twice[1:] + b"}", bytes(1)),
        "name_with_zero": safetensors({"a\0b": entry("I8", [1], 0, 1)}, bytes(1)),
        "not_json": safetensors(b"weights"),
        "deep": safetensors(b'{"w":' + b"[" * 100),
    }


def string(text):
    return struct.pack("<H", len(text) + 1) + text + b"\0"


def tensor(name, shape, dtype, data, size=None):
    sizes = struct.pack(f"<{len(shape)}I", *shape)
    length = struct.pack("<I", len(data) if size is None else size)
    return string(name) + bytes([len(shape)]) + sizes + bytes([dtype]) + length + data


def model(tensors, aliases=(), version=6, count=None):
    head = struct.pack("<I", version) + string(b"WhisperSpec") + struct.pack("<I", 3)
    body = struct.pack("<I", len(tensors) if count is None else count) + b"".join(tensors)
    names = b"".join(string(alias) + string(target) for alias, target in aliases)
    return head + body + struct.pack("<I", len(aliases)) + names


def ctranslate2_cases():
    f32, i8, i16, f16 = 0, 1, 2, 4
    embed = b"decoder/embeddings/weight"
    stacked = b"decoder/layer_0/self_attention/linear_0/weight"
    cross = b"decoder/layer_0/attention/linear_1/bias"
    up = b"decoder/layer_0/ffn/linear_0/weight"
    whole = model(
        [
            tensor(b"encoder/num_heads", [], i16, struct.pack("<h", 6)),
            tensor(embed, [2, 1], f16, bytes(4)),
            tensor(stacked, [3, 1], f32, struct.pack("<3f", 1, 2, 3)),
            tensor(cross, [2], f32, struct.pack("<2f", 1, 2)),
            tensor(up, [2, 2], i8, bytes([127, 1, 2, 3])),
            tensor(up + b"_scale", [2], f32, struct.pack("<2f", 127, 2)),
        ],
        [(b"decoder/projection/weight", embed)],
    )
    return {
        "whole": whole,
        "empty": b"",
        "cut": whole[:100],
        "longer": whole + b"x",
        "version_5": model([], version=5),
        "no_tensors": model([]),
        "huge_count": model([], count=2**32 - 1),
        "overflow": model([tensor(b"w", [2**32 - 1] * 3, f32, bytes(4))]),
        "rank_9": model([tensor(b"w", [1] * 9, i8, bytes(1))]),
        "unknown_dtype": model([tensor(b"w", [1], 6, bytes(1))]),
        "wrong_size": model([tensor(b"w", [2], f32, bytes(4))]),
        "beyond": model([tensor(b"w", [2**28], f32, bytes(4), size=2**30)]),
        "twice": model([tensor(b"w", [1], i8, bytes(1))] * 2),
        "no_scale": model([tensor(up, [1], i8, bytes(1))]),
        "zero_scale": model([tensor(up, [1], i8, bytes(1)),
                             tensor(up + b"_scale", [1], f32, bytes(4))]),
        "unequal_parts": model([tensor(stacked, [4], f32, bytes(16))]),
        "alias_of_nothing": model([], [(b"a", b"b")]),
        "keys_are_values": model([tensor(b"x.v.weight", [1], f32, bytes(4))],
                                 [(b"x.k.weight", b"x.v.weight")]),
        "name_with_zero": model([tensor(b"a\0b", [1], i8, bytes(1))]),
    }


def ggml_tensor(name, sizes, kind, data):
    head = struct.pack(f"<3i{len(sizes)}i", len(sizes), len(name), kind, *sizes)
    return head + name + data


def ggml(tensors=(), sizes=(3, 2, 1, 1, 1, 2, 1, 1, 1, 1), kind=0, bins=1, tokens=None):
    head = struct.pack("<I11i", 0x67676D6C, *sizes, kind)
    filters = struct.pack("<2i2f", bins, 2, 0.5, 0.25)
    listed = struct.pack("<i", 2) + b"".join(struct.pack("<i", len(t)) + t for t in (b"a", b"\xff"))
    return head + filters + (listed if tokens is None else tokens) + b"".join(tensors)


def ggml_cases():
    tensors = [ggml_tensor(b"decoder.token_embedding.weight", [1, 3], 0, bytes(12)),
               ggml_tensor(b"encoder.conv1.weight", [3, 1, 1], 1, bytes(6)),
               ggml_tensor(b"encoder.conv1.bias", [1, 1], 0, bytes(4))]
    for side in (b"encoder", b"decoder"):
        tensors += [ggml_tensor(side + b".positional_embedding", [1, 2], 0, bytes(8)),
                    ggml_tensor(side + b".blocks.0.mlp.0.weight", [1, 4], 0, bytes(16))]
    blocks = [ggml_tensor(b"b%d" % kind, [32, 2], kind, bytes(i % 61 for i in range(2 * size)))
              for kind, size in ((2, 18), (3, 20), (6, 22), (7, 24), (8, 34))]
    whole = ggml([*tensors, *blocks], kind=2008)
    return {
        "whole": whole,
        "empty": b"",
        "cut": whole[:300],
        "wrong_magic": b"GGUF" + whole[4:],
        "no_tensors": ggml(),
        "no_layers": ggml(tensors, sizes=(3, 2, 1, 1, 0, 2, 1, 1, 1, 1)),
        "more_layers": ggml(tensors, sizes=(3, 2, 1, 1, 2, 2, 1, 1, 1, 1)),
        "old_blocks": ggml(tensors, kind=8),
        "other_bins": ggml(tensors, bins=2),
        "huge_tokens": ggml(tokens=struct.pack("<i", -1)),
        "huge_token": ggml(tokens=struct.pack("<2i", 1, -1)),
        "twice": ggml([*tensors, tensors[0]]),
        "unknown_type": ggml([ggml_tensor(b"w", [32], 10, bytes(84))]),
        "negative_size": ggml([ggml_tensor(b"w", [-1], 0, bytes(4))]),
        "overflow": ggml([ggml_tensor(b"w", [0, 2**31 - 1, 2**31 - 1, 2**31 - 1], 6, b"")]),
        "part_of_block": ggml([ggml_tensor(b"w", [16], 6, bytes(22))]),
        "rank_9": ggml([ggml_tensor(b"w", [1] * 9, 0, bytes(4))]),
        "name_with_zero": ggml([ggml_tensor(b"a\0b", [1], 0, bytes(4))]),
    }


def gguf_string(text):
    return struct.pack("<Q", len(text)) + text


def gguf_key(name, kind, value):
    return gguf_string(name) + struct.pack("<I", kind) + value


def gguf_list(name, kind, count, values):
    return gguf_key(name, 9, struct.pack("<IQ", kind, count) + values)


def gguf_tensor(name, sizes, kind, offset):
    shape = struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)
    return gguf_string(name) + shape + struct.pack("<IQ", kind, offset)


def gguf(keys, tensors=(), data=b"", version=3, counts=None):
    keys = [gguf_key(b"general.architecture", 8, gguf_string(b"llama")), *keys]
    counts = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join([*keys, *tensors])
    return head + bytes(-len(head) % 32) + data


def gguf_cases():
    f32, f16, q4_0, q8_0, q4_k, q5_k, q6_k, bf16 = 0, 1, 2, 8, 12, 13, 14, 30
    every_key = [gguf_key(b"k%d" % kind, kind, bytes([1]) * size)
                 for kind, size in enumerate((1, 1, 2, 2, 4, 4, 4, 1))]
    every_key += [gguf_key(b"k%d" % kind, kind, bytes(8)) for kind in (10, 11, 12)]
    every_key += [
        gguf_list(b"tokens", 8, 2, gguf_string(b"a") + gguf_string(b"\xff\0")),
        gguf_list(b"scores", 6, 2, struct.pack("<2f", 0.5, -1)),
        gguf_list(b"types", 5, 2, struct.pack("<2i", 1, 3)),
        gguf_list(b"flags", 7, 2, b"\0\1"),
        gguf_key(b"general.alignment", 4, struct.pack("<I", 32)),
    ]
    sizes = {f32: 4, f16: 2, bf16: 2, q4_0: 18, q8_0: 34, q4_k: 144, q5_k: 176, q6_k: 210}
    elements = {f32: 1, f16: 1, bf16: 1, q4_0: 32, q8_0: 32}
    tensors, data = [], b""
    for number, (kind, size) in enumerate(sizes.items()):
        name = b"blk.%d.attn_%c.weight" % (number // 3, b"qkv"[number % 3])
        tensors.append(gguf_tensor(name, [elements.get(kind, 256), 1], kind, len(data)))
        data += bytes(i % 251 for i in range(size)) + bytes(-size % 32)
    whole = gguf(every_key, tensors, data)
    pair = [gguf_tensor(name, [8], f32, 0) for name in (b"blk.0.attn_k.weight", b"blk.0.attn_v.weight")]
    one = gguf_tensor(b"w", [8], f32, 0)
    # What a family makes a spec of.
    sizes = {b"block_count": 1, b"context_length": 64, b"embedding_length": 8, b"feed_forward_length": 8,
             b"attention.head_count": 2, b"vocab_size": 1}
    reals = {b"attention.layer_norm_rms_epsilon": 1e-5, b"rope.scaling.factor": 4,
             b"rope.scaling.yarn_beta_fast": 20}
    spec = [gguf_key(b"llama." + key, 4, struct.pack("<I", value)) for key, value in sizes.items()]
    spec += [gguf_key(b"llama." + key, 6, struct.pack("<f", value)) for key, value in reals.items()]
    scaled = gguf_key(b"llama.rope.scaling.type", 8, gguf_string(b"yarn"))
    embedding = gguf_tensor(b"token_embd.weight", [8, 1], f32, 0)
    factors = [gguf_tensor(b"rope_factors_" + name + b".weight", [2], f32, at)
               for name, at in ((b"long", 32), (b"short", 64))]
    return {
        "whole": whole,
        "llama_yarn": gguf([*spec, scaled], [embedding], bytes(32)),
        "llama_longrope": gguf(spec, [embedding, *factors], bytes(32) + struct.pack("<8f", *[1] * 8) * 2),
        "version_2": gguf([], [one], bytes(32), version=2),
        "version_1": gguf([], version=1),
        "big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "empty": b"",
        "cut_keys": whole[:200],
        "cut_data": whole[:-100],
        "huge_counts": gguf([], counts=(2**64 - 1, 2**64 - 1)),
        "huge_list": gguf([gguf_list(b"k", 12, 2**61, bytes(8))]),
        "huge_string": gguf([gguf_key(b"k", 8, struct.pack("<Q", 2**64 - 1))]),
        "nested": gguf([gguf_list(b"k", 9, 1, struct.pack("<IQ", 9, 1) * 20)]),
        "unknown_key_type": gguf([gguf_key(b"k", 13, bytes(8))]),
        "key_twice": gguf([gguf_key(b"k", 0, b"1")] * 2),
        "alignment_24": gguf([gguf_key(b"general.alignment", 4, struct.pack("<I", 24))]),
        "alignment_0": gguf([gguf_key(b"general.alignment", 4, bytes(4))]),
        "unsupported_type": gguf([], [gguf_tensor(b"w", [32], 6, 0)], bytes(32)),
        "unknown_type": gguf([], [gguf_tensor(b"w", [32], 99, 0)], bytes(32)),
        "rank_9": gguf([], [gguf_tensor(b"w", [1] * 9, f32, 0)], bytes(32)),
        "overflow": gguf([], [gguf_tensor(b"w", [0, 2**32, 2**32], q8_0, 0)], bytes(32)),
        "part_of_block": gguf([], [gguf_tensor(b"w", [16, 2], q4_0, 0)], bytes(32)),
        "beyond": gguf([], [gguf_tensor(b"w", [8], f32, 2**64 - 32)], bytes(32)),
        "unaligned": gguf([], [gguf_tensor(b"w", [4], f32, 16)], bytes(32)),
        "overlap": gguf([], pair, bytes(32)),
        "twice": gguf([], [one, one], bytes(32)),
        "two_norms": gguf([], [gguf_tensor(b"blk.0.attn_norm.weight", [8], f32, 0),
                               gguf_tensor(b"blk.0.attn_norm_2.weight", [8], f32, 32)], bytes(64)),
        "split": gguf([gguf_key(b"split.count", 2, struct.pack("<H", 3))]),
        "name_with_zero": gguf([], [gguf_tensor(b"a\0b", [8], f32, 0)], bytes(32)),
    }


def json_cases():
    return {
        "config": json.dumps({
            "architectures": ["WhisperForConditionalGeneration"], "d_model": 384, "scale": 0.5,
            "tied": True, "none": None, "alignment_heads": [[3, 1], [4, 2]],
            "nested": {"list": [{"x": 1}, {"x": "\u00e9\U0001f600"}]},
        }).encode(),
        "numbers": b'{"a":[1,-1,1.0,1e3,1e300,-0,18446744073709551615,9223372036854775808,'
                   b'123456789012345678901234567890]}',
        "empty": b"",
        "list": b"[1]",
        "cut": b'{"a": {"b": [1, 2',
        "twice": b'{"a": 1, "a": 2}',
        "deep": b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
        "bad_utf8": b'{"a": "\xff\xfe"}',
        "escapes": b'{"\\u0000\\ud83d\\ude00\\n": "\\"\\\\\\/\\b\\u00e9"}',
        "half_surrogate": b'{"a": "\\ud83d"}',
        "huge_exponent": b'{"a": 1e999}',
        "byte_order_mark": b'\xef\xbb\xbf{"a": 1}',
    }


if __name__ == "__main__":
    write("safetensors", safetensors_cases())
    write("ctranslate2", ctranslate2_cases())
    write("ggml", ggml_cases())
    write("gguf", gguf_cases())
    write("json", json_cases())
