#!/usr/bin/env python3
"""Writes speech whose words and times are known: espeak-ng's voices read old books amid silence,
noise, tones and each other.

    python3 tools/make_speech_corpus.py DIRECTORY

Needs numpy and the Debian package espeak-ng (its library says when each word begins). Every file is
16 kHz, 16 bits, one channel, NAME.wav, with NAME.json beside it: {"text", "words": [[word, start,
end]], "quiet": [[start, end]]}, in seconds; "quiet" is what holds no speech. The same package gives
the same bytes.

  plain     one voice, pauses as they come
  gaps      3 to 20 s of digital silence between sentences
  noise     white noise 15 dB below the speech throughout, 4 to 12 s of it alone
  tones     chords, like music, between the sentences and softly below them
  seams     two voices by turns without a pause, so that every window's end cuts through speech
  overlap   a second voice, 12 dB softer, speaks across every half minute; the text is the first's
  nothing   silence, hum, noise and chords, no speech at all
"""
import ctypes
import json
import pathlib
import sys
import wave

import numpy as np

RATE = 16000
VOICES = ["gmw/en-US", "gmw/en-US+f3", "gmw/en-GB-x-rp", "gmw/en-GB-scotland"]

# Lewis Carroll, 1865; Jane Austen, 1813; Abraham Lincoln, 1863; Mary Shelley, 1818.
ALICE = """Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do.
Once or twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it.
And what is the use of a book, thought Alice, without pictures or conversations?
So she was considering in her own mind, as well as she could, for the hot day made her feel very sleepy and stupid,
whether the pleasure of making a daisy chain would be worth the trouble of getting up and picking the daisies.
Suddenly a white rabbit with pink eyes ran close by her."""
PRIDE = """It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.
However little known the feelings or views of such a man may be on his first entering a neighbourhood,
this truth is so well fixed in the minds of the surrounding families,
that he is considered as the rightful property of some one or other of their daughters.
My dear, said his lady to him one day, have you heard that the house is let at last?"""
LINCOLN = """Our fathers brought forth, upon this continent, a new nation, conceived in liberty,
and dedicated to the proposition that all men are created equal.
Now we are engaged in a great civil war, testing whether that nation, or any nation so conceived, and so dedicated, can long endure.
We are met on a great battle field of that war. We have come to dedicate a portion of it,
as a final resting place for those who here gave their lives that that nation might live."""
SHELLEY = """It was on a dreary night of November, that I beheld the accomplishment of my work.
With an anxiety that almost amounted to agony, I collected the instruments of life around me,
that I might infuse a spark of being into the lifeless thing that lay at my feet.
It was already one in the morning; the rain pattered dismally against the panes, and my candle was nearly burnt out."""


class Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("unique", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user", ctypes.c_void_p), ("id", ctypes.c_char * 8)]


class Reader:
    """espeak-ng: text to samples at 16 kHz in [-1, 1], and [word, start, end]."""
    SYNCHRONOUS, WORD, SPEED, CHARACTERS = 2, 1, 1, 1

    def __init__(self):
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = self.library.espeak_Initialize(self.SYNCHRONOUS, 0, None, 0)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int,
                                ctypes.POINTER(Event))
        self.callback = kind(self.receive)
        self.library.espeak_SetSynthCallback(self.callback)

    def receive(self, samples, count, events):
        if count > 0:
            self.samples.append(np.frombuffer(ctypes.string_at(samples, 2 * count), np.int16))
        i = 0
        while events[i].type != 0:
            if events[i].type == self.WORD:
                self.words.append((events[i].text_position - 1, events[i].audio_position / 1000))
            i += 1
        return 0

    def read(self, text, voice, words_a_minute=155):
        self.samples, self.words = [], []
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            sys.exit(f"espeak-ng has no voice {voice}")
        self.library.espeak_SetParameter(self.SPEED, words_a_minute, 0)
        data = " ".join(text.split()).encode()
        self.library.espeak_Synth(data, len(data) + 1, 0, self.CHARACTERS, 0, 1, None, None)
        self.library.espeak_Synchronize()
        sound = np.concatenate(self.samples).astype(np.float64) / 32768
        seconds = len(sound) / self.rate
        places = np.arange(int(seconds * RATE)) / RATE * self.rate
        heard = np.flatnonzero(np.abs(sound) > 1e-3)
        last = heard[-1] / self.rate if len(heard) else seconds
        found = []
        for i, (place, start) in enumerate(self.words):
            end = self.words[i + 1][1] if i + 1 < len(self.words) else last
            found.append([data[place:].split()[0].decode(), start, end])
        return resample(sound, places, self.rate), found


