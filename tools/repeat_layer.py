#!/usr/bin/env python3
"""Writes a model whose layers are all the first one of another, with its plan if it was converted.

    python3 tools/repeat_layer.py SOURCE DIR LAYERS

For speed and memory of real sizes: a layer of 4,096 columns takes half a minute to derive its value map
from, and 32 random ones are no more worth than 32 times one. Weights are copied byte by byte.
"""
import argparse
import json
import pathlib
import re
import shutil
import struct

LAYER = re.compile(r"\blayers\.0\.")


def copy_tensors(source, target, layers):
    with source.open("rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        start = 8 + size
        plan, end = {}, 0
        order = []
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            begin, stop = tensor["data_offsets"]
            for layer in range(layers if LAYER.search(name) else 1):
                copy = LAYER.sub(f"layers.{layer}.", name)
                plan[copy] = {**tensor, "data_offsets": [end, end + stop - begin]}
                end += stop - begin
                order.append((begin, stop))
        plan["__metadata__"] = header.get("__metadata__", {})
        text = json.dumps(plan).encode()
        text += b" " * (-len(text) % 8)
        with target.open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for begin, stop in order:
                file.seek(start + begin)
                out.write(file.read(stop - begin))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("layers", type=int)
    arguments = parser.parse_args()
    config = json.loads((arguments.source / "config.json").read_text())
    if config["num_hidden_layers"] != 1:
        raise SystemExit(f"{arguments.source} has {config['num_hidden_layers']} layers, not one.")
    arguments.directory.mkdir(parents=True)
    for file in arguments.source.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, arguments.directory)
    config["num_hidden_layers"] = arguments.layers
    (arguments.directory / "config.json").write_text(json.dumps(config, indent=1))
    plan_path = arguments.source / "slim_plan.json"
    if plan_path.exists():
        plan = json.loads(plan_path.read_text())
        plan["layers"] = [{**plan["layers"][0], "layer": layer} for layer in range(arguments.layers)]
        (arguments.directory / "slim_plan.json").write_text(json.dumps(plan, indent=1))
    copy_tensors(arguments.source / "model.safetensors", arguments.directory / "model.safetensors",
                 arguments.layers)


if __name__ == "__main__":
    main()
