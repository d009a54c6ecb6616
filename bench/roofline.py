#!/usr/bin/env python3
"""Achieved reading and time of decode attention against context, beside the device's read limit.

    python3 bench/roofline.py [--out roofline.json] [--bench build/release/bench] [--device cuda]
                              [--contexts 1024,...] [--batches 1,16] [--no-peers]
    python3 bench/roofline.py --plot roofline.json docs/roofline.svg

The first form measures, on the machine with the card: sealed keys (bench_one_read: 32 heads of 128,
i16, i12, i8), an encoder's or layer inputs' rows (bench_rows: f16, 1280 columns) and, where PyTorch
is there, cuDNN and FlashAttention on keys and values in bf16, of the same heads. A load that there is
no memory for is left out, and said so. The second draws, anywhere, and needs matplotlib. Bytes: pages of
keys or rows, or the peers' keys and values, read once; the limit: Kernels::sum_words over 2 GiB, measured
by bench_one_read in the same run.
"""
import argparse
import json
import pathlib
import subprocess
import sys

CONTEXTS = [1 << power for power in range(10, 19)]
HEADS, HEAD_WIDTH = 32, 128
BITS = (16, 12, 8)
COLOURS = {"k i16": "#06c", "k i12": "#093", "k i8": "#c60", "rows f16": "#808",
           "kv bf16, cuDNN": "#777", "kv bf16, flash": "#bbb"}


def lines_of(command):
    """The JSON lines of one benchmark; none, with a word to stderr, if it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(f"left out: {' '.join(command)}: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def point(name, row, micros, terabytes):
    print(f"{name}, {row['batch']} x {row['rows']}: {micros:.1f} us, {terabytes:.2f} TB/s", flush=True)
    return {"cache": name, "batch": row["batch"], "rows": row["rows"], "us": micros,
            "tb_s": terabytes}


def own_points(arguments, batch, rows, limits):
    folder = pathlib.Path(arguments.bench)
    points = []
    for row in lines_of([str(folder / "bench_one_read"), arguments.device, str(HEADS), str(HEAD_WIDTH),
                         f"{batch}x{rows}"]):
        limits.append(row["read_limit_tb_s"])
        if row["bits"] in BITS:
            points.append(point(f"k i{row['bits']}", row, row["attention_us"], row["read_tb_s"]))
    for row in lines_of([str(folder / "bench_rows"), arguments.device, "1280", f"{batch}x{rows}x1"]):
        if row["rows_of"] == "f16":
            points.append(point("rows f16", row, row["attention_us"], row["read_tb_s"]))
    return points


def peer_points(torch, batch, rows):
    from cuda_attention import peers
    try:
        times = peers(argparse.Namespace(heads=HEADS, head_width=HEAD_WIDTH), batch, rows)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        print(f"left out: peers, {batch} x {rows}: {str(error).splitlines()[0]}", file=sys.stderr)
        return []
    finally:
        torch.cuda.empty_cache()
    read = 2 * 2 * batch * rows * HEADS * HEAD_WIDTH
    return [point(f"kv bf16, {name}", {"batch": batch, "rows": rows}, times[name],
                  read / times[name] / 1e6) for name in ("cuDNN", "flash")]


def import_torch(arguments):
    if not arguments.peers:
        return None
    try:
        import torch
    except ImportError:
        print("without peers: there is no PyTorch", file=sys.stderr)
        return None
    return torch if torch.cuda.is_available() else None


def measure(arguments):
    torch = import_torch(arguments)
    points, limits = [], []
    for batch in arguments.batches:
        for rows in arguments.contexts:
            points += own_points(arguments, batch, rows, limits)
            if torch is not None:
                points += peer_points(torch, batch, rows)
    if not limits:
        raise SystemExit("Nothing could be measured.")
    result = {"device": torch.cuda.get_device_name() if torch is not None else arguments.device,
              "read_limit_tb_s": sorted(limits)[len(limits) // 2], "points": points}
    pathlib.Path(arguments.out).write_text(json.dumps(result, indent=1) + "\n")


def draw_batch(data, batch, reading, time):
    """One column: achieved TB/s above, time below. Rows of 1280 are no peer of 32 heads of 128."""
    for name, colour in COLOURS.items():
        points = sorted((p for p in data["points"] if (p["cache"], p["batch"]) == (name, batch)),
                        key=lambda p: p["rows"])
        if not points:
            continue
        rows = [p["rows"] for p in points]
        style = {"color": colour, "marker": "o", "markersize": 3, "label": name,
                 "linestyle": "--" if name.startswith("kv") else "-"}
        reading.plot(rows, [p["tb_s"] for p in points], **style)
        if name != "rows f16":
            time.plot(rows, [p["us"] for p in points], **style)
    limit = data["read_limit_tb_s"]
    reading.axhline(limit, color="black", linewidth=1)
    reading.annotate(f"read limit {limit:.2f} TB/s", (0.02, limit), xytext=(0, 3),
                     xycoords=("axes fraction", "data"), textcoords="offset points", fontsize=8)
    reading.set_ylim(0, 1.15 * max([limit] + [p["tb_s"] for p in data["points"]]))
    reading.set_title(f"batch {batch}")
    time.set_yscale("log")
    for axes in (reading, time):
        axes.set_xscale("log", base=2)
        axes.grid(color="#ddd")
    time.set_xlabel("cached tokens of a sequence")


def plot(source, out):
    import matplotlib
    matplotlib.use("svg")
    # The same data give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "slim"})
    from matplotlib import pyplot

    data = json.loads(pathlib.Path(source).read_text())
    batches = sorted({p["batch"] for p in data["points"]})
    figure, axes = pyplot.subplots(2, len(batches), figsize=(5 * len(batches), 7), sharex=True,
                                   squeeze=False, layout="constrained")
    for column, batch in enumerate(batches):
        draw_batch(data, batch, axes[0][column], axes[1][column])
    axes[0][0].set_ylabel("cache read, TB/s")
    axes[1][0].set_ylabel("attention of one layer's step, us")
    axes[0][0].legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, 0.86))
    figure.suptitle(f"Decode attention, {data['device']}", fontsize=10)
    figure.savefig(out, format="svg", metadata={"Date": None})


def numbers(text):
    return [int(number) for number in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", nargs=2, metavar=("FILE.json", "OUT.svg"))
    parser.add_argument("--out", default="roofline.json")
    parser.add_argument("--bench", default="build/release/bench")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--contexts", type=numbers, default=CONTEXTS)
    parser.add_argument("--batches", type=numbers, default=[1, 16])
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    arguments = parser.parse_args()
    if arguments.plot:
        plot(*arguments.plot)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
