"""faster-whisper, whisper.cpp and slim on the same audio, in turn, in one run: ratios of wall time, CPU
time and peak memory, word error rates.

usage: peers.py [--models DIR] [--runs N] [--seconds S] [--threads T] [--beams B] [--batched]
                [--whisper-cli PATH --ggml DIR] [--only NAME,...] [--json FILE]

Settings on all sides: B beams (1: greedy), temperature 0, previous text as prompt, timestamps, the
same weights, T threads. slim and faster-whisper read the same CTranslate2 directory; slim's int8 is
`slim convert --weights i8` of it. whisper.cpp reads DIR/ggml-tiny.en.bin and -base.bin (f16) and the same
with -q8_0, as its own converter and quantiser make them. With --batched: slim --batched --vad-filter
against faster-whisper's BatchedInferencePipeline, 8 windows at a time (whisper.cpp has no such thing).
Time is that of transcribing, after loading: for faster-whisper after a first minute in its process
(which warms up and lets its threads be pinned: on some virtual machines the kernel packs two
spinning threads on one core, which costs it a factor of ten); for the others the only one of their
processes, whose CPU seconds include loading. Memory is the peak of the whole process. Ratios are to
slim with weights of the same kind. Run it under `taskset -c 0,1`.
"""
import argparse
import array
import json
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import wave

ROOT = pathlib.Path(__file__).resolve().parent.parent


def words(text: str) -> list[str]:
    text = re.sub(r"[-\n]", " ", text.lower().replace("mr.", "mister"))
    return re.sub(r"[^a-z0-9' ]", "", text).split()


def word_errors(reference: str, text: str) -> tuple[int, int]:
    """(edit distance in words, words of the reference)."""
    a, b = words(reference), words(text)
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return row[-1], len(a)


def join(clips: list[tuple[pathlib.Path, str]], target: pathlib.Path, seconds: float) -> tuple[float, str]:
    """The clips in shuffled orders, 0.1 to 1.6 s of faint noise after each, until `seconds` are full:
    the same again and again would make models repeat themselves. Returns length and text."""
    draw, texts, done = random.Random(1), [], 0.0
    with wave.open(str(target), "wb") as out:
        while done < seconds:
            for clip, text in draw.sample(clips, len(clips)):
                with wave.open(str(clip), "rb") as part:
                    if done == 0:
                        out.setparams(part.getparams())
                    out.writeframes(part.readframes(part.getnframes()))
                    pause = int(part.getframerate() * draw.uniform(0.1, 1.6))
                    noise = array.array("h", (draw.randint(-8, 8) for _ in range(pause)))
                    out.writeframes(noise.tobytes())
                    done += (part.getnframes() + pause) / part.getframerate()
                texts.append(text)
    return done, " ".join(texts)


# ---- one run of faster-whisper, in a process of its own ------------------------------------------

def faster_whisper_run(model: str, audio: str, compute_type: str, threads: int, beams: int,
                       batched: int) -> None:
    import time

    from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

    from pinned import pin_hot_threads
    whisper = WhisperModel(model, device="cpu", compute_type=compute_type, cpu_threads=threads)
    more = {"batch_size": 8} if batched else {}
    engine = BatchedInferencePipeline(whisper) if batched else whisper

    def transcribe(sound):
        segments, _ = engine.transcribe(sound, language="en", beam_size=beams, temperature=0.0, **more)
        return "".join(segment.text for segment in segments)

    minute = decode_audio(audio)[:60 * 16000]
    pin_hot_threads(lambda: transcribe(minute), threads)
    usage, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    text = transcribe(audio)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    print(json.dumps({"wall": wall, "cpu": cpu, "peak_mb": after.ru_maxrss / 1024, "text": text}))


# ---- the comparison ------------------------------------------------------------------------------

