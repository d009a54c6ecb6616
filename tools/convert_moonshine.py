#!/usr/bin/env python3
"""Makes a model directory of Moonshine from the two ONNX Runtime files it is published as.

    python tools/convert_moonshine.py FOLDER tokenizer.json OUTPUT

FOLDER holds encoder_model.ort and decoder_model_merged.ort. Weights of 8 bits (a scale and an
offset for each matrix) become the f32 numbers that ONNX Runtime computes with. Needs nothing but
Python. OUTPUT gets config.json, model.safetensors and tokenizer.json, under the names that
Transformers gives the tensors.
"""

import json
import math
import pathlib
import re
import shutil
import struct
import sys

FLOAT, INT8 = 1, 3  # element types of ONNX


class Table:
    """A table of a flatbuffer; fields by their numbers in ONNX Runtime's schema (ort.fbs)."""

    def __init__(self, data, at):
        self.data, self.at = data, at

    def _field(self, index):
        table = self.at - self._number("<i", self.at)
        place = 4 + 2 * index
        if place >= self._number("<H", table):
            return 0
        offset = self._number("<H", table + place)
        return self.at + offset if offset else 0

    def _number(self, form, at):
        return struct.unpack_from(form, self.data, at)[0]

    def _target(self, at):
        return at + self._number("<I", at)

    def _items(self, index):
        field = self._field(index)
        if not field:
            return 0, 0
        vector = self._target(field)
        return self._number("<I", vector), vector + 4

    def _text(self, at):
        return self.data[at + 4:at + 4 + self._number("<I", at)].decode()

    def number(self, index, form):
        field = self._field(index)
        return self._number(form, field) if field else 0

    def text(self, index):
        field = self._field(index)
        return self._text(self._target(field)) if field else ""

    def table(self, index):
        field = self._field(index)
        return Table(self.data, self._target(field)) if field else None

    def bytes(self, index):
        count, first = self._items(index)
        return self.data[first:first + count]

    def numbers(self, index, form):
        count, first = self._items(index)
        return struct.unpack_from(f"<{count}{form}", self.data, first)

    def texts(self, index):
        count, first = self._items(index)
        return [self._text(self._target(first + 4 * i)) for i in range(count)]

    def tables(self, index):
        count, first = self._items(index)
        return [Table(self.data, self._target(first + 4 * i)) for i in range(count)]


class Graph:
    """Its tensors, with those of its branches, and what its nodes are given."""

    def __init__(self, path):
        data = path.read_bytes()
        if data[4:8] != b"ORTM":
            sys.exit(f"{path}: not a model of ONNX Runtime")
        self.path, self.tensors, self.weights = path, {}, {}
        session = Table(data, struct.unpack_from("<I", data)[0])
        self._read(session.table(1).table(7))

    def _read(self, graph):
        for tensor in graph.tables(0):
            self.tensors[tensor.text(0)] = tensor
        for node in graph.tables(2):
            if node.text(5) == "MatMul":
                self.weights[node.text(0)] = node.texts(8)[1].removesuffix("_add_tensor")
            for attribute in node.tables(10):
                if attribute.table(7):
                    self._read(attribute.table(7))

    def shape(self, name):
        return list(self.tensors[name].numbers(2, "q"))

    def floats(self, name):
        tensor = self.tensors[name]
        if tensor.number(3, "<i") != FLOAT:
            sys.exit(f"{self.path}: {name} is not f32")
        return tensor.bytes(4)

    def tensor(self, name, transposed=False):
        """(shape, f32 bytes)"""
        if name in self.tensors:
            return self.shape(name), self.floats(name)
        packed = self.tensors[f"{name}_quantized"]
        if packed.number(3, "<i") != INT8:
            sys.exit(f"{self.path}: {name} is not i8")
        scale, = struct.unpack("<f", self.floats(f"{name}_scale"))
        offset, = struct.unpack("<f", self.floats(f"{name}_zero_point"))
        shape, values = list(packed.numbers(2, "q")), packed.bytes(4)
        if transposed:
            values = b"".join(values[i::shape[1]] for i in range(shape[1]))
            shape.reverse()
        rounded = lambda x: struct.unpack("<f", struct.pack("<f", x))[0]
        signed = [i - 256 if i > 127 else i for i in range(256)]
        table = [struct.pack("<f", rounded(i * scale) + offset) for i in signed]
        return shape, b"".join(map(table.__getitem__, values))


def layers_of(graph, pattern):
    return 1 + max(int(m[1]) for name in graph.tensors if (m := re.match(pattern, name)))


