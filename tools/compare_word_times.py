#!/usr/bin/env python3
"""Compares the word times of slim with those of openai-whisper on the same weights.

    python tools/compare_word_times.py SLIM MODEL CLIP.wav...

SLIM is the binary, MODEL a CTranslate2 directory in float32 or float16 (make models), clips are
16 kHz mono wav. Needs numpy, torch and openai-whisper. Prints, for each clip, whether the words
agree; then the median, 95th percentile and maximum of the differences of all starts and ends, and
the largest difference of a word's probability. Both decode greedily, in English.
"""

import json
import pathlib
import statistics
import struct
import subprocess
import sys
import wave

import numpy as np
import torch
from whisper.model import ModelDimensions, Whisper

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_weights(path):
    """CTranslate2's model.bin: version, spec, revision, tensors, aliases."""
    file = open(path, "rb")

    def number(kind):
        return struct.unpack("<" + kind, file.read(struct.calcsize(kind)))[0]

    def text():
        return file.read(number("H"))[:-1].decode()

    number("I"), text(), number("I")
    tensors = {}
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind, size = number("B"), number("I")
        tensors[name] = np.frombuffer(file.read(size), TYPES[kind]).reshape(shape)
    return tensors


def load(folder):
    stored = read_weights(folder / "model.bin")
    state = {}

    def get(name):
        return torch.tensor(np.array(stored[name], dtype=np.float32))

    def linear(to, name):
        state[to + ".weight"], state[to + ".bias"] = get(name + "/weight"), get(name + "/bias")

    def norm(to, name):
        state[to + ".weight"], state[to + ".bias"] = get(name + "/gamma"), get(name + "/beta")

    def projections(to, name, parts):
        weights, biases = (get(f"{name}/{x}").chunk(len(parts)) for x in ("weight", "bias"))
        for part, weight, bias in zip(parts, weights, biases):
            state[f"{to}.{part}.weight"] = weight
            if part != "key":
                state[f"{to}.{part}.bias"] = bias

    def layers(side):
        return len([name for name in stored
                    if name.startswith(side + "/layer_") and name.endswith("/ffn/linear_0/weight")])

    vocabulary, width = stored["decoder/embeddings/weight"].shape
    bins = stored["encoder/conv1/weight"].shape[1]
    model = Whisper(ModelDimensions(bins, 1500, width, width // 64, layers("encoder"), vocabulary,
                                    448, width, width // 64, layers("decoder")))
    for name in ("conv1", "conv2"):
        linear("encoder." + name, "encoder/" + name)
    for side in ("encoder", "decoder"):
        state[side + ".positional_embedding"] = get(side + "/position_encodings/encodings")
    state["decoder.token_embedding.weight"] = get("decoder/embeddings/weight")
    norm("encoder.ln_post", "encoder/layer_norm")
    norm("decoder.ln", "decoder/layer_norm")
    for side in ("encoder", "decoder"):
        for i in range(layers(side)):
            to, name = f"{side}.blocks.{i}", f"{side}/layer_{i}"
            norm(to + ".attn_ln", name + "/self_attention/layer_norm")
            projections(to + ".attn", name + "/self_attention/linear_0", ("query", "key", "value"))
            linear(to + ".attn.out", name + "/self_attention/linear_1")
            if side == "decoder":
                norm(to + ".cross_attn_ln", name + "/attention/layer_norm")
                linear(to + ".cross_attn.query", name + "/attention/linear_0")
                projections(to + ".cross_attn", name + "/attention/linear_1", ("key", "value"))
                linear(to + ".cross_attn.out", name + "/attention/linear_2")
            norm(to + ".mlp_ln", name + "/ffn/layer_norm")
            linear(to + ".mlp.0", name + "/ffn/linear_0")
            linear(to + ".mlp.2", name + "/ffn/linear_1")
    model.load_state_dict(state)
    heads = torch.zeros(layers("decoder"), width // 64, dtype=torch.bool)
    for layer, head in json.loads((folder / "config.json").read_text())["alignment_heads"]:
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return model.eval()


def samples(path):
    with wave.open(path) as file:
        assert file.getframerate() == 16000 and file.getnchannels() == 1, path
        return np.frombuffer(file.readframes(file.getnframes()), np.int16) / np.float32(32768)


def words_of(result):
    return [word for segment in result["segments"] for word in segment["words"]]


def main(slim, folder, *clips):
    model = load(pathlib.Path(folder))
    times, probabilities = [], []
    for clip in clips:
        theirs = words_of(model.transcribe(samples(clip), language="en", word_timestamps=True,
                                           fp16=False, temperature=0.0))
        command = [slim, "transcribe", "-m", folder, "-l", "en", "--word-timestamps",
                   "--temperature", "0", "-f", "json", clip]
        ours = words_of(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
        same = [w["word"] for w in ours] == [w["word"] for w in theirs]
        print(f"{pathlib.Path(clip).name}: {len(ours)} words" + ("" if same else ", which differ"))
        if not same:
            continue
        for one, other in zip(ours, theirs):
            times += [abs(one[end] - other[end]) for end in ("start", "end")]
            probabilities.append(abs(one["probability"] - other["probability"]))
    times.sort()
    print(f"{len(times)} times: median {statistics.median(times):.3f} s, 95 % within "
          f"{times[len(times) * 95 // 100]:.3f} s, all within {times[-1]:.3f} s; probabilities "
          f"within {max(probabilities):.1e}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