def resample(sound, places, rate):
    """Windowed sinc, cut at 7.6 kHz."""
    reach, cut = 32, 2 * 7600 / rate
    centre = np.floor(places).astype(int)
    out = np.zeros(len(places))
    padded = np.pad(sound, reach + 1)
    for tap in range(-reach, reach + 1):
        distance = places - (centre + tap)
        window = np.cos(np.clip(distance / (reach + 1), -1, 1) * np.pi / 2) ** 2
        out += padded[centre + tap + reach + 1] * cut * np.sinc(cut * distance) * window
    return out


def silence(seconds):
    return np.zeros(int(seconds * RATE))


def noise(seconds, level, random):
    return random.normal(0, level, int(seconds * RATE))


def chords(seconds, level):
    """A chord a second, with three harmonics each that die away."""
    time = np.arange(int(seconds * RATE)) / RATE
    out = np.zeros(len(time))
    for i, root in enumerate([0, 5, 7, 3, 8, 10, 7, 0]):
        beat = time % 8 - i
        on = (beat >= 0) & (beat < 1)
        for step in (0, 4, 7):
            for harmonic in (1, 2, 3):
                pitch = 220 * 2 ** ((root + step) / 12) * harmonic
                out += on * np.exp(-3 * np.maximum(beat, 0)) * np.sin(2 * np.pi * pitch * time) / harmonic
    return level * out / 4


class Recording:
    def __init__(self):
        self.parts, self.words, self.quiet, self.at, self.text = [], [], [], 0.0, []

    def say(self, spoken, text):
        sound, words = spoken
        self.words += [[word, self.at + start, self.at + end] for word, start, end in words]
        self.text.append(" ".join(text.split()))
        self.parts.append(sound)
        self.at += len(sound) / RATE

    def pause(self, sound):
        self.quiet.append([self.at, self.at + len(sound) / RATE])
        self.parts.append(sound)
        self.at += len(sound) / RATE

    def sound(self):
        return np.concatenate(self.parts)

    def write(self, folder, name, sound=None):
        sound = self.sound() if sound is None else sound
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
        truth = {"text": " ".join(self.text), "words": self.words, "quiet": self.quiet}
        (folder / f"{name}.json").write_text(json.dumps(truth) + "\n")
        print(f"{name:<8} {len(sound) / RATE:6.1f} s {len(self.words):4} words")


def amid(reader, text, voice, pauses):
    """Sentence by sentence, a pause after each."""
    recording = Recording()
    lines = text.splitlines()
    for i, line in enumerate(lines):
        recording.say(reader.read(line, voice), line)
        recording.pause(pauses[i % len(pauses)])
    return recording


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    reader, random = Reader(), np.random.default_rng(1)

    plain = Recording()
    for text, voice in ((ALICE, VOICES[0]), (PRIDE, VOICES[2])):
        plain.say(reader.read(text, voice), text)
    plain.write(folder, "plain")

    amid(reader, ALICE, VOICES[1], [silence(s) for s in (3, 12, 5, 20, 7)]).write(folder, "gaps")

    noisy = amid(reader, PRIDE, VOICES[0], [silence(s) for s in (4, 12, 6)])
    sound = noisy.sound()
    level = 10 ** (-15 / 20) * np.sqrt(np.mean(sound[np.abs(sound) > 1e-3] ** 2))
    noisy.write(folder, "noise", sound + noise(len(sound) / RATE, level, random)[:len(sound)])

    tuned = amid(reader, LINCOLN, VOICES[2], [silence(s) for s in (6, 10)])
    below = chords(tuned.at + 1, 0.02)[:len(tuned.sound())]
    for start, end in tuned.quiet:
        first, last = int(start * RATE), int(end * RATE)
        below[first:last] = chords(end - start + 1, 0.25)[:last - first]
    tuned.write(folder, "tones", tuned.sound() + below)

    seams = Recording()
    for i, line in enumerate((SHELLEY + "\n" + LINCOLN + "\n" + PRIDE).splitlines()):
        sound, words = reader.read(line, VOICES[i % 2], 185)
        last = int((words[-1][2] + 0.02) * RATE)
        seams.say((sound[:last], words), line)
    seams.write(folder, "seams")

    overlap = Recording()
    for text in (SHELLEY, ALICE):
        overlap.say(reader.read(text, VOICES[0]), text)
    sound = overlap.sound()
    for i, seam in enumerate(range(30, int(overlap.at), 30)):
        other, _ = reader.read(LINCOLN.splitlines()[i], VOICES[3])
        first = int((seam - 2) * RATE)
        other = 10 ** (-12 / 20) * other[:min(4 * RATE, len(sound) - first)]
        sound[first:first + len(other)] += other
    overlap.write(folder, "overlap", sound)

    nothing = Recording()
    hum = 0.05 * np.sin(2 * np.pi * 50 * np.arange(15 * RATE) / RATE)
    for sound in (silence(15), hum, noise(15, 0.003, random), noise(15, 0.05, random),
                  chords(20, 0.25), silence(10)):
        nothing.pause(sound)
    nothing.write(folder, "nothing")


if __name__ == "__main__":
    main()
