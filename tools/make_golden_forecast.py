#!/usr/bin/env python3
"""Makes tests/golden/forecast: tiny random models of series, Chronos and Chronos-Bolt, and what the
chronos-forecasting package makes of a few series with them.

    python tools/make_golden_forecast.py [--only NAME,...] [output directory]

Needs numpy, torch, transformers and chronos-forecasting.

Of each model: config.json, model.safetensors (f32) and expected.json:
  series       lists of numbers, null where a value is missing
  Chronos:     of each series tokens (null where masked), scale, decoder [T], logits [T][V] of these
               tokens (float64, one series at a time), and centers of the bins; of series `drawn`
               quantiles [levels][horizon] of many samples
  Chronos-Bolt: of each series loc, scale, output [levels][prediction_length] before scaling
               (float64), and forecasts: horizon and quantiles [levels][horizon] at asked levels
"""

import argparse
import json
import pathlib
import shutil

import numpy as np
import torch
import transformers
from chronos import ChronosBoltPipeline, ChronosConfig, ChronosModel, ChronosPipeline
from chronos.chronos_bolt import ChronosBoltModelForForecasting

CONTEXT = 48
HORIZON = 6
DECODED = 5
SAMPLES = 8000
LEVELS = [0.1, 0.25, 0.5, 0.9]

SIZES = dict(d_model=16, d_kv=6, num_heads=2, d_ff=24, num_layers=2, num_decoder_layers=1,
             pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)


def chronos(seed, n_tokens, limits, **arguments):
    series = dict(tokenizer_class="MeanScaleUniformBins",
                  tokenizer_kwargs=dict(low_limit=limits[0], high_limit=limits[1]),
                  context_length=CONTEXT, prediction_length=HORIZON, n_tokens=n_tokens,
                  n_special_tokens=2, pad_token_id=0, eos_token_id=1, use_eos_token=True,
                  model_type="seq2seq", num_samples=20, temperature=1.0, top_k=50, top_p=1.0)
    return dict(seed=seed, patches=False, series=series,
                arguments={**SIZES, "vocab_size": n_tokens, **arguments})


def bolt(seed, stride, reg, quantiles, **arguments):
    series = dict(context_length=CONTEXT, prediction_length=HORIZON, input_patch_size=8,
                  input_patch_stride=stride, quantiles=quantiles, use_reg_token=reg)
    return dict(seed=seed, patches=True, series=series, arguments={**SIZES, **arguments})


MODELS = {
    "chronos": chronos(1, 64, (-4.0, 4.0)),
    # An even number of bins: zero lies between two. A head of its own, gated.
    "chronos_gated": chronos(2, 61, (-15.0, 15.0), feed_forward_proj="gated-gelu",
                             tie_word_embeddings=False),
    "bolt": bolt(3, 8, True, [i / 10 for i in range(1, 10)]),
    # Patches that overlap, no token after them, few levels.
    "bolt_overlapping": bolt(4, 4, False, [0.1, 0.5, 0.9], feed_forward_proj="gated-gelu"),
}


def all_series():
    generator = np.random.default_rng(7)
    walk = np.cumsum(generator.normal(size=40)) * 3 + 20
    seasonal = 100 + 30 * np.sin(np.arange(100) / 3) + generator.normal(size=100)  # over the context
    gaps = walk.copy()
    gaps[[0, 1, 9, 10, 11, 30]] = np.nan
    hole = seasonal[:47].copy()
    hole[5:31] = np.nan  # whole patches
    return [walk, seasonal, gaps, hole, np.array([2.0, -1.0, 4.5]), np.full(20, 3.0), np.zeros(12),
            np.array([np.nan] * 10 + [1.5]), np.round(generator.normal(size=30) * 1e5), walk * 1e-6]


