#!/usr/bin/env python3
"""Makes tests/golden/seq2seq: tiny random encoder-decoder models of text, and what Transformers
says they compute.

Each entry of MODELS is a model: a config class of Transformers, its arguments, and the seed. To add
a family, add an entry. Expected values come from Transformers in float64, one source at a time (so
without padding), without a cache and with eager attention, from weights exact in float32.

    python tools/make_golden_seq2seq.py [--only NAME,...] [output directory]

Needs numpy, torch, transformers, safetensors and ctranslate2.

Of each model: config.json, model.safetensors, of some the same as ct2/, and expected/model.safetensors, all f32:
  sources [N]                random tokens of five sources, one after another
  lengths [5]                of each
  encoded [N, D]             the encoder's output
  targets [5, T]             random
  at [P]                     positions of the targets that logits are given for
  logits [5, P, V]
  greedy [5, G]              what each source becomes, from decoder_start_token_id on
  start [1]                  that token
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from transformers_converter import Converter

# One shorter than any bucket or page, one of a page and one more, and one beyond all of T5's.
LENGTHS = [1, 7, 64, 65, 150]
TARGET = 70
STRIDE = 5
GREEDY = 12


def entry(config, seed, head=None, own_head=False, dtype=torch.float32, mutate=None, ct2=False,
          **arguments):
    """config: name of a config class; head: class of the model, if it is not the config's
    <Name>ForConditionalGeneration; own_head: the head is not the embedding's table, as the config
    of published models says (Transformers 5 forgets that it did); dtype: of the file; mutate: called
    with the model once its weights are random; ct2: whether it is converted, too."""
    head = head or config.removesuffix("Config") + "ForConditionalGeneration"
    usual = dict(vocab_size=64, decoder_start_token_id=3, pad_token_id=0, eos_token_id=1,
                 bos_token_id=2)
    return dict(config=config, head=head, seed=seed, own_head=own_head, dtype=dtype, mutate=mutate, ct2=ct2,
                arguments={**usual, **arguments})


def grow_mlps(model):
    """What MLPs have inside and what they add goes beyond 1e5: more than f16 holds."""
    for name, p in model.named_parameters():
        if ".wi" in name:
            p.data.mul_(3e4)


def clear_padding(model):
    """The decoder starts from an embedding of zeros, as in published models."""
    model.model.shared.weight.data[model.config.pad_token_id] = 0


BART_SIZES = dict(d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4,
                  decoder_attention_heads=4, encoder_ffn_dim=40, decoder_ffn_dim=36,
                  max_position_embeddings=80)

MODELS = {
    # 1.0: a scaled, tied head; sides of unequal depth; heads together wider than the model.
    "t5": entry("T5Config", 1, d_model=32, d_kv=12, num_heads=4, d_ff=40, num_layers=2,
                num_decoder_layers=3, ct2=True),
    # 1.1: gated, a head of its own; heads narrower than the model; few buckets.
    "t5_gated": entry("T5Config", 2, d_model=32, d_kv=4, num_heads=6, d_ff=36, num_layers=3,
                      num_decoder_layers=1, feed_forward_proj="gated-gelu", own_head=True,
                      ct2=True, tie_word_embeddings=False, relative_attention_num_buckets=16,
                      relative_attention_max_distance=20),
    "mt5": entry("MT5Config", 3, d_model=24, d_kv=8, num_heads=2, d_ff=32, num_layers=1,
                 own_head=True),
    "t5_large_values": entry("T5Config", 10, d_model=32, d_kv=8, num_heads=4, d_ff=40, num_layers=2,
                             dtype=torch.float16, mutate=grow_mlps),
    "marian": entry("MarianConfig", 4, head="MarianMTModel", **BART_SIZES, pad_token_id=63,
                    decoder_start_token_id=63, activation_function="swish", scale_embedding=True,
                    mutate=clear_padding, ct2=True),
    # Source and target have vocabularies of their own, sides have heads of their own.
    "marian_apart": entry("MarianConfig", 5, head="MarianMTModel",
                          **{**BART_SIZES, "decoder_attention_heads": 2}, decoder_vocab_size=48,
                          share_encoder_decoder_embeddings=False, activation_function="relu"),
    "m2m100": entry("M2M100Config", 6, **BART_SIZES, pad_token_id=1, eos_token_id=2, ct2=True),
    "bart": entry("BartConfig", 7, **BART_SIZES, ct2=True),
    "mbart": entry("MBartConfig", 8, **BART_SIZES, scale_embedding=True, ct2=True),
    "pegasus": entry("PegasusConfig", 9, **BART_SIZES, activation_function="relu",
                     scale_embedding=True, ct2=True),
}


def randomise(model, seed):
    """Larger than the usual initialisation: scores of a few units make the attention far from
    uniform, so that a wrong key, scale, head or bias shows; no gain is 1 and no bias 0. Branches
    weigh more than embeddings, or a tied head would name the token that it is at."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        if p.ndim < 2 and not name.endswith(("weight", "bias")):
            continue
        inputs = p.shape[-1]
        mean, spread = 0.0, 1 / np.sqrt(inputs)
        if name.endswith(("bias", "final_logits_bias")):
            spread = 0.1
        elif "norm" in name:
            mean, spread = 1.0, 0.2
        elif "relative_attention_bias" in name:
            spread = 1.5
        elif "embed_positions" in name and not p.requires_grad:
            continue  # sines and cosines
        elif "embed" in name or "shared" in name:
            scaled = getattr(model.config, "scale_embedding", False)
            spread = 0.2 / (np.sqrt(model.config.d_model) if scaled else 1)
        elif name.endswith((".q.weight", ".k.weight")):
            spread *= 0.9  # T5's scores are not scaled
        elif name.endswith(("out_proj.weight", "fc2.weight", ".o.weight", ".wo.weight")):
            spread *= 2
        elif "q_proj" in name or "k_proj" in name:
            spread *= 1.8
        p.data.copy_(torch.normal(mean, float(spread), p.shape, generator=generator))


