"""What slim and faster-whisper hear of tools/make_speech_corpus.py's recordings, on the same weights.

usage: speech_corpus.py CORPUS MODEL... [--beams B] [--threads T] [--peer] [--int8] [--only NAME,...]

Both sides: beam B, all temperatures, previous text as prompt, word times; slim also with --vad-filter
and with --batched. For every recording: word errors (edit distance over the words of the text, in
per cent), words left out (the share of deletions), words in stretches without speech (their middle lies
half a second or more within one), repeats (four words said three times running), the median distance of
a word's start from espeak-ng's own, and whether times ever decrease. Last come how far the starts of
the words that slim hears with and without VAD lie apart. Prints Markdown. --peer: faster-whisper too,
which must be installed. --int8: slim with `convert --weights i8` of each model, faster-whisper with its
compute type int8.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def plain(word: str) -> str:
    return re.sub(r"[^a-z0-9']", "", word.lower().replace("neighborhood", "neighbourhood"))


def timed(pairs) -> list[tuple[str, float]]:
    """Single words without punctuation; those of "battle-field" begin together."""
    return [(plain(part), start) for word, start in pairs
            for part in re.split(r"[-\s]+", word) if plain(part)]


def align(a: list[str], b: list[str]) -> tuple[int, list[tuple[int, int]]]:
    """(Edit distance, pairs of equal words)."""
    cost = [list(range(len(b) + 1))]
    for i, word in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            row.append(min(cost[-1][j] + 1, row[-1] + 1, cost[-1][j - 1] + (word != other)))
        cost.append(row)
    i, j, pairs = len(a), len(b), []
    while i and j:
        if cost[i][j] == cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]):
            i, j = i - 1, j - 1
            if a[i] == b[j]:
                pairs.append((i, j))
        elif cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return cost[-1][-1], pairs[::-1]


def slim(model, audio, arguments, *options) -> list[tuple[str, float, float]]:
    command = [str(ROOT / "build/release/slim"), "transcribe", "-m", str(model), str(audio), "-l", "en",
               "-t", str(arguments.threads), "--beam-size", str(arguments.beams), "--word-timestamps",
               "-f", "json", *options]
    segments = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["segments"]
    return [(word["word"], word["start"], word["end"]) for one in segments for word in one["words"]]


def peer(model, audio, arguments, **options) -> list[tuple[str, float, float]]:
    from faster_whisper import WhisperModel
    loaded = peer.loaded.get(model)
    if loaded is None:
        loaded = WhisperModel(str(model), device="cpu", cpu_threads=arguments.threads,
                              compute_type="int8" if arguments.int8 else "float32")
        peer.loaded[model] = loaded
    segments, _ = loaded.transcribe(str(audio), language="en", beam_size=arguments.beams,
                                    word_timestamps=True, **options)
    return [(word.word, word.start, word.end) for one in segments for word in one.words]


peer.loaded = {}


def repeats(words: list[str]) -> int:
    """How often four words come three times running."""
    return sum(words[i:i + 4] == words[i + 4:i + 8] == words[i + 8:i + 12]
               for i in range(len(words) - 11))


def judge(truth, heard) -> dict:
    wanted = [plain(word) for word in re.split(r"[-\s]+", truth["text"]) if plain(word)]
    got = timed((word, start) for word, start, _ in heard)
    errors, pairs = align(wanted, [word for word, _ in got])
    known = timed((word, start) for word, start, _ in truth["words"])
    _, placed = align([word for word, _ in known], [word for word, _ in got])
    inside = sum(any(a + 0.5 <= (start + end) / 2 <= b - 0.5 for a, b in truth["quiet"])
                 for _, start, end in heard)
    times = [time for _, start, end in heard for time in (start, end)]
    return {"words": len(wanted), "errors": errors, "missing": max(0, len(wanted) - len(got)),
            "matched": len(pairs), "invented": inside, "repeats": repeats([word for word, _ in got]),
            "off": [abs(known[i][1] - got[j][1]) for i, j in placed],
            "falls": sum(b < a for a, b in zip(times, times[1:])), "heard": got}


def in_bytes(model, folder) -> pathlib.Path:
    made = folder / model.name
    subprocess.run([str(ROOT / "build/release/slim"), "convert", "-m", str(model), "-o", str(made),
                    "--weights", "i8"], check=True, stdout=subprocess.DEVNULL)
    return made


def compare(arguments, own) -> None:
    def ours(*options):
        return lambda model, audio, arguments: slim(own[model], audio, arguments, *options)

    engines = {"slim": ours(), "slim --vad-filter": ours("--vad-filter"),
               "slim --batched": ours("--batched")}
    if arguments.peer:
        engines |= {"faster-whisper": lambda *a: peer(*a),
                    "faster-whisper, VAD": lambda *a: peer(*a, vad_filter=True)}
    files = [path for path in sorted(arguments.corpus.glob("*.wav"))
             if not arguments.only or path.stem in arguments.only.split(",")]
    for model in arguments.models:
        print(f"\n| {model.name}, {arguments.beams} beams | " +
              " | ".join(path.stem for path in files) +
              " | all: errors % | heard % | invented words | repeats | start off, median s | times that fall |")
        print("|---" * (len(files) + 7) + "|", flush=True)
        results = {}
        for name, engine in engines.items():
            row = []
            for path in files:
                truth = json.loads(path.with_suffix(".json").read_text())
                row.append(judge(truth, engine(model, path, arguments)))
            results[name] = row
            words = sum(one["words"] for one in row)
            total = {key: sum(one[key] for one in row)
                     for key in ("errors", "matched", "invented", "repeats", "falls")}
            cells = [f"{100 * one['errors'] / one['words']:.1f}" if one["words"] else
                     f"{one['errors']} words" for one in row]
            off = statistics.median(value for one in row for value in one["off"])
            print(f"| {name} | " + " | ".join(cells) +
                  f" | {100 * total['errors'] / words:.2f} | {100 * total['matched'] / words:.2f} | "
                  f"{total['invented']} | {total['repeats']} | {off:.3f} | {total['falls']} |", flush=True)
        apart = []
        for without, with_vad in zip(results["slim"], results["slim --vad-filter"]):
            a, b = without["heard"], with_vad["heard"]
            _, pairs = align([word for word, _ in a], [word for word, _ in b])
            apart += [abs(a[i][1] - b[j][1]) for i, j in pairs]
        apart.sort()
        print(f"\nVAD on and off: {len(apart)} words both hear, starts apart by {statistics.median(apart):.3f} s in the "
              f"median, {apart[len(apart) * 95 // 100]:.3f} s at most for 95 %, "
              f"{sum(one >= 0.25 for one in apart)} by 0.25 s and more.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(arguments, {model: in_bytes(model, pathlib.Path(folder)) if arguments.int8 else model
                            for model in arguments.models})


main()
