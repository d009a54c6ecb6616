#!/usr/bin/env python3
"""Writes docs/models.md: the paper's 47 models, each as `slim inspect` plans it from a config alone.

    python3 tools/make_models_table.py [--slim build/release/slim]

tools/paper_models.json holds a small config.json for each model that Slim runs (sizes of the
published ones; long-context factors, which change no size, are ones), what the paper says of it
(arXiv 2503.05840), and, where Slim does not run it, why.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent

HEAD = """# The models of the paper

Made by `python3 tools/make_models_table.py`: every row is `slim inspect` on the model's config
alone, so nothing here needs weights. Bytes a token are of full pages, over all self-attention
layers; "context" is what one sequence of the whole context holds, hot page, scales, spill and
encoder rows included, and its factor is kv in bf16, rows alone, over that. Whisper: 448 tokens and 1500 encoder
positions; Moonshine: 194 and 1248 (30 s); T5: 512 and 512; Chronos-Bolt: one step and 129 rows of patches;
and no 12 bits: encoder rows are not sealed. With an encoder, kv holds
2 L (S + T) e numbers for S source and T target tokens, slim S d + L T d. Without weights the k kind
is planned with 8 spill columns and no shaped rounding; with them, `inspect` chooses row type, spill
and rank for each layer.

| model | family | kind | bytes a token, kv bf16 | 16 bits | 12 bits | context, kv bf16 | 16 bits | 12 bits | paper's factor | ours, 16 / 12 bits |
|---|---|---|---|---|---|---|---|---|---|---|
"""


FORMULA = """
## Against the formula

With an encoder, kv holds 2 L (S + T) e numbers and slim S d + L T d, of S source and T target tokens. "Held" is what
`slim inspect` counts: slim's from pages that it allocates, of 16 bits, kv's as the formula has it. Pages have 64 rows, but
what cross attention reads ends with its last row, and where there are never 64 tokens (one of Chronos-Bolt; `-c`,
`--max-length` of `slim translate`) pages are as much smaller; on a card they are whole. Self-attention's own factor is
2 e / d: 32 of T5-11B, 8 of T5-3B. All are within 5 % of the formula.

| model | S | T | kv, formula | slim, formula | factor | held | factor | of the formula | self-attention |
|---|---|---|---|---|---|---|---|---|---|
"""
NAMES = ("T5-11B", "T5-3B", "Flan-T5-base", "Chronos-Bolt-base", "Whisper-base", "Whisper-large")
NLLB = {"architectures": ["M2M100ForConditionalGeneration"], "model_type": "m2m_100", "d_model": 2048,
        "encoder_layers": 24, "decoder_layers": 24, "encoder_attention_heads": 16,
        "decoder_attention_heads": 16, "encoder_ffn_dim": 8192, "decoder_ffn_dim": 8192,
        "vocab_size": 256206, "max_position_embeddings": 1024, "activation_function": "relu",
        "scale_embedding": True, "pad_token_id": 1}


def formula_row(slim, name, config):
    found = inspect(slim, config, "f16")
    source, target = found["encoder_positions"], found["context_tokens"]
    layers, width = found["decoder_layers"], found["width"]
    own = next(layer for layer in found["layers"] if layer["attention"] == "self")
    keys = own["kv_bytes_per_token"] // 4  # e: keys and values of 16 bits

    def of(source, target):
        return 4 * layers * (source + target) * keys, 2 * (source + layers * target) * width

    kv, own_bytes = of(source, target)
    held = found["context_bytes"]
    factor = held["kv"] / held["slim"]
    agrees = factor / (kv / own_bytes)
    if not 0.95 < agrees < 1.05:
        raise SystemExit(f"{name}: {factor} is not the formula's {kv / own_bytes}")
    return (f"| {name} | {source} | {target} | {size(kv)} | {size(own_bytes)} | {kv / own_bytes:.2f} "
            f"| {size(held['slim'])} | {factor:.2f} | {agrees:.3f} "
            f"| {2 * keys / width:g} |\n")


def inspect(slim, config, row_type):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "config.json"
        path.write_text(json.dumps(config))
        command = [slim, "inspect", "-m", str(path), "--json"]
        command += ["--cache-type", row_type] if row_type else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{config}\n{' '.join(command)}\n{done.stderr}")
        return json.loads(done.stdout)


def size(count):
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if count < 100 else f"{count:.0f} {unit}"
        count /= 1000


def row(slim, model):
    paper = model["paper"]
    factor = f"{paper['factor']:g}x"
    note = model.get("note", "")
    if "config" not in model:
        return (f"| {model['name']} | not run: {note} | | | | | | | | {factor} | |")
    usual = inspect(slim, model["config"], None)
    encodes = usual["encoder_layers"] > 0  # encoder rows are never sealed: no 12 bits
    twelve = None if encodes else inspect(slim, model["config"], "i12")
    kinds = "+".join(dict.fromkeys(layer["kind"] for layer in usual["layers"]))
    wide = usual  # 16 bits: keys in i16 beside encoder rows of 16 bits
    if kinds != "k+encoder":
        wide = inspect(slim, model["config"], "i16" if kinds == "k" else "f16")

    def tokens(result, field):
        return sum(layer[field] for layer in result["layers"] if layer["attention"] == "self")

    bf16 = wide["context_bf16_bytes"]
    held = wide["context_bytes"]["slim"]
    narrow = twelve["context_bytes"]["slim"] if twelve else 0
    name = model["name"] + (f" ({note})" if note else "")
    small = [size(tokens(twelve, "bytes_per_token")), size(narrow)] if twelve else ["", ""]
    ours = f"{bf16 / held:.2f}x" + (f" / {bf16 / narrow:.2f}x" if twelve else "")
    return (f"| {name} | {wide['family']} | {kinds} | {size(tokens(wide, 'kv_bytes_per_token'))} "
            f"| {size(tokens(wide, 'bytes_per_token'))} | {small[0]} | {size(bf16)} | {size(held)} "
            f"| {small[1]} | {factor} | {ours} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--slim", default="build/release/slim")
    slim = parser.parse_args().slim
    models = json.loads((ROOT / "tools" / "paper_models.json").read_text())
    text = HEAD + "".join(row(slim, model) + "\n" for model in models)
    configs = {model["name"]: model["config"] for model in models if "config" in model}
    configs = {**{name: configs[name] for name in NAMES}, "NLLB-3.3B": NLLB}
    text += FORMULA + "".join(formula_row(slim, name, c) for name, c in configs.items())
    (ROOT / "docs" / "models.md").write_text(text)


if __name__ == "__main__":
    main()