def build(item):
    config = getattr(transformers, item["config"])(**item["arguments"])
    config._attn_implementation = "eager"
    model = getattr(transformers, item["head"])(config).eval()
    if item["own_head"]:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    randomise(model, item["seed"])
    if item["mutate"]:
        item["mutate"](model)
    return model.to(item["dtype"])


def expected(model, item):
    generator = np.random.default_rng(item["seed"])
    vocabulary = getattr(model.config, "decoder_vocab_size", model.config.vocab_size)
    vocabulary -= model.config.pad_token_id == vocabulary - 1  # no text has that
    lengths = [min(n, getattr(model.config, "max_position_embeddings", n)) for n in LENGTHS]
    sources = [generator.integers(4, vocabulary, n) for n in lengths]
    targets = generator.integers(4, vocabulary, (len(sources), TARGET))
    at = sorted({*range(0, TARGET, STRIDE), TARGET - 1})
    model = model.double()
    encoded, logits, greedy = [], [], []

    def score(rows, tokens):
        return model(encoder_outputs=(rows,), decoder_input_ids=tokens, use_cache=False).logits[0]

    with torch.no_grad():
        for source, target in zip(sources, targets):
            rows = model.get_encoder()(torch.tensor(source[None])).last_hidden_state
            encoded.append(rows[0])
            logits.append(score(rows, torch.tensor(target[None]))[at])
            tokens = [model.config.decoder_start_token_id]
            for _ in range(GREEDY):
                tokens.append(int(score(rows, torch.tensor([tokens]))[-1].argmax()))
            greedy.append(tokens[1:])
    number = lambda values: np.array(values, dtype=np.float32)
    return {"sources": number(np.concatenate(sources)), "lengths": number(lengths),
            "encoded": torch.cat(encoded).float().numpy(), "targets": number(targets),
            "at": number(at), "logits": torch.stack(logits).float().numpy(),
            "greedy": number(greedy), "start": number([model.config.decoder_start_token_id])}


def write(root, name, item):
    directory = root / "seq2seq" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model = build(item)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    if item["own_head"]:
        path = directory / "config.json"
        config = json.loads(path.read_text())
        config.pop("scale_decoder_outputs", None)
        path.write_text(json.dumps({**config, "tie_word_embeddings": False}, indent=2) + "\n")
    if item["ct2"]:
        Converter(str(directory)).convert(str(directory / "ct2"))
    (directory / "expected").mkdir()
    values = expected(model, item)
    save_file(values, directory / "expected" / "model.safetensors")
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    print(f"{name}: {size / 1000:.0f} kB, largest row {np.abs(values['encoded']).max():.1f}, "
          f"largest logit {np.abs(values['logits']).max():.1f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", nargs="?", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent / "tests/golden")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else MODELS
    for name in chosen:
        write(options.output, name, MODELS[name])


if __name__ == "__main__":
    main()
