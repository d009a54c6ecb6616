#!/usr/bin/env python3
"""Makes tests/golden/whisper/*/alignment: when tokens are said, by openai-whisper.

The models are those of make_golden_whisper.py. Cross attention comes from Transformers in float64;
what openai-whisper makes of it (median filter, dynamic time warping) from its own functions.

    python tools/make_golden_alignment.py [tests/golden/whisper]

Needs numpy, torch, transformers, safetensors and openai-whisper.

alignment/model.safetensors of each model, f32; three windows, padded with zeros:
  text [3, n]             random ids below END; -1 beyond a window's text
  frames [3]              of the window that hold sound
  weights [3, n + 1, P]   averaged over the heads of the upper half of the layers
  first [3, n + 1]        first position of each token on the path, and of the end
  probability [3, n]
"""

import pathlib
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file
from whisper.timing import dtw, median_filter

START = [3, 7]      # start token and language
NO_TIMESTAMPS = 60  # all ids of text lie below END
END = 50
LENGTHS = [20, 1, 9]
MODELS = ["deep_decoder", "wide_input"]


def align(model, encoded, text, frames):
    tokens = torch.tensor([[*START, NO_TIMESTAMPS, *text, END]])
    with torch.no_grad():
        out = model(encoder_outputs=(encoded[None],), decoder_input_ids=tokens, use_cache=False,
                    output_attentions=True)
    attention = torch.cat([a[0] for a in out.cross_attentions[len(out.cross_attentions) // 2:]])
    # Softmax over the positions with sound alone: the others drop out of the sum.
    weights = attention[:, :, :frames // 2]
    weights = weights / weights.sum(dim=-1, keepdim=True)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    weights = median_filter((weights - mean) / deviation, 7).mean(axis=0)[len(START):-1]
    token, position = dtw(-weights)
    first = position[np.pad(np.diff(token), (1, 0), constant_values=1).astype(bool)]
    said = out.logits[0][len(START):, :END].softmax(dim=-1)
    return weights.numpy(), first, said[np.arange(len(text)), text].numpy()


def write(directory, seed):
    model = transformers.WhisperForConditionalGeneration.from_pretrained(
        directory / "hf", attn_implementation="eager", dtype=torch.float64).eval()
    encoded = torch.tensor(load_file(directory / "expected" / "model.safetensors")["encoded"],
                           dtype=torch.float64)
    rng = np.random.default_rng(seed)
    most, positions = max(LENGTHS), encoded.shape[1]
    out = {"text": np.full((3, most), -1.0), "frames": np.zeros(3),
           "weights": np.zeros((3, most + 1, positions)), "first": np.zeros((3, most + 1)),
           "probability": np.zeros((3, most))}
    for window, length in enumerate(LENGTHS):
        text = rng.integers(0, END, length)
        frames = 2 * positions - 7 * window
        weights, first, said = align(model, encoded[window], text, frames)
        out["text"][window, :length] = text
        out["frames"][window] = frames
        out["weights"][window, :length + 1, :weights.shape[1]] = weights
        out["first"][window, :length + 1] = first
        out["probability"][window, :length] = said
    (directory / "alignment").mkdir(exist_ok=True)
    save_file({name: values.astype(np.float32) for name, values in out.items()},
              directory / "alignment" / "model.safetensors")


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "whisper"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for index, name in enumerate(MODELS):
        write(root / name, index)