def run_peer(model, audio, compute_type, arguments) -> dict:
    command = [sys.executable, __file__, "--peer", str(model), str(audio), compute_type,
               str(arguments.threads), str(arguments.beams), str(int(arguments.batched))]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(command: list) -> tuple[str, str, dict]:
    """A process's output, its messages, and what it used."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        err.seek(0)
        text, messages = out.read(), err.read()
    if status != 0:
        sys.exit(f"{command[0]} failed: {messages}")
    return text, messages, {"cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


SLIM = ROOT / "build/release/slim"


def run_slim(model, audio, arguments) -> dict:
    command = [SLIM, "transcribe", "-m", model, audio, "--language", "en", "--threads", arguments.threads,
               "--beam-size", arguments.beams, "--temperature", "0", "--stats"]
    text, stats, used = run(command + (["--batched", "--vad-filter"] if arguments.batched else []))
    found = re.search(r"time +([\d.]+) s .*loading in ([\d.]+) s", stats)
    return {"wall": float(found[1]), "text": text, **used}


def run_whisper_cpp(model, audio, arguments) -> dict:
    text, stats, used = run([arguments.whisper_cli, "-m", model, "-f", audio, "-t", arguments.threads, "-l",
                             "en", "-bs", arguments.beams, "-bo", arguments.beams, "-nf"])
    spent = {name: float(value) for name, value in re.findall(r"(load|total) time = +([\d.]+) ms", stats)}
    return {"wall": (spent["total"] - spent["load"]) / 1000,
            "text": re.sub(r"\[[\d:.]+ --> [\d:.]+\]", " ", text), **used}


def contenders(name: str, model: pathlib.Path, audio, folder: pathlib.Path, arguments) -> dict:
    """What runs, by its name; int8 ones end in it."""
    integers = folder / name
    run([SLIM, "convert", "-m", model, "-o", integers, "--weights", "i8"])
    found = {"slim": lambda: run_slim(model, audio, arguments),
             "faster-whisper float32": lambda: run_peer(model, audio, "float32", arguments),
             "slim int8": lambda: run_slim(integers, audio, arguments),
             "faster-whisper int8": lambda: run_peer(model, audio, "int8", arguments)}
    if arguments.whisper_cli and not arguments.batched:
        stem = arguments.ggml / f"ggml-{name.removeprefix('whisper-')}"
        found["whisper.cpp f16"] = lambda: run_whisper_cpp(f"{stem}.bin", audio, arguments)
        found["whisper.cpp int8"] = lambda: run_whisper_cpp(f"{stem}-q8_0.bin", audio, arguments)
    return found


def median(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def compare(arguments) -> list[dict]:
    speech = arguments.models / "speech"
    lines = [line.split("\t") for line in (speech / "transcripts.tsv").read_text().splitlines()]
    clips = [(speech / f"{name}.wav", text) for name, text in lines]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        audio = pathlib.Path(folder) / "long.wav"
        seconds, reference = join(clips, audio, arguments.seconds)
        print(f"{seconds:.0f} s of speech, {arguments.threads} threads, beam {arguments.beams}"
              f"{', batched' if arguments.batched else ''}, medians of {arguments.runs} runs in turn")
        print(f"{'model':<16} {'engine':<24} {'wall s':>7} {'x real time':>11} {'cpu s':>7} {'peak MB':>8} {'WER %':>6}  time, CPU, memory against slim")
        for name in arguments.only.split(","):
            those = contenders(name, arguments.models / name, audio, pathlib.Path(folder), arguments)
            runs = {engine: [] for engine in those}
            for _ in range(arguments.runs):
                for engine, once in those.items():
                    runs[engine].append(once())
            for engine, results in runs.items():
                ours_of_kind = runs["slim int8" if engine.endswith("int8") else "slim"]
                errors, total = word_errors(reference, results[-1]["text"])
                row = {"model": name, "engine": engine, "wall_s": median(results, "wall"),
                       "cpu_s": median(results, "cpu"), "peak_mb": median(results, "peak_mb"),
                       "wer": 100 * errors / total}
                for key, run_key in (("wall_s", "wall"), ("cpu_s", "cpu"), ("peak_mb", "peak_mb")):
                    row[f"{key}_ratio"] = statistics.median(
                        theirs[run_key] / ours[run_key] for theirs, ours in zip(results, ours_of_kind))
                rows.append(row)
                print(f"{name:<16} {engine:<24} {row['wall_s']:7.2f} {seconds / row['wall_s']:11.1f} {row['cpu_s']:7.2f} "
                      f"{row['peak_mb']:8.0f} {row['wer']:6.2f}  {row['wall_s_ratio']:.2f}, {row['cpu_s_ratio']:.2f}, {row['peak_mb_ratio']:.2f}", flush=True)
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--peer"]:
        faster_whisper_run(*sys.argv[2:5], *map(int, sys.argv[5:8]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "models")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--batched", action="store_true")
    parser.add_argument("--whisper-cli", type=pathlib.Path)
    parser.add_argument("--ggml", type=pathlib.Path, default=ROOT / "models")
    parser.add_argument("--only", default="whisper-tiny.en,whisper-base")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    rows = compare(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


main()
