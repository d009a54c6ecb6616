#!/usr/bin/env python3
"""Makes safetensors of Silero's detector of speech, of its network for 16 kHz.

    python tools/convert_silero.py silero_vad.jit OUTPUT

The file is a TorchScript archive: a pickle of the modules, and the numbers of each tensor beside it.
Needs nothing but Python, and runs none of the archive's code. OUTPUT gets model.safetensors, under
the names that silero-vad itself gives the tensors there.
"""

import pathlib
import pickle
import sys
import zipfile

from convert_moonshine import write_safetensors

NAMES = {"stft.forward_basis_buffer": "stft_conv.weight", "decoder.decoder.2": "final_conv",
         "decoder.rnn": "lstm_cell",
         **{f"encoder.{i}.reparam_conv": f"conv{i + 1}" for i in range(4)}}


class Module:
    """Stands for whatever class the archive names."""

    def __setstate__(self, fields):
        self.fields = fields


class Reader(pickle.Unpickler):
    """Tensors become (shape, f32 bytes)."""

    def __init__(self, archive, folder):
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self.archive, self.folder = archive, folder

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if module == "torch.jit._pickle":
            return lambda values: values
        return name if module == "torch" else type(name, (Module,), {})

    def persistent_load(self, storage):
        _, kind, key, _, _ = storage
        return kind, key

    def tensor(self, storage, offset, shape, strides, *_):
        kind, key = storage
        packed, step = [], 1
        for size in reversed(shape):
            packed.insert(0, step)
            step *= size
        # The stride of an axis of one element is never used.
        used = [(a, b) for a, b, size in zip(strides, packed, shape) if size > 1]
        if kind != "FloatStorage" or any(a != b for a, b in used):
            return None  # not among those wanted
        values = self.archive.read(f"{self.folder}/data/{key}")[4 * offset:4 * (offset + step)]
        return list(shape), values


def tensors_of(module, prefix=""):
    for name, value in module.fields.items():
        if isinstance(value, Module):
            yield from tensors_of(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            yield prefix + name, value


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, output = map(pathlib.Path, sys.argv[1:])
    with zipfile.ZipFile(source) as archive:
        pickled, = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        modules = Reader(archive, pickled.removesuffix("/data.pkl")).load()
    network = modules.fields["_model"]  # _model_8k is another one
    tensors = {}
    for name, tensor in tensors_of(network):
        for own, known in NAMES.items():
            if name.startswith(own):
                tensors[known + name.removeprefix(own)] = tensor
    output.mkdir(parents=True, exist_ok=True)
    write_safetensors(output / "model.safetensors", dict(sorted(tensors.items())))


if __name__ == "__main__":
    main()
