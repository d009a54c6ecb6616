"""Writes transcripts.tsv (clip, words) and librivox.wav (the clips joined, one second of silence
between them) beside the speech clips.

usage: prepare_speech.py TRANSCRIPTION FOLDER
TRANSCRIPTION has lines "<s> words </s> (clip)".
"""
import pathlib
import re
import sys
import wave


def main() -> None:
    transcription, folder = map(pathlib.Path, sys.argv[1:])
    lines = []
    for line in transcription.read_text().splitlines():
        match = re.fullmatch(r"<s> (.*) </s> \((.*)\)", line.strip())
        if not match:
            sys.exit(f"{transcription}: a line is not '<s> words </s> (clip)': {line!r}")
        lines.append((match[2], match[1]))
    (folder / "transcripts.tsv").write_text("".join(f"{clip}\t{words}\n" for clip, words in lines))

    with wave.open(str(folder / "librivox.wav"), "wb") as joined:
        for index, (clip, _) in enumerate(lines):
            with wave.open(str(folder / f"{clip}.wav"), "rb") as part:
                if index == 0:
                    joined.setparams(part.getparams())
                else:
                    silence = part.getframerate() * part.getsampwidth() * part.getnchannels()
                    joined.writeframes(bytes(silence))
                joined.writeframes(part.readframes(part.getnframes()))


main()
