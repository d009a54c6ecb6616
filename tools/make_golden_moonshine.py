#!/usr/bin/env python3
"""Makes tests/golden/moonshine: tiny random Moonshine models, and what Transformers says they
compute.

    python tools/make_golden_moonshine.py [output directory]

Needs numpy, torch, transformers and safetensors. Expected values come from Transformers in float64,
one window at a time (so without padding), without a cache and with eager attention, from weights
exact in float32.

Of each model: config.json, tokenizer.json, model.safetensors, and expected/model.safetensors, f32
but for samples:
  samples [N] f16            of four windows, one after another
  lengths [4]                of each
  encoded [R, D]             the encoder's output
  targets [4, T]             random
  at [P]                     positions of the targets that logits are given for
  logits [4, P, V]
  greedy [4, G]              what each window becomes, from decoder_start_token_id on
  beams [4, G]               the best of four beams, filled up with -1
  start [1], end [1]         the tokens that texts begin and end with
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers.models.moonshine.modeling_moonshine import MoonshineEncoderModelOutput

# The least there may be, a sample less than two rows ask for, and one of a page and more.
LENGTHS = [895, 1278, 9000, 27000]
TARGET = 70
STRIDE = 5
GREEDY = 12
BEAMS = 4

SIZES = dict(vocab_size=64, hidden_size=24, intermediate_size=40, encoder_num_attention_heads=2,
             decoder_num_attention_heads=2, max_position_embeddings=80, decoder_start_token_id=1,
             bos_token_id=1, eos_token_id=2, pad_token_id=0)
MODELS = {
    # Ten of twelve columns of a head rotate.
    "tied": dict(seed=5, encoder_num_hidden_layers=2, decoder_num_hidden_layers=3,
                 partial_rotary_factor=0.9),
    # Four of six; biases on q, k and v; a head of its own, f16.
    "biased": dict(seed=2, encoder_num_hidden_layers=3, decoder_num_hidden_layers=1,
                   partial_rotary_factor=0.67, attention_bias=True, tie_word_embeddings=False,
                   encoder_num_attention_heads=4, decoder_num_attention_heads=4, dtype="f16"),
}


def randomise(model, seed):
    """Scores of a few units make the attention far from uniform, so that a wrong key, scale, head
    or bias shows; no gain is 1 and no bias 0. Branches weigh more than embeddings, or a tied head
    would name the token that it is at."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        mean, spread = 0.0, 1 / np.sqrt(np.prod(p.shape[1:]))
        if name.endswith("bias"):
            spread = 0.3
        elif "norm" in name:
            mean, spread = 1.0, 0.2
        elif "embed" in name:
            spread = 0.3
        elif "o_proj" in name or "fc2" in name:
            spread *= 5
        elif "q_proj" in name or "k_proj" in name:
            spread *= 1.8
        elif "conv1" in name:
            spread *= 8  # sound is quiet
        p.data.copy_(torch.normal(mean, float(spread), p.shape, generator=generator))


def build(seed, dtype="f32", **arguments):
    config = transformers.MoonshineConfig(**{**SIZES, **arguments})
    config._attn_implementation = "eager"
    model = transformers.MoonshineForConditionalGeneration(config).eval()
    randomise(model, seed)
    if dtype == "f16":  # the parameters alone: angles stay f32
        for p in model.parameters():
            p.data = p.data.half()
    return model


def expected(model, seed):
    generator = np.random.default_rng(seed)
    config = model.config
    samples = (0.2 * generator.standard_normal(sum(LENGTHS))).astype(np.float16)
    targets = generator.integers(3, config.vocab_size, (len(LENGTHS), TARGET))
    at = sorted({*range(0, TARGET, STRIDE), TARGET - 1})
    model = model.double()
    encoded, logits, greedy, beams = [], [], [], []

    def score(rows, tokens):
        output = MoonshineEncoderModelOutput(last_hidden_state=rows)
        return model(encoder_outputs=output, decoder_input_ids=tokens, use_cache=False).logits[0]

    with torch.no_grad():
        for window, target in zip(np.split(samples, np.cumsum(LENGTHS)[:-1]), targets):
            sound = torch.tensor(window[None].astype(np.float64))
            rows = model.get_encoder()(sound).last_hidden_state
            encoded.append(rows[0])
            logits.append(score(rows, torch.tensor(target[None]))[at])
            tokens = [config.decoder_start_token_id]
            for _ in range(GREEDY):
                tokens.append(int(score(rows, torch.tensor([tokens]))[-1].argmax()))
            greedy.append(tokens[1:])
            best = model.generate(sound, num_beams=BEAMS, max_new_tokens=GREEDY, do_sample=False)
            found = [token for token in best[0].tolist()[1:] if token not in (0, 2)]
            beams.append(found + [-1] * (GREEDY - len(found)))
    number = lambda values: np.array(values, dtype=np.float32)
    return {"samples": samples, "lengths": number(LENGTHS),
            "encoded": torch.cat(encoded).float().numpy(), "targets": number(targets),
            "at": number(at), "logits": torch.stack(logits).float().numpy(),
            "greedy": number(greedy), "beams": number(beams),
            "start": number([config.decoder_start_token_id]), "end": number([config.eos_token_id])}


def tokenizer(vocabulary):
    """Llama's form, with a letter for each id, some of which begin a word."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(0x80, 0x84))]
    words += [mark + letter for mark in ("\u2581", "") for letter in "abcdefghijklmnopqrstuvwxyz"]
    words += [f"<<ST_{i}>>" for i in range(vocabulary - len(words))]
    special = [i for i, word in enumerate(words) if i < 3 or word.startswith("<<")]
    mark = {"String": " "}, "\u2581"
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": words[i], "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True} for i in special],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": mark[1]},
            {"type": "Replace", "pattern": mark[0], "content": mark[1]}]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": mark[1]}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                  "vocab": {word: i for i, word in enumerate(words) if not word.startswith("<<")},
                  "merges": []},
    }


def write(root, name, item):
    directory = root / "moonshine" / name
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "expected").mkdir(parents=True)
    model = build(**item)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    text = json.dumps(tokenizer(model.config.vocab_size), ensure_ascii=False)
    (directory / "tokenizer.json").write_text(text + "\n")
    values = expected(model, item["seed"])
    save_file(values, directory / "expected" / "model.safetensors")
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    print(f"{name}: {size / 1000:.0f} kB, largest row {np.abs(values['encoded']).max():.1f}, "
          f"largest logit {np.abs(values['logits']).max():.1f}")
    print(values["greedy"].astype(int), values["beams"].astype(int), sep="\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", nargs="?", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent / "tests/golden")
    options = parser.parse_args()
    for name, item in MODELS.items():
        write(options.output, name, item)


if __name__ == "__main__":
    main()
