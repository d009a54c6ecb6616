#!/usr/bin/env python3
"""Makes the golden data of the tokenizer tests, tests/golden/text/, with the `tokenizers` library.

  strings.bin.z                5,000 awkward texts
  tiny_whisper_tokenizer.json  a Whisper-like tokenizer (it also serves the tiny Whisper model)
  tiny_gpt2_tokenizer.json     a GPT-2-like one, merges written the old way ("a b")
  tiny_flags_tokenizer.json    the same with add_prefix_space and added tokens of every flag
  ids_<tokenizer>.bin.z        the ids of all texts, for these three and for two real Whisper models

Usage: make_golden_text.py MODELS OUT
  MODELS has whisper-tiny.en/tokenizer.json and whisper-base/tokenizer.json.

Deterministic: the same Python (its Unicode tables must be version 14, so that every character drawn
has the same category in any newer PCRE2 or `tokenizers`) and seed give the same bytes.

Formats, before zlib. A number is a LEB128 varint. Texts: length in bytes, UTF-8. Ids, per text:
count and ids without specials; then 0 if they are the same with specials, else count + 1 and ids.
"""

import json
import pathlib
import random
import string
import sys
import unicodedata
import zlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

COUNT = 5000
VOCABULARY = 600
LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th "
    "ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr "
    "pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt "
    "haw ln ha ba jw su"
).split()
TASKS = "translate transcribe startoflm startofprev nospeech notimestamps".split()
WORDS = (
    "the a of to and in that it is was for on with as be at by this have from or had not but what "
    "all were when we there can an your which their said if do will each about how up out them "
    "then she many some so these would other into has more her two like him see time could no make "
    "than first been its who now people my made over did down only way find use may water long "
    "little very after words called just where most know running speaking attention cache model "
    "token naïve café Größe señor façade привет мир это слово 你好 世界 注意力 こんにちは 안녕 "
    "مرحبا שלום नमस्ते 2024 3.14 1,000 I'm don't we'll they've you're it's he'd"
).split()
SPACES = [" ", "  ", "\t", "\n", "\r\n"] + list(
    "\v\f\x1c\x85\xa0\u1680\u180e\u2003\u2009\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"
)
LOOKALIKES = (
    "<|endoftext|> <|startoftranscript|> <|en|> <|0.00|> <|1.98|> <|2.00|> <|30.00|> <|31.00|> "
    "<|notimestamps|> <| |> <|endoftext| <|endoftext|>> <<|en|> [LEFT] [RIGHT] [BOTH] [BOTH "
    "lone lonely alone é <a> <a>b <a>bc <SL> <SW>"
).split()
PIECES = (
    "'s 'S 'll 'LL 't 're 've 'm 'd '' ’s ` \" ... ?! -- — == :: // # @ && $1 % \\n \\ ( ) [] "
    "{} <>"
).split()
EMOJI = ("👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇫🇷🇯🇵 ❤️ ☺ 🧑🏿‍🚀 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 \u200d \ufe0f").split()
BLOCKS = [
    [int(end, 16) for end in block.split("-")]
    for block in (
        "20-7E A1-24F 300-36F 370-52F 590-6FF 900-DFF E00-EFF 1100-11FF 2000-206F 2070-2BFF "
        "3000-30FF 4E00-9FFF AC00-D7A3 E000-F8FF FB00-FFFD 10000-103FF 1D400-1D7FF 1F000-1FAFF "
        "20000-2A6DF E0000-E01EF 100000-10FFFD"
    ).split()
]
CODE = [
    "for (int i = 0; i < n; ++i) {\n    sum += x[i];\n}",
    "def f(self, *args):\n\treturn [a for a in args]",
    "SELECT * FROM t WHERE id=42;",
    "x = y ? 'a' : \"b\";  // why",
    "#include <vector>\n",
    "https://example.org/a/b?c=1&d=%20#e",
    "user@example.org",
    "C:\\dir\\file.txt",
    "{\"k\": [1, 2.5e-3]}",
]


def assigned(r, low, high):
    while True:
        c = chr(r.randint(low, high))
        if unicodedata.category(c) not in ("Cn", "Cs"):
            return c


def block_text(r):
    blocks = r.sample(BLOCKS, r.randint(1, 3))
    return "".join(assigned(r, *r.choice(blocks)) for _ in range(r.randint(1, 24)))


def any_plane(r):
    return "".join(assigned(r, 0, 0x10FFFF) for _ in range(r.randint(1, 16)))


def sentence(r):
    return " ".join(r.choice(WORDS) for _ in range(r.randint(1, 14))) + r.choice(
        [".", "?", "!", "", " ", "\n"]
    )


def spaced(r):
    parts = []
    for _ in range(r.randint(1, 8)):
        parts.append(r.choice(SPACES) * r.choice([1, 1, 1, 2, 3, 9]))
        if r.random() < 0.7:
            parts.append(r.choice(WORDS + PIECES + LOOKALIKES))
    return "".join(parts)


def numbers(r):
    return r.choice(["", " ", "-", "x"]).join(
        "".join(r.choices("0123456789.,-٣४²½Ⅷ", k=r.randint(1, 9))) for _ in range(r.randint(1, 4))
    )