def convert_encoder(graph, tensors):
    for name in ("conv1.weight", "conv2.weight", "conv2.bias", "conv3.weight", "conv3.bias"):
        tensors[f"model.encoder.{name}"] = graph.tensor(name)
    tensors["model.encoder.layer_norm.weight"] = graph.tensor("layer_norm.weight")
    for part, kind in (("weight", "Mul"), ("bias", "Add")):  # of channels, without names
        name, = (name for name in graph.tensors if re.fullmatch(rf"onnx::{kind}_\d+", name)
                 and len(graph.shape(name)) == 2)
        shape, values = graph.tensor(name)
        tensors[f"model.encoder.groupnorm.{part}"] = shape[:1], values
    for i in range(layers_of(graph, r"layers\.(\d+)\.")):
        layer = f"layers.{i}"
        for name in ("input_layernorm.weight", "post_attention_layernorm.weight", "mlp.fc1.bias",
                     "mlp.fc2.bias"):
            tensors[f"model.encoder.{layer}.{name}"] = graph.tensor(f"{layer}.{name}")
        for name, own in (("self_attn.q_proj", "self_attn/q_proj"),
                          ("self_attn.k_proj", "self_attn/k_proj"),
                          ("self_attn.v_proj", "self_attn/v_proj"),
                          ("self_attn.o_proj", "self_attn/dense"),
                          ("mlp.fc1", "mlp/fc1"), ("mlp.fc2", "mlp/fc2")):
            weight = graph.weights[f"/layers.{i}/{own}/MatMul"]
            tensors[f"model.encoder.{layer}.{name}.weight"] = graph.tensor(weight, True)


def convert_decoder(graph, tensors):
    side = "model.decoder"
    for name in ("embed_tokens.weight", "norm.weight"):
        tensors[f"{side}.{name}"] = graph.tensor(f"{side}.{name}_merged_0")
    for i in range(layers_of(graph, r"model\.decoder\.layers\.(\d+)\.")):
        layer = f"{side}.layers.{i}"
        for name, own in (("input_layernorm.weight",) * 2, ("post_attention_layernorm.weight",) * 2,
                          ("final_layernorm.weight",) * 2, ("mlp.fc1.bias", "mlp.up_proj.bias"),
                          ("mlp.fc2.bias", "mlp.down_proj.bias")):
            tensors[f"{layer}.{name}"] = graph.tensor(f"{layer}.{own}_merged_0")
        parts = [(f"{block}.{part}", f"{block}/{'dense' if part == 'o_proj' else part}")
                 for block in ("self_attn", "encoder_attn")
                 for part in ("q_proj", "k_proj", "v_proj", "o_proj")]
        for name, own in (*parts, ("mlp.fc1", "mlp/up_proj"), ("mlp.fc2", "mlp/down_proj")):
            weight = graph.weights[f"/model/decoder/layers.{i}/{own}/MatMul"]
            tensors[f"{layer}.{name}.weight"] = graph.tensor(weight, True)


def config_of(encoder, decoder, tensors):
    _, heads, _, head_width = decoder.shape("present.0.encoder.key")
    rotated = 2 * encoder.shape("/rotary_emb/Cast_1_output_0")[1]
    vocabulary, width = tensors["model.decoder.embed_tokens.weight"][0]
    return {
        "architectures": ["MoonshineForConditionalGeneration"], "model_type": "moonshine",
        "vocab_size": vocabulary, "hidden_size": width,
        "intermediate_size": tensors["model.encoder.layers.0.mlp.fc1.bias"][0][0],
        "encoder_num_hidden_layers": layers_of(encoder, r"layers\.(\d+)\."),
        "decoder_num_hidden_layers": layers_of(decoder, r"model\.decoder\.layers\.(\d+)\."),
        "encoder_num_attention_heads": heads, "decoder_num_attention_heads": heads,
        "partial_rotary_factor": math.ceil(100 * rotated / head_width) / 100,
        "rope_theta": 10000.0, "max_position_embeddings": 194, "attention_bias": False,
        "encoder_hidden_act": "gelu", "decoder_hidden_act": "silu", "tie_word_embeddings": True,
        "decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    }


def write_safetensors(path, tensors):
    header, end = {}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + len(values)]}
        end += len(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            file.write(values)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    folder, tokenizer, output = map(pathlib.Path, sys.argv[1:])
    encoder = Graph(folder / "encoder_model.ort")
    decoder = Graph(folder / "decoder_model_merged.ort")
    tensors = {}
    convert_encoder(encoder, tensors)
    convert_decoder(decoder, tensors)
    output.mkdir(parents=True, exist_ok=True)
    write_safetensors(output / "model.safetensors", tensors)
    config = config_of(encoder, decoder, tensors)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copyfile(tokenizer, output / "tokenizer.json")


if __name__ == "__main__":
    main()
