#!/usr/bin/env python3
"""slim beside llama.cpp on the same GGUF file: reading a prompt, decoding after it, context memory.

    python3 bench/llama_cpp.py --llama-bench PATH/llama-bench MODEL.gguf ...
                               [--prompts 1024,4096] [--steps 32] [--runs 3] [--threads 2]

For each prompt length the two run in turn, --runs times, each with its own context kept in its
default: llama.cpp's keys and values in f16, slim's k as its plan chooses and, beside it, slim's kv
in bf16. Prints a table in Markdown: medians of tokens a second, and their ratio to llama.cpp's.

llama.cpp is built from its public source (its package for Python carries it: pip download
--no-binary :all: llama-cpp-python; then cmake -B build -DLLAMA_BUILD_TOOLS=ON and the target
llama-bench in vendor/llama.cpp). A model of random weights: tools/make_random_decoder.py, and
llama.cpp's convert_hf_to_gguf.py for its GGUF file.
"""
import argparse
import json
import statistics
import subprocess


def output_of(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def run_llama(arguments, model, prompt):
    """Tokens a second of reading `prompt` tokens, and of decoding after them; bytes of the cache."""
    common = [arguments.llama_bench, "-m", model, "-t", str(arguments.threads), "-r", "1",
              "-o", "json"]
    read = output_of(common + ["-p", str(prompt), "-n", "0"])[0]
    decode = output_of(common + ["-p", "0", "-n", str(arguments.steps), "-d", str(prompt)])[0]
    return read["avg_ts"], decode["avg_ts"]


def run_slim(arguments, model, prompt):
    """The same by cache: {"kv": (read, decode, bytes), "slim": ...}."""
    rows = output_of([arguments.slim, "bench", "-m", model, "-t", str(arguments.threads), "-p",
                      str(prompt), "-n", str(arguments.steps), "--repeats", "1", "-c",
                      str(prompt + arguments.steps), "--json"] + arguments.slim_options)
    return {row["cache"]: (row["prompt_tokens_per_second"], 1 / row["step_seconds"],
                           row["context_bytes"], row["row_type"]) for row in rows}


def compare(arguments, model, prompt):
    llama, slim = [], []
    for _ in range(arguments.runs):
        llama.append(run_llama(arguments, model, prompt))
        slim.append(run_slim(arguments, model, prompt))
    reference = [statistics.median(run[i] for run in llama) for i in (0, 1)]
    kv_bytes = slim[0]["kv"][2]  # bf16 keys and values: as many bytes as llama.cpp's in f16
    print(f"| {model.split('/')[-1]} | {prompt} | llama.cpp, kv f16 | {reference[0]:.0f} | 1.00 "
          f"| {reference[1]:.1f} | 1.00 | {kv_bytes / 1e6:.1f} MB |", flush=True)
    for cache in slim[0]:
        read, decode = (statistics.median(run[cache][i] for run in slim) for i in (0, 1))
        held, row_type = slim[0][cache][2:]
        name = f"slim, {'kv' if cache == 'kv' else 'k'} {row_type}"
        print(f"| | | {name} | {read:.0f} | {read / reference[0]:.2f} | {decode:.1f} "
              f"| {decode / reference[1]:.2f} | {held / 1e6:.1f} MB ({100 * held / kv_bytes:.0f} %) |",
              flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--llama-bench", required=True)
    parser.add_argument("--slim", default="build/release/slim")
    parser.add_argument("--prompts", default="1024,4096")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slim-options", type=str.split, default=[],
                        help='for slim bench, as "--cache-type i12 --spill 8 --rank 0"')
    arguments = parser.parse_args()
    print("| model | prompt | cache | prompt tokens/s | ratio | decoded tokens/s | ratio | context |")
    print("|---|---|---|---|---|---|---|---|")
    for model in arguments.models:
        for prompt in map(int, arguments.prompts.split(",")):
            compare(arguments, model, prompt)


if __name__ == "__main__":
    main()
