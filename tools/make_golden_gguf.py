#!/usr/bin/env python3
"""Writes tests/golden/gguf with the `gguf` package, whose code is not ours.

blocks.json  for each block type, in hexadecimal: blocks, and the binary32 values they stand for.
             Q8_0 and Q4_0 are numbers quantised; the K types, for which the package has no
             quantiser, are random bytes under finite scales of all sizes.
tiny.gguf    every metadata type and every supported tensor type in one file: tensor t has the
             elements sin(i + t) or, of K types, random blocks; version 3, the default alignment.

usage: make_golden_gguf.py, anywhere; the result does not depend on when or where.
"""
import json
import pathlib

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

GOLDEN = pathlib.Path(__file__).parent.parent / "tests" / "golden" / "gguf"
Q = gguf.GGMLQuantizationType
BLOCKS = 3
# Where binary16 scales lie within a block of a K type.
SCALES = {Q.Q4_K: (0, 2), Q.Q5_K: (0, 2), Q.Q6_K: (208,)}
rng = np.random.default_rng(4)


def blocks_of(kind, rows):
    """`rows` rows of one block each, as bytes."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if kind not in SCALES:
        spread = 10.0 ** rng.uniform(-3, 2, (rows, 1))
        return quantize((spread * rng.standard_normal((rows, elements))).astype(np.float32), kind)
    blocks = rng.integers(0, 256, (rows, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = rng.integers(0, 0x7C00, rows, dtype=np.uint16)  # positive and finite
        scale[0] = 0x0123  # subnormal
        scale |= rng.integers(0, 2, rows, dtype=np.uint16) << 15
        blocks[:, at:at + 2] = scale[:, None].view(np.uint8)
    return blocks


def write_blocks():
    golden = {}
    for kind in (Q.Q8_0, Q.Q4_0, Q.Q4_K, Q.Q5_K, Q.Q6_K):
        blocks = blocks_of(kind, BLOCKS)
        values = dequantize(blocks, kind).astype("<f4")
        golden[kind.name.lower()] = {"blocks": blocks.tobytes().hex(), "values": values.tobytes().hex()}
    (GOLDEN / "blocks.json").write_text(json.dumps(golden, indent=0) + "\n", encoding="ascii")


def add_metadata(writer):
    writer.add_uint8("test.u8", 255)
    writer.add_int8("test.i8", -128)
    writer.add_uint16("test.u16", 65535)
    writer.add_int16("test.i16", -32768)
    writer.add_uint32("test.u32", 2**32 - 1)
    writer.add_int32("test.i32", -2**31)
    writer.add_float32("test.f32", 0.1)
    writer.add_bool("test.boolean", True)
    writer.add_string("test.string", "na\u00efve")
    writer.add_uint64("test.u64", 2**64 - 1)
    writer.add_int64("test.i64", -2**63)
    writer.add_float64("test.f64", 0.1)
    writer.add_array("test.booleans", [True, False, True])
    writer.add_array("test.reals", [0.5, -1.25])
    writer.add_context_length(2048)
    writer.add_head_count(4)
    writer.add_head_count_kv([4, 2])  # by layer
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", "\u2581a".encode(), b"<0xFF>", b"b"])
    writer.add_token_scores([0.0, 0.0, 0.0, -1.5, 0.0, -2.25])
    writer.add_token_types([2, 3, 3, 1, 6, 1])
    writer.add_token_merges(["\u2581 a", "a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template("{{ messages[0].content }}")


def write_tiny():
    writer = gguf.GGUFWriter(GOLDEN / "tiny.gguf", "llama")
    add_metadata(writer)
    block = "blk.1."
    plain = {"token_embd.weight": ((6, 4), np.float32), "output_norm.weight": ((4,), np.float32),
             "rope_freqs.weight": ((2,), np.float32), block + "attn_q.weight": ((4, 4), np.float16),
             block + "attn_k.weight": ((2, 4), np.float16), "own.name": ((1, 2, 3), np.float32)}
    for t, (name, (shape, kind)) in enumerate(plain.items()):
        values = np.sin(np.arange(np.prod(shape), dtype=np.float64) + t).reshape(shape)
        writer.add_tensor(name, values.astype(kind))
    blocks = {block + "attn_v": Q.Q8_0, block + "attn_output": Q.Q4_0, block + "ffn_gate": Q.Q4_K,
              block + "ffn_up": Q.Q5_K, block + "ffn_down": Q.Q6_K}
    for name, kind in blocks.items():
        writer.add_tensor(name + ".weight", blocks_of(kind, 2), raw_dtype=kind)
    bf16 = quantize(np.float32([[1.0, -2.0], [0.5, 3.0], [0.0, 1.5]]), Q.BF16)
    writer.add_tensor("output.weight", bf16, raw_dtype=Q.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


GOLDEN.mkdir(parents=True, exist_ok=True)
write_blocks()
write_tiny()
