#!/usr/bin/env python3
"""Makes tests/golden/speech_network: a tiny random network of the form of Silero's detector, and what
PyTorch says it computes; and what Silero's own says of a recording.

    python tools/make_golden_speech_network.py silero_vad.jit

Needs numpy, torch, safetensors and faster-whisper; the file is that of PyPI's silero-vad 6.1.0, the
recording models/speech/librivox.wav (make models).

model.safetensors   the tiny network, f16; its cosines and sines under a random window, f32
expected/           samples [N] f16 and, in float64, probabilities [N / 512, rounded up]
librivox/           probabilities [steps] of the recording; stretches [2 n]: where faster-whisper's
                    batched pipeline finds speech in it, samples
"""

import pathlib
import sys
import wave

import numpy as np
import torch
from faster_whisper.vad import VadOptions, get_speech_timestamps
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "golden" / "speech_network"
STEP, BEFORE, WINDOW, HOP = 512, 64, 256, 128
FREQUENCIES, CHANNELS, WIDTH = 5, (6, 4, 3, 7), 9
SAMPLES = 9 * STEP + 300


def random_network(generator):
    """Biases and spreads with which probabilities go up and down."""
    normal = lambda spread, *shape: (spread * generator.standard_normal(shape)).astype(np.float16)
    window = 0.4 * generator.standard_normal(WINDOW)
    turns = 2 * np.pi * np.outer(np.arange(FREQUENCIES), np.arange(WINDOW)) / WINDOW
    basis = np.concatenate([window * np.cos(turns), -window * np.sin(turns)])
    tensors = {"stft_conv.weight": basis[:, None].astype(np.float32)}
    inputs = FREQUENCIES
    for i, outputs in enumerate(CHANNELS, 1):
        tensors[f"conv{i}.weight"] = normal(1.6 / np.sqrt(3 * inputs), outputs, inputs, 3)
        tensors[f"conv{i}.bias"] = normal(0.2, outputs)
        inputs = outputs
    tensors["lstm_cell.weight_ih"] = normal(2, 4 * WIDTH, inputs)
    tensors["lstm_cell.weight_hh"] = normal(0.8, 4 * WIDTH, WIDTH)
    tensors["lstm_cell.bias_ih"] = normal(0.5, 4 * WIDTH)
    tensors["lstm_cell.bias_hh"] = normal(0.5, 4 * WIDTH)
    tensors["final_conv.weight"] = normal(6, 1, WIDTH, 1)
    tensors["final_conv.bias"] = normal(0.3, 1)
    return tensors


def probabilities(tensors, samples):
    weights = {name: torch.tensor(values.astype(np.float64)) for name, values in tensors.items()}
    cell = torch.nn.LSTMCell(CHANNELS[-1], WIDTH).double()
    cell.load_state_dict({name.removeprefix("lstm_cell."): values
                          for name, values in weights.items() if name.startswith("lstm_cell")})
    sound = np.zeros(BEFORE + -(-len(samples) // STEP) * STEP)
    sound[BEFORE:BEFORE + len(samples)] = samples
    state, found = None, []
    with torch.no_grad():
        for at in range(0, len(sound) - BEFORE, STEP):
            x = torch.tensor(sound[None, None, at:at + BEFORE + STEP])
            x = torch.nn.functional.pad(x, (0, 64), "reflect")
            x = torch.nn.functional.conv1d(x, weights["stft_conv.weight"], stride=HOP)
            x = (x[:, :FREQUENCIES] ** 2 + x[:, FREQUENCIES:] ** 2).sqrt()
            for i, stride in enumerate((1, 2, 2, 1), 1):
                x = torch.relu(torch.nn.functional.conv1d(
                    x, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"], stride, padding=1))
            state = cell(x[..., 0], state)
            out = torch.nn.functional.conv1d(torch.relu(state[0])[..., None],
                                             weights["final_conv.weight"], weights["final_conv.bias"])
            found.append(torch.sigmoid(out).item())
    return np.array(found)


def librivox(network):
    with wave.open(str(ROOT / "models" / "speech" / "librivox.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    padded = np.pad(samples, (0, -len(samples) % STEP))
    network.reset_states()
    with torch.no_grad():
        found = [network(torch.tensor(padded[at:at + STEP]), 16000).item()
                 for at in range(0, len(padded), STEP)]
    rules = VadOptions(max_speech_duration_s=30, min_silence_duration_ms=160)
    speech = get_speech_timestamps(samples, rules)
    return {"probabilities": np.array(found, np.float32),
            "stretches": np.array([at for one in speech for at in (one["start"], one["end"])], np.float32)}


def write(folder, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    generator = np.random.default_rng(9)
    tensors = random_network(generator)
    loudness = 0.3 * (1 + np.sin(np.arange(SAMPLES) / 700))
    samples = (loudness * generator.standard_normal(SAMPLES)).astype(np.float16)
    found = probabilities(tensors, samples.astype(np.float64))
    print(found)
    write(FOLDER, tensors)
    write(FOLDER / "expected", {"samples": samples, "probabilities": found.astype(np.float32)})
    write(FOLDER / "librivox", librivox(torch.jit.load(sys.argv[1])))


if __name__ == "__main__":
    main()
