#!/usr/bin/env python3
"""Writes tests/golden/audio: log-mel frames by the definition that openai-whisper documents.

The recording is followed by 30 s of zeros and cut into windows of 400 samples, 160 apart, centred
with reflection, under a periodic Hann window; the last window is dropped. The power spectrum goes
through Slaney's mel filters; then log10, at least 1e-10; at least 8 below the maximum of all
frames; (x + 4) / 4. Everything in f32 by torch, the filters from f64, as there.

log_mel.json lists the cases: the signal, its samples, the mel bins, the frames kept (a selection,
to stay small). log_mel.bin holds those frames one after another as little-endian f32.
"""

import json
import pathlib
import sys
import wave

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "audio"
RATE, WINDOW, HOP = 16000, 400, 160


def mel_filters(bins):
    """Triangles between corners evenly spaced in Slaney's mel scale, each of area 1."""
    per_log = 27 / np.log(6.4)
    top = 15 + per_log * np.log(RATE / 2 / 1000)
    mels = np.linspace(0, top, bins + 2)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) / per_log))
    frequencies = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    low, middle, high = (corners[i : i + bins, None] for i in range(3))
    rise = (frequencies - low) / (middle - low)
    fall = (high - frequencies) / (high - middle)
    return (np.maximum(0, np.minimum(rise, fall)) * 2 / (high - low)).astype(np.float32)


def log_mel(samples, bins):
    """[frames, bins] of the whole recording and the silence after it."""
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (0, 30 * RATE))
    spectrum = torch.stft(
        padded, WINDOW, HOP, window=torch.hann_window(WINDOW), center=True, return_complex=True
    )
    power = spectrum[:, :-1].abs() ** 2
    values = (torch.from_numpy(mel_filters(bins)) @ power).clamp(min=1e-10).log10()
    values = torch.maximum(values, values.max() - 8)
    return ((values + 4) / 4).T.contiguous().numpy()


def synthetic(count):
    """A triangle wave of rising pitch, every other half second, in noise 24 dB below; in integers,
    so that the test in C++ makes the very same samples."""
    noise, phase, step = 1, 0, 1 << 22
    samples = np.empty(count, np.float32)
    for i in range(count):
        noise = (noise * 1664525 + 1013904223) % 2**32
        phase = (phase + step) % 2**32
        step = step + 4096 if step < 1 << 30 else 1 << 22
        triangle = abs((phase >> 16) - 32768) - 16384
        tone = triangle if i // 8000 % 2 == 0 else 0
        samples[i] = (tone + ((noise >> 16) - 32768) // 16) / 32768
    return samples


def speech():
    with wave.open(str(FOLDER / "speech.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def chosen(frames, every):
    """Both ends, where padding matters, and every so many between."""
    ends = [i for i in range(frames) if i < 3 or i >= frames - 3]
    return sorted(set(ends) | set(range(0, frames, every)))


def main():
    lengths = (0, 1, 160, 199, 399, 400, 401, 16000, 480001)
    signals = [("synthetic", synthetic(n)) for n in lengths]
    signals += [("zeros", np.zeros(16000, np.float32)), ("speech", speech())]
    cases, values = [], []
    for name, samples in signals:
        content = len(samples) // HOP
        frames = chosen(content, 250 if name == "zeros" or len(samples) > 100000 else 10)
        for bins in (80, 128):
            mel = log_mel(samples, bins)
            assert mel.shape == (content + 3000, bins)
            cases.append({"signal": name, "samples": len(samples), "bins": bins, "frames": frames})
            values.append(mel[frames].ravel())
    (FOLDER / "log_mel.json").write_text(
        "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    )
    (FOLDER / "log_mel.bin").write_bytes(np.concatenate(values).astype("<f4").tobytes())


if __name__ == "__main__":
    sys.exit(main())