def randomise(model, seed):
    """As tools/make_golden_seq2seq.py has it: attention far from uniform, no gain 1, no bias 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        mean, spread = 0.0, 1 / np.sqrt(p.shape[-1])
        if name.endswith("bias") and p.ndim == 1:
            spread = 0.3
        elif "norm" in name:
            mean, spread = 1.0, 0.2
        elif "relative_attention_bias" in name:
            spread = 1.5
        elif "embed_tokens" in name or "shared" in name:
            spread = 0.5
        elif name.endswith((".o.weight", ".wo.weight")):
            spread *= 2
        p.data.copy_(torch.normal(mean, float(spread), p.shape, generator=generator))


def build(item):
    config = transformers.T5Config(**item["arguments"], chronos_config=item["series"])
    config._attn_implementation = "eager"
    if item["patches"]:
        model = ChronosBoltModelForForecasting(config)
    else:
        model = transformers.T5ForConditionalGeneration(config)
        if not item["arguments"].get("tie_word_embeddings", True):
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    randomise(model.eval(), item["seed"])
    return model


def listed(values):
    """JSON has no NaN."""
    return [None if np.isnan(v) else float(v) for v in np.asarray(values, dtype=np.float64)]


def expect_chronos(model, item, series):
    config = ChronosConfig(**item["series"])
    pipeline = ChronosPipeline(config.create_tokenizer(), ChronosModel(config, model))
    generator = np.random.default_rng(item["seed"])
    expected = {"centers": pipeline.tokenizer.centers.double().tolist(), "each": []}
    exact = build(item).double()
    for values in series:
        tokens, mask, scale = pipeline.tokenizer.context_input_transform(
            torch.tensor(values, dtype=torch.float32)[None])
        decoder = [0, *generator.integers(2, config.n_tokens, DECODED - 1).tolist()]
        with torch.no_grad():
            logits = exact(input_ids=tokens, attention_mask=mask,
                           decoder_input_ids=torch.tensor([decoder]), use_cache=False).logits[0]
        seen = [int(t) if m else None for t, m in zip(tokens[0], mask[0])]
        expected["each"].append({"tokens": seen, "scale": float(scale[0]), "decoder": decoder,
                                 "logits": logits.float().tolist()})
    torch.manual_seed(1)
    expected["drawn"] = []
    for index in (0, 2, 4):
        values = torch.tensor(series[index], dtype=torch.float32)
        quantiles, mean = pipeline.predict_quantiles([values], HORIZON, LEVELS, num_samples=SAMPLES)
        expected["drawn"].append({"series": index, "levels": LEVELS, "samples": SAMPLES,
                                  "quantiles": quantiles[0].T.tolist(), "mean": mean[0].tolist()})
    return expected


def expect_bolt(model, item, series):
    pipeline = ChronosBoltPipeline(model)
    exact = build(item).double()
    expected = {"each": []}
    for values in series:
        context = torch.tensor(values, dtype=torch.float32)[None]
        with torch.no_grad():
            encoded, (loc, scale), embeds, mask = exact.encode(context)
            output = exact.output_patch_embedding(exact.decode(embeds, mask, encoded))
        one = {"loc": float(loc), "scale": float(scale), "output": output.flatten().float().tolist(),
               "forecasts": []}
        for horizon, levels in ((HORIZON, item["series"]["quantiles"]), (4, [0.05, 0.33, 0.5, 0.97]),
                                (2 * HORIZON + 3, LEVELS)):
            quantiles, mean = pipeline.predict_quantiles([context[0]], horizon, levels)
            if levels != item["series"]["quantiles"] and len(item["series"]["quantiles"]) != 9:
                continue  # their reading between levels is for nine of them
            one["forecasts"].append({"horizon": horizon, "levels": levels,
                                     "quantiles": quantiles[0].T.tolist(), "mean": mean[0].tolist()})
        expected["each"].append(one)
    return expected


def shortened(value):
    """Nine digits tell every float."""
    if isinstance(value, dict):
        return {name: shortened(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shortened(one) for one in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def write(root, name, item):
    directory = root / "forecast" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model = build(item)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    if not item["patches"] and not item["arguments"].get("tie_word_embeddings", True):
        path = directory / "config.json"  # as the files of published models say
        config = json.loads(path.read_text())
        config.pop("scale_decoder_outputs", None)
        path.write_text(json.dumps({**config, "tie_word_embeddings": False}, indent=2) + "\n")
    series = [np.asarray(values, dtype=np.float32) for values in all_series()]
    expect = expect_bolt if item["patches"] else expect_chronos
    expected = {"series": [listed(values) for values in series], **expect(model, item, series)}
    (directory / "expected.json").write_text(json.dumps(shortened(expected)) + "\n")
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    print(f"{name}: {size / 1000:.0f} kB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", nargs="?", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent / "tests/golden")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for name in options.only.split(",") if options.only else MODELS:
        write(options.output, name, MODELS[name])


if __name__ == "__main__":
    main()
