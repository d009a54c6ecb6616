"""CTranslate2's Whisper decoder and slim's on the same weights, in turn, in one run: seconds from a given
encoder output to the first token, milliseconds of a step, and memory that a batch adds.

usage: decoder_step.py [--models DIR] [--only NAME,...] [--types float32,int8] [--batches 1,64]
                       [--tokens N] [--runs N] [--threads T] [--avx2] [--json FILE]

Greedy, N tokens of each text, whatever they are. CTranslate2 (Whisper.generate): the first token is a
run of one; a step is a run of N + 1 less that, over N; memory is the peak of the process less what it
holds before, the encoder's output included. slim (`slim bench --alone`): memory is the peak of the
process less that of one of a single text, plus that text's context. int8 is CTranslate2's int8 and
`slim convert --weights i8`. --avx2 holds both engines to AVX2. Needs what peers.sh installs; run it
under `taskset -c 0,1`.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLIM = ROOT / "build/release/slim"
AVX2 = {"CT2_FORCE_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def resident_mb() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def ctranslate2_run(model: str, compute_type: str, batch: int, tokens: int, threads: int) -> None:
    import ctranslate2
    import numpy

    from pinned import pin_hot_threads
    whisper = ctranslate2.models.Whisper(model, device="cpu", compute_type=compute_type,
                                         inter_threads=1, intra_threads=threads)
    sound = numpy.sin(0.37 * numpy.arange(80 * 3000, dtype=numpy.float64)).astype(numpy.float32)
    mel = ctranslate2.StorageView.from_array(sound.reshape(1, 80, 3000))
    one = numpy.array(whisper.encode(mel), dtype=numpy.float32)
    encoded = ctranslate2.StorageView.from_array(numpy.ascontiguousarray(numpy.repeat(one, batch, 0)))
    start, end, prompt = (50258, 50257, [50258, 50259, 50359, 50363])
    if not whisper.is_multilingual:
        start, end, prompt = (50257, 50256, [50257, 50362])

    def seconds(count: int) -> float:
        clock = time.perf_counter()
        texts = whisper.generate(encoded, [prompt] * batch, beam_size=1,
                                 max_length=count + len(prompt), suppress_tokens=[-1, end])
        made.append(len(texts[0].sequences_ids[0]))
        return time.perf_counter() - clock

    made: list[int] = []
    before = resident_mb()
    pin_hot_threads(lambda: seconds(tokens), threads)
    first = seconds(1)
    whole = seconds(tokens + 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"first_s": first, "step_ms": 1000 * (whole - first) / (made[-1] - made[-2]),
                      "added_mb": peak - before}))


def run_ctranslate2(model, compute_type: str, batch: int, arguments) -> dict:
    command = [sys.executable, __file__, "--peer", str(model), compute_type, str(batch),
               str(arguments.tokens), str(arguments.threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True,
                                     env=os.environ | (AVX2 if arguments.avx2 else {})).stdout)


def bench(model, batch: int, arguments) -> dict:
    command = [SLIM, "bench", "-m", model, "-b", batch, "-n", arguments.tokens, "-t", arguments.threads,
               "--alone", "--repeats", 1, "--read-bytes", 1 << 26, "--json"] + (["--device", "cpu:avx2"] if arguments.avx2 else [])
    out = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    return json.loads(out)[0]


def run_slim(model, batch: int, arguments) -> dict:
    one, row = bench(model, 1, arguments), bench(model, batch, arguments)
    added = row["peak_rss_bytes"] - one["peak_rss_bytes"] + one["context_bytes"]
    return {"first_s": row["first_token_seconds"], "step_ms": 1000 * row["step_seconds"],
            "added_mb": added / 2**20}


def compare(model: pathlib.Path, integers: pathlib.Path, arguments) -> list[dict]:
    rows = []
    for kind in arguments.types.split(","):
        own = integers if kind == "int8" else model
        for batch in map(int, arguments.batches.split(",")):
            runs = {"slim": [], "ctranslate2": []}
            for _ in range(arguments.runs):
                runs["slim"].append(run_slim(own, batch, arguments))
                runs["ctranslate2"].append(run_ctranslate2(model, kind, batch, arguments))
            for engine, results in runs.items():
                row = {"model": model.name, "type": kind, "batch": batch, "engine": engine}
                for key in ("first_s", "step_ms", "added_mb"):
                    row[key] = statistics.median(result[key] for result in results)
                    row[f"{key}_ratio"] = statistics.median(
                        theirs[key] / ours[key] for theirs, ours in zip(results, runs["slim"]))
                rows.append(row)
                print("{model:<16} {type:<8} {batch:>5}  {engine:<12} {first_s:8.3f} {step_ms:8.2f} "
                      "{added_mb:9.1f}   {first_s_ratio:.2f}, {step_ms_ratio:.2f}, {added_mb_ratio:.2f}"
                      .format(**row), flush=True)
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        ctranslate2_run(*sys.argv[2:4], *map(int, sys.argv[4:7]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "models")
    parser.add_argument("--only", default="whisper-tiny.en,whisper-base")
    parser.add_argument("--types", default="float32,int8")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    print(f"{arguments.tokens} tokens, {arguments.threads} threads, medians of {arguments.runs} runs in turn"
          f"{', AVX2' if arguments.avx2 else ''}; first token, step, memory over slim's")
    print(f"{'model':<16} {'type':<8} batch  {'engine':<12} {'first s':>8} {'step ms':>8} {'added MB':>9}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only.split(","):
            model, integers = arguments.models / name, pathlib.Path(folder) / name
            subprocess.run([SLIM, "convert", "-m", model, "-o", integers, "--weights", "i8"], check=True,
                           stdout=subprocess.DEVNULL)
            rows += compare(model, integers, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


main()
