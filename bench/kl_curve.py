#!/usr/bin/env python3
"""How close each cache is to exact attention, against its size: a table and a plot for docs/.

    python3 bench/kl_curve.py MODEL TEXT [--slim build/release/slim] [--out docs/kl_curve]
                              [--context 1024] [--tokens 4096] [--only k:i12,...]

Runs `slim verify` once for each cache and row type: the same tokens under kv in f32 and under that
cache, every token scored against stored rows. Writes OUT.md and OUT.svg; with --from OUT.json (which
each run leaves beside them) it only draws.
"""
import argparse
import json
import math
import pathlib
import subprocess
import time

# (cache, row type, spill, rank); none: as the plan chooses.
CACHES = [
    ("kv", "f16", None, None), ("kv", "bf16", None, None), ("kv", "i8", None, None),
    ("kv", "i6", None, None), ("kv", "i5", None, None), ("kv", "i4", None, None),
    ("k", "i16", 8, 0), ("k", "i16", 8, 64), ("k", "i12", 8, 0), ("k", "i12", 8, 64),
    ("k", "i10", 8, 0), ("k", "i10", 8, 64), ("k", "i8", 8, 0), ("k", "i8", 8, 64),
    ("k", "i8", 32, 64), ("k", "i6", 8, 64), ("k", "i5", 8, 64), ("k", "i4", 8, 64),
]


def verify(arguments, cache, row_type, spill, rank):
    command = [arguments.slim, "verify", "-m", arguments.model, arguments.text, "--json",
               "--cache", cache, "--cache-type", row_type, "-c", str(arguments.context),
               "--force-cache"]
    if arguments.tokens:
        command += ["--tokens", str(arguments.tokens)]
    if spill is not None:
        command += ["--spill", str(spill), "--rank", str(rank)]
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    result = json.loads(done.stdout)
    row = {"cache": cache, "type": row_type, "spill": spill, "rank": rank,
           "tokens": result["tokens"], "kl": result["kl_mean"], "kl_p99": result["kl_p99"],
           "kl_max": result["kl_max"], "top1": result["top1"],
           "rows": result["bytes_per_token"] / result["bf16_bytes_per_token"],
           "held": result["context_bytes"]["slim"] / result["context_bf16_bytes"]}
    print(f"{cache:3} {row_type:4} r={spill} q={rank}: KL {row['kl']:.2e}, "
          f"{100 * row['rows']:.1f} % ({time.time() - start:.0f} s)", flush=True)
    return row


def name(row):
    if row["cache"] == "kv":
        return f"kv {row['type']}"
    shaped = "plain" if row["rank"] == 0 else f"shaped, rank {row['rank']}"
    return f"k {row['type']}, spill {row['spill']}, {shaped}"


def table(rows, title):
    lines = [title, "", "| cache | sealed rows, of bf16 kv | all held | KL mean | 99 % below | max "
             "| top-1 |", "|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (-row["rows"], row["kl"])):
        bold = "**" if row["cache"] == "k" else ""
        lines.append(f"| {bold}{name(row)}{bold} | {100 * row['rows']:.1f} % "
                     f"| {100 * row['held']:.1f} % | {row['kl']:.1e} | {row['kl_p99']:.1e} "
                     f"| {row['kl_max']:.1e} | {row['top1']:.4f} |")
    return "\n".join(lines) + "\n"


def plot(rows):
    """KL (log) against bytes (of bf16 kv), one line for kv and one for the best k of each type."""
    width, height, left, top, right, bottom = 760, 480, 70, 20, 20, 50
    best = {}
    for row in rows:
        key = (row["cache"], row["type"])
        if key not in best or row["kl"] < best[key]["kl"]:
            best[key] = row
    low = math.floor(math.log10(min(row["kl"] for row in best.values())))
    high = math.ceil(math.log10(max(row["kl"] for row in best.values())))

    def x(share):
        return left + (width - left - right) * share / 1.1

    def y(kl):
        return top + (height - top - bottom) * (high - math.log10(kl)) / (high - low)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="13">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for power in range(low, high + 1):
        at = y(10.0 ** power)
        out.append(f'<path d="M{left} {at:.1f}H{width - right}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>')
    for percent in range(0, 111, 10):
        out.append(f'<text x="{x(percent / 100):.1f}" y="{height - bottom + 20}" '
                   f'text-anchor="middle">{percent}</text>')
    out.append(f'<text x="{(left + width) / 2}" y="{height - 10}" text-anchor="middle">bytes of '
               'cached rows, percent of kv in bf16</text>')
    out.append(f'<text transform="translate(16 {height / 2}) rotate(-90)" '
               'text-anchor="middle">KL from exact attention, nats</text>')
    for cache, colour, label in (("kv", "#b33", "keys and values"),
                                 ("k", "#06c", "keys alone (slim)")):
        points = sorted((r for (c, _), r in best.items() if c == cache), key=lambda r: r["rows"])
        path = "L".join(f"{x(r['rows']):.1f} {y(r['kl']):.1f}" for r in points)
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for row in points:
            out.append(f'<circle cx="{x(row["rows"]):.1f}" cy="{y(row["kl"]):.1f}" r="4" '
                       f'fill="{colour}"/>')
            out.append(f'<text x="{x(row["rows"]) + 7:.1f}" y="{y(row["kl"]) - 6:.1f}" '
                       f'fill="{colour}">{row["type"]}</text>')
        out.append(f'<text x="{width - right - 8}" y="{top + (18 if cache == "kv" else 38)}" '
                   f'text-anchor="end" fill="{colour}">{label}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--slim", default="build/release/slim")
    parser.add_argument("--out", default="docs/kl_curve")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--title", default="KL from exact attention on pycode-30m (4,096 tokens in "
                        "sequences of 1,024), by `python3 bench/kl_curve.py`:")
    parser.add_argument("--only", default="")
    parser.add_argument("--from", dest="source")
    arguments = parser.parse_args()
    out = pathlib.Path(arguments.out)
    if arguments.source:
        rows = json.loads(pathlib.Path(arguments.source).read_text())
    else:
        wanted = set(filter(None, arguments.only.split(",")))
        rows = [verify(arguments, *cache) for cache in CACHES
                if not wanted or f"{cache[0]}:{cache[1]}" in wanted]
        out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(rows, arguments.title))
    out.with_suffix(".svg").write_text(plot(rows))


if __name__ == "__main__":
    main()
