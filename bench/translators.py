"""CTranslate2, Transformers and slim with the same random weights, in turn, in one run: seconds to
the first token, tokens a second, bytes of context and peak memory, as ratios.

usage: translators.py [--shapes LIST] [--batches LIST] [--sources LIST] [--tokens N] [--runs N]
                      [--threads T] [--engines LIST] [--folder DIR] [--json FILE]

Every source has as many tokens, every text grows to N tokens, greedily. Seconds to the first token
take in the encoder, for the whole batch; tokens a second are those after the first. slim reads what
CTranslate2 reads: float32 weights, or int8 ones with a scale a row. Each run is a process of its
own, after a warm-up in it, its threads on processors of their own. CPU seconds of a step are those
of a run of N tokens less those of a run of one; with --threads 1, where no thread waits for another,
they hold on a busy machine, too.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
sys.path.insert(0, str(ROOT / "tools"))


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_seconds(usage) -> float:
    return usage.ru_utime + usage.ru_stime


def sources(batch: int, length: int, vocabulary: int) -> list[list[int]]:
    return [[(7919 * i + 104729 * n + 13) % (vocabulary - 200) + 100 for i in range(length)]
            for n in range(batch)]


# ---- the weights ---------------------------------------------------------------------------------

def prepare(folder: pathlib.Path, shape: str) -> pathlib.Path:
    """The Hugging Face directory, with float32/ and int8/ of CTranslate2 beside it."""
    model = folder / shape
    if (model / "int8" / "model.bin").exists():
        return model
    from transformers_converter import Converter
    subprocess.run([sys.executable, str(ROOT / "tools/make_random_translator.py"), shape, str(model)],
                   check=True)
    config = json.loads((model / "config.json").read_text())

    for kind in ("float32", "int8"):
        Converter(str(model)).convert(str(model / kind), quantization=kind, force=True)
        # Their keys do not meet those of CTranslate2's own config.json.
        both = config | json.loads((model / kind / "config.json").read_text())
        (model / kind / "config.json").write_text(json.dumps(both))
        shutil.copy(model / "tokenizer.json", model / kind)
    return model


# ---- one run of a peer, in a process of its own --------------------------------------------------

def timed(generate, tokens: int, threads: int) -> None:
    from pinned import pin_hot_threads
    pin_hot_threads(lambda: generate(tokens), threads)

    def run(count):
        start, used = time.perf_counter(), cpu_seconds(resource.getrusage(resource.RUSAGE_SELF))
        generate(count)
        return (time.perf_counter() - start,
                cpu_seconds(resource.getrusage(resource.RUSAGE_SELF)) - used)

    first, whole = run(1), run(tokens)
    step, cpu = ((b - a) / (tokens - 1) for a, b in zip(first, whole))
    print(json.dumps({"first": first[0], "step": step, "cpu_step": cpu, "peak_mb": peak_mb()}))


def run_ctranslate2(job: dict) -> None:
    import ctranslate2
    translator = ctranslate2.Translator(str(job["model"]), device="cpu", compute_type=job["type"],
                                        inter_threads=1, intra_threads=job["threads"])
    texts = [[f"t{token}" for token in source]
             for source in sources(job["batch"], job["source"], job["vocabulary"])]

    def generate(tokens):
        found = translator.translate_batch(texts, beam_size=1, max_batch_size=0,
                                           max_input_length=0, min_decoding_length=tokens,
                                           max_decoding_length=tokens)
        assert all(len(one.hypotheses[0]) == tokens for one in found)

    timed(generate, job["tokens"], job["threads"])


def run_transformers(job: dict) -> None:
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(job["threads"])
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(job["model"], dtype=torch.float32)
    ids = torch.tensor(sources(job["batch"], job["source"], job["vocabulary"]))

    def generate(tokens):
        with torch.inference_mode():
            found = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), num_beams=1,
                                   do_sample=False, min_new_tokens=tokens, max_new_tokens=tokens)
        assert found.shape[1] == tokens + 1

    timed(generate, job["tokens"], job["threads"])


KEYS = ("first", "step", "cpu_step", "context_mb", "peak_mb")
PEERS = {"ctranslate2": run_ctranslate2, "transformers": run_transformers}


def bench_slim(job: dict, steps: int) -> tuple[dict, float]:
    """What it says, and the CPU seconds of its process."""
    command = [str(ROOT / "build/release/slim"), "bench", "-m", str(job["model"]), "--json", "--alone",
               "--cache", job.get("cache", "auto"), "--compute-type", job.get("compute", "auto"), "--threads", str(job["threads"]), "--repeats", "2",
               "--read-bytes", str(1 << 20), "-b", str(job["batch"]), "-n", str(steps),
               "--source-tokens", str(job["source"]), "-c", str(steps + 1)]  # as peers know the length
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit("slim failed")
        out.seek(0)
        (row,) = json.load(out)
    return row, cpu_seconds(usage)


def run_slim(job: dict) -> dict:
    _, least = bench_slim(job, 1)
    row, cpu = bench_slim(job, job["tokens"])
    return {"first": row["encode_seconds"] + row["first_token_seconds"], "step": row["step_seconds"],
            "cpu_step": (cpu - least) / 2 / (job["tokens"] - 1), "peak_mb": row["peak_rss_bytes"] / 2 ** 20,
            "context_mb": row["context_bytes"] / 1e6}


def run_peer(engine: str, job: dict) -> dict:
    command = [sys.executable, __file__, "--peer", engine, json.dumps({**job, "model": str(job["model"])})]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    # What they hold, by count: keys and values of every layer in f32, those of the source included.
    config = json.loads((pathlib.Path(job["folder"]) / "config.json").read_text())
    layers = config.get("num_decoder_layers", config.get("decoder_layers"))
    width = config.get("num_heads", 0) * config.get("d_kv", 0) or config["d_model"]
    tokens = job["source"] + job["tokens"]
    return {**json.loads(done.stdout), "context_mb": job["batch"] * tokens * layers * 2 * width * 4 / 1e6}


# ---- the comparison ------------------------------------------------------------------------------

def contenders(model: pathlib.Path, engines: list[str]) -> dict:
    """name: (files, their kind, function of a job)."""
    found = {}
    for kind in ("float32", "int8"):
        found[f"slim {kind}"] = (model / kind, kind, lambda job: run_slim(job))
        found[f"slim kv {kind}"] = (model / kind, kind, lambda job: run_slim({**job, "cache": "kv"}))
        found[f"ctranslate2 {kind}"] = (model / kind, kind, lambda job: run_peer("ctranslate2", job))
    for compute in ("int16", "float32"):  # of activations, with weights of i8
        found[f"slim int8 by {compute}"] = (
            model / "int8", "int8", lambda job, compute=compute: run_slim({**job, "compute": compute}))
    found["transformers float32"] = (model, "float32", lambda job: run_peer("transformers", job))
    return {name: found[name] for name in found if name in engines or not engines}


def compare(arguments, shape: str, batch: int, source: int) -> list[dict]:
    model = prepare(arguments.folder, shape)
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    job = {"batch": batch, "source": source, "tokens": arguments.tokens, "vocabulary": vocabulary,
           "threads": arguments.threads, "folder": str(model)}
    engines = contenders(model, arguments.engines)
    runs = {name: [] for name in engines}
    for _ in range(arguments.runs):
        for name, (files, kind, run) in engines.items():
            runs[name].append(run({**job, "model": files, "type": kind}))
    rows = []
    for name, results in runs.items():
        base = runs.get(f"slim {engines[name][1]}", results)
        row = {"shape": shape, "batch": batch, "source": source, "engine": name}
        for key in KEYS:
            row[key] = statistics.median(run[key] for run in results)
            row[f"{key}_ratio"] = statistics.median(
                theirs[key] / ours[key] for theirs, ours in zip(results, base))
        rows.append(row)
        print(f"| {shape} | {batch} | {source} | {name} | {row['first']:.3f} | {batch / row['step']:.0f} | "
              f"{1e3 * row['cpu_step']:.1f} | {row['context_mb']:.1f} | {row['peak_mb']:.0f} | "
              + ", ".join(f"{row[f'{key}_ratio']:.2f}" for key in KEYS) + " |",
              flush=True)
    return rows


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        PEERS[sys.argv[2]](json.loads(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="flan-t5-base,opus-mt-base")
    parser.add_argument("--batches", type=numbers, default=[1, 16, 64])
    parser.add_argument("--sources", type=numbers, default=[64, 512])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engines", type=lambda text: text.split(","), default=[])
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/translators")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(f"{arguments.tokens} tokens, {arguments.threads} threads, medians of {arguments.runs} runs in turn; "
          "ratios: theirs over those of slim with the same weights, above 1: slim needs less")
    print("| shape | batch | source | engine | first token s | tokens/s | CPU ms/step | context MB | peak MB | "
          "first token, step, CPU, context, peak against slim |\n|" + "---|" * 10)
    rows = []
    for shape in arguments.shapes.split(","):
        for batch in arguments.batches:
            for source in arguments.sources:
                rows += compare(arguments, shape, batch, source)
                if arguments.json:
                    arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