def mixed(r, *pools):
    return "".join(r.choice(r.choice(pools)) for _ in range(r.randint(1, 12)))


def combining(r):
    return "".join(
        r.choice("aeioun शक") + "".join(assigned(r, 0x300, 0x36F) for _ in range(r.randint(0, 4)))
        for _ in range(r.randint(1, 10))
    )


def code(r):
    lines = [" " * r.choice([0, 2, 4, 8]) + r.choice(CODE) for _ in range(r.randint(1, 3))]
    return r.choice(["\n", "\n\n", "  "]).join(lines)


def control(r):
    return "".join(
        chr(r.choice([*range(0x20), 0x7F, *range(0x80, 0xA0), 0x41, 0x61]))
        for _ in range(r.randint(1, 20))
    )


def ascii_noise(r):
    return "".join(r.choices(string.printable, k=r.randint(1, 40)))


KINDS = [
    block_text,
    block_text,
    any_plane,
    sentence,
    sentence,
    spaced,
    spaced,
    numbers,
    combining,
    code,
    control,
    ascii_noise,
    lambda r: mixed(r, WORDS, PIECES),
    lambda r: mixed(r, WORDS, PIECES, [" "]),
    lambda r: mixed(r, LOOKALIKES, WORDS, SPACES),
    lambda r: mixed(r, LOOKALIKES, [" ", "a", "_", "9", "-"]),
    lambda r: mixed(r, EMOJI, WORDS, [" "]),
]


def make_texts():
    r = random.Random(20240611)
    texts = ["", " ", "\n", "a", "é", "\u0000", "'", "<", "<|endoftext|>", " <|endoftext|> "]
    texts += [unit * 3000 for unit in ("a", "1", "!", " ", "\n", "ab", "世", "é", "'s", " a")]
    texts += [" " * 2999 + "a", "\u3000" * 2000 + "b", "xyz" * 997 + " "]
    while len(texts) < COUNT:
        texts.append(r.choice(KINDS)(r))
    return texts


def training_lines():
    r = random.Random(7)
    return [sentence(r) for _ in range(600)] + CODE * 3


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(
        training_lines(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return tokenizer


def make_whisper():
    tokenizer = train()
    names = ["endoftext", "startoftranscript", *LANGUAGES, *TASKS]
    tokenizer.add_special_tokens(
        [AddedToken(f"<|{name}|>", special=True, normalized=False) for name in names]
    )
    # Up to 2 s only: all 1,501 would make the file four times as large.
    tokenizer.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>", normalized=True) for i in range(101)])
    start, no_times, end = "<|startoftranscript|>", "<|notimestamps|>", "<|endoftext|>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} {no_times} $A {end}",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in (start, no_times, end)],
    )
    return tokenizer


def make_gpt2():
    tokenizer = train()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=True)])
    return tokenizer


def make_flags():
    tokenizer = make_gpt2()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_tokens(
        [
            AddedToken("[LEFT]", lstrip=True, normalized=False),
            AddedToken("[RIGHT]", rstrip=True),
            AddedToken("[BOTH]", lstrip=True, rstrip=True),
            AddedToken("lone", single_word=True),
            AddedToken("é", normalized=False),
            AddedToken("<a>"),
            AddedToken("<a>bc"),
            AddedToken("the"),
        ]
    )
    tokenizer.add_special_tokens(
        [
            AddedToken("<SL>", lstrip=True, normalized=False, special=True),
            AddedToken("<SW>", single_word=True, rstrip=True, normalized=False, special=True),
            AddedToken("<a>b", normalized=False, special=True),
        ]
    )
    return tokenizer


def save(tokenizer, path, old_merges):
    document = json.loads(tokenizer.to_str())
    if old_merges:
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    path.write_text(text + "\n", encoding="utf-8")


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def ids_of(tokenizer, text, specials):
    tokenizer.encode_special_tokens = not specials
    return tokenizer.encode(text, add_special_tokens=False).ids


def pack_ids(tokenizer, texts):
    out = bytearray()
    for text in texts:
        plain, special = ids_of(tokenizer, text, False), ids_of(tokenizer, text, True)
        for number in [len(plain), *plain]:
            out += varint(number)
        for number in [0] if plain == special else [len(special) + 1, *special]:
            out += varint(number)
    return bytes(out)


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit("This script needs a Python with Unicode 14 (3.11), to draw the same texts.")
    found, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    texts = make_texts()
    packed = b"".join(varint(len(t.encode())) + t.encode() for t in texts)
    (out / "strings.bin.z").write_bytes(zlib.compress(packed, 9))
    made = {"tiny_whisper": make_whisper(), "tiny_gpt2": make_gpt2(), "tiny_flags": make_flags()}
    for name, tokenizer in made.items():
        save(tokenizer, out / f"{name}_tokenizer.json", old_merges=name == "tiny_gpt2")
    for name in ("whisper-tiny.en", "whisper-base"):
        made[name] = Tokenizer.from_file(str(found / name / "tokenizer.json"))
    for name, tokenizer in made.items():
        (out / f"ids_{name}.bin.z").write_bytes(zlib.compress(pack_ids(tokenizer, texts), 9))


if __name__ == "__main__":
    main()
