#!/usr/bin/env python3
"""Decode attention on a card: slim's one-read kernel beside cuDNN and FlashAttention of PyTorch.

    python3 bench/cuda_attention.py [--bench build/release/bench/bench_one_read] [--heads 32]
                                    [--head-width 128] [BATCHxROWS ...]
    python3 bench/cuda_attention.py --rows 1280 [--bench build/release/bench/bench_rows]
                                    [BATCHxROWSxQUERIES ...]

One query a sequence, rotation on read included. The peers read keys and values in bf16; the row
"with values" adds what each side needs to have values at all: M_i on ours, x W_V on theirs. Prints
the card and a table in Markdown of medians in microseconds, with ratios to cuDNN in the same run.

--rows: cross attention over an encoder's rows of that width, heads of 64, as in Whisper; so many
queries read the same rows (beams). The peer reads this layer's keys and values in f16, projected
once for all steps; ours needs two products a step instead ("with products"), and one set of rows
for all layers.
"""
import argparse
import json
import subprocess

import torch
import torch.nn.functional as functional
from torch.nn.attention import SDPBackend, sdpa_kernel


def median_us(call):
    for _ in range(3):
        call()
    times = []
    for _ in range(7):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        for _ in range(10):
            call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 100)
    return sorted(times)[len(times) // 2]


def cross_peer(width, batch, rows, queries):
    shape = (batch, width // 64, rows, 64)
    query = torch.randn(batch, width // 64, queries, 64, device="cuda", dtype=torch.float16)
    keys = torch.randn(shape, device="cuda", dtype=torch.float16)
    values = torch.randn_like(keys)
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return median_us(lambda: functional.scaled_dot_product_attention(query, keys, values))


def compare_rows(bench, width, loads):
    lines = subprocess.run([bench, "cuda", str(width)] + loads, capture_output=True, text=True, check=True)
    ours = [json.loads(line) for line in lines.stdout.splitlines()]
    print(f"{torch.cuda.get_device_name()}, rows of {width}, {width // 64} heads\n")
    print("| batch x rows x queries | cuDNN, kv f16 | rows of | attention | of cuDNN's speed | rows read "
          "| with products | by attend_pair |")
    print("|---|---|---|---|---|---|---|---|")
    for load in loads:
        batch, rows, queries = map(int, load.split("x"))
        peer = cross_peer(width, batch, rows, queries)
        torch.cuda.empty_cache()
        for row in ours:
            if (row["batch"], row["rows"], row["queries"]) != (batch, rows, queries):
                continue
            print(f"| {load} | {peer:.1f} us | {row['rows_of']} | {row['attention_us']:.1f} us "
                  f"| {peer / row['attention_us']:.2f} | {row['read_tb_s']:.2f} TB/s "
                  f"| {row['with_products_us']:.1f} us | {row['pair_us']:.1f} us |")


def peers(arguments, batch, rows):
    heads, width = arguments.heads, arguments.head_width
    shape = (batch, heads, rows, width)
    query = torch.randn(batch, heads, 1, width, device="cuda", dtype=torch.bfloat16)
    keys = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    values = torch.randn_like(keys)
    x = torch.randn(batch, heads * width, device="cuda", dtype=torch.bfloat16)
    weight = torch.randn(heads * width, heads * width, device="cuda", dtype=torch.bfloat16)

    def attend():
        return functional.scaled_dot_product_attention(query, keys, values)

    times = {}
    for name, backend in (("cuDNN", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION)):
        with sdpa_kernel(backend):
            times[name] = median_us(attend)
    times["V"] = median_us(lambda: x @ weight.T)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("loads", nargs="*")
    parser.add_argument("--bench", default="")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--head-width", type=int, default=128)
    arguments = parser.parse_args()
    if arguments.rows:
        compare_rows(arguments.bench or "build/release/bench/bench_rows", arguments.rows,
                     arguments.loads or ["1x1500x1", "8x1500x1", "64x1500x1", "64x1500x5"])
        return
    arguments.loads = arguments.loads or ["1x131072", "16x16384", "64x4096"]
    command = [arguments.bench or "build/release/bench/bench_one_read", "cuda", str(arguments.heads), str(arguments.head_width)]
    lines = subprocess.run(command + arguments.loads, capture_output=True, text=True, check=True)
    ours = [json.loads(line) for line in lines.stdout.splitlines()]
    print(f"{torch.cuda.get_device_name()}, {arguments.heads} heads of {arguments.head_width}\n")
    print("| batch x rows | cache | attention | of cuDNN's speed | keys read | with values | of cuDNN's speed |")
    print("|---|---|---|---|---|---|---|")
    for load in arguments.loads:
        batch, rows = map(int, load.split("x"))
        times = peers(arguments, batch, rows)
        torch.cuda.empty_cache()
        for name in ("cuDNN", "flash"):
            whole = times[name] + times["V"]
            print(f"| {load} | kv bf16, {name} | {times[name]:.0f} us | {times['cuDNN'] / times[name]:.2f} "
                  f"| | {whole:.0f} us | {(times['cuDNN'] + times['V']) / whole:.2f} |")
        for row in ours:
            if (row["batch"], row["rows"]) != (batch, rows):
                continue
            print(f"| | k i{row['bits']}, spill 8 | {row['attention_us']:.0f} us "
                  f"| {times['cuDNN'] / row['attention_us']:.2f} | {row['read_tb_s']:.2f} TB/s "
                  f"| {row['with_map_us']:.0f} us "
                  f"| {(times['cuDNN'] + times['V']) / row['with_map_us']:.2f} |")


if __name__ == "__main__":
    main()
