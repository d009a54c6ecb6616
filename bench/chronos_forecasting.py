#!/usr/bin/env python3
"""slim beside the chronos-forecasting package on the same model: time of a forecast, peak memory.

    python3 bench/chronos_forecasting.py --python PATH/python MODEL ...
                                         [--batches 1,16] [--horizon 64] [--runs 3] [--threads 2]

PATH/python has torch and chronos-forecasting; a model of random weights:
tools/make_random_forecast.py. The two run in turn, --runs times, each in a process of its own: it
loads the model in float32, forecasts once to warm up and once more for the clock (slim: the time of
`slim forecast --stats`, whose caches are cold; its CPU seconds are of the whole process, loading
included). Series are as long as the model looks back. Prints a
table in Markdown: medians, and ratios to the package. The largest difference of medians, in
standard deviations of the series, says that both computed the same.
"""
import argparse
import csv
import json
import math
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time


def series_of(length, count):
    return [[100 + 20 * math.sin((t + 7 * i) / 9) + (t * t * 31 + i * 17) % 13 for t in range(length)]
            for i in range(count)]


def run_package(arguments):
    """In the other Python: {"seconds", "peak", "median"}."""
    import torch
    from chronos import BaseChronosPipeline

    torch.set_num_threads(arguments.threads)
    pipeline = BaseChronosPipeline.from_pretrained(arguments.models[0], dtype="float32")
    series = [torch.tensor(one) for one in series_of(arguments.length, arguments.count)]
    for _ in range(2):
        begin, used = time.perf_counter(), time.process_time()
        quantiles, _ = pipeline.predict_quantiles(series, arguments.horizon, [0.1, 0.5, 0.9])
        seconds, used = time.perf_counter() - begin, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cpu": used, "peak": peak, "median": quantiles[:, :, 1].tolist()}))


def run_slim(arguments, model, length, count, options):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "series.json"
        path.write_text(json.dumps(series_of(length, count)))
        command = ["/usr/bin/env", "time", "-f", "peak %M cpu %U %S", arguments.slim, "forecast", "-m", model,
                   "-t", str(arguments.threads), "--horizon", str(arguments.horizon), "--stats",
                   "--batch-size", str(count), str(path)] + options
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    seconds = sum(float(one) for one in re.findall(r"(?:read in|passes:) ([\d.]+) s", done.stderr))
    rows = list(csv.DictReader(done.stdout.splitlines()))
    medians = [float(row["median"]) for row in rows]
    context = re.search(r"context +(.*) held at most; a standard cache: (.*)", done.stderr)
    user, system = re.search(r"cpu ([\d.]+) ([\d.]+)", done.stderr).groups()
    return {"seconds": seconds, "cpu": float(user) + float(system), "peak": int(re.search(r"peak (\d+)", done.stderr)[1]) * 1024,
            "median": [medians[i * arguments.horizon:(i + 1) * arguments.horizon]
                       for i in range(count)], "context": context[1]}


def compare(arguments, model, count):
    config = json.loads((pathlib.Path(model) / "config.json").read_text())["chronos_config"]
    length = config["context_length"]
    kinds = {"slim, kv f32": ["--cache", "kv", "--cache-type", "f32"],
             "slim, x and encoder rows f32": ["--cache-type", "f32"],
             "slim, x and encoder rows f16": []}
    runs = {name: [] for name in ["chronos-forecasting", *kinds]}
    for _ in range(arguments.runs):
        command = [arguments.python, __file__, "--inside", "--length", str(length), "--count",
                   str(count), "--horizon", str(arguments.horizon), "--threads",
                   str(arguments.threads), model]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
        runs["chronos-forecasting"].append(json.loads(done.stdout.splitlines()[-1]))
        for name, options in kinds.items():
            runs[name].append(run_slim(arguments, model, length, count, options))
    reference = runs["chronos-forecasting"]
    deviation = statistics.pstdev(series_of(length, 1)[0])
    of = lambda name, field: statistics.median(run[field] for run in runs[name])
    for name in runs:
        off = max(abs(a - b) for one, other in zip(runs[name][0]["median"], reference[0]["median"])
                  for a, b in zip(one, other)) / deviation
        seconds, peak = of(name, "seconds"), of(name, "peak")
        print(f"| {pathlib.Path(model).name} | {count} | {name} | {seconds:.2f} | "
              f"{of('chronos-forecasting', 'seconds') / seconds:.2f}x | {of(name, 'cpu'):.2f} | {peak / 1e6:.0f} MB | "
              f"{peak / of('chronos-forecasting', 'peak'):.2f} | {runs[name][0].get('context', '')} "
              f"| {off:.1e} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--slim", default="build/release/slim")
    parser.add_argument("--batches", default="1,16")
    for name, value in (("horizon", 64), ("runs", 3), ("threads", 2), ("length", 0), ("count", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return run_package(arguments)
    print("| model | series | engine | seconds | speed | CPU seconds | peak memory | ratio | context | off by |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for model in arguments.models:
        for count in arguments.batches.split(","):
            compare(arguments, model, int(count))


if __name__ == "__main__":
    main()
