#!/usr/bin/env python3
"""Makes tests/golden/beams.json: what faster-whisper's beam search makes of the speech clips, with
the weights that `make models` fetches.

    python tools/make_golden_beams.py [models directory]

Needs faster-whisper. For every model, clip and choice of options (faster-whisper's names, which are
Slim's): the tokens of all segments, and the mean log-probability of each window. A length penalty is
not among the options: what it means differs (docs/cli.md).
"""

import json
import pathlib
import sys

from faster_whisper import WhisperModel

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLIPS = ("librivox", "sense_and_sensibility_01_austen_64kb-0920")
OPTIONS = (
    dict(beam_size=5),
    dict(beam_size=5, patience=2),
    dict(beam_size=8, without_timestamps=True),
    dict(beam_size=3, initial_prompt="mister dashwood"),
)


def main() -> None:
    models = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "models"
    cases = []
    for name in ("whisper-tiny.en", "whisper-base"):
        model = WhisperModel(str(models / name), device="cpu", compute_type="float32", cpu_threads=1)
        for clip in CLIPS:
            for options in OPTIONS:
                found, _ = model.transcribe(str(models / f"speech/{clip}.wav"), language="en",
                                            temperature=0, **options)
                segments = list(found)
                windows = {one.seek: round(one.avg_logprob, 6) for one in segments}
                cases.append(dict(model=name, clip=clip, options=options,
                                  tokens=[token for one in segments for token in one.tokens],
                                  avg_logprobs=list(windows.values())))
    lines = ",\n".join(json.dumps(case) for case in cases)
    (ROOT / "tests/golden/beams.json").write_text(f"[\n{lines}\n]\n")


main()
