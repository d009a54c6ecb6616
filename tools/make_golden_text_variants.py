#!/usr/bin/env python3
"""Makes the golden data for the kinds of tokenizers that language models use, tests/golden/text/:

  variants.json.z        tiny tokenizer.json files, one a kind, each with the components of real ones
  ids_variants.bin.z     their ids and decoded texts
  pieces_*.model         tiny sentencepiece models
  ids_pieces.bin.z       their ids and decoded texts, by sentencepiece itself

Usage: make_golden_text_variants.py OUT

The texts are 160 of make_golden_text.py's. Deterministic as that script is. Formats, before zlib:
variants.json maps a name to its tokenizer.json. ids_variants: the names (JSON), the number of texts
and the texts, then per tokenizer and text: count and ids without specials; 0 if they are the same
with specials and the template, else count + 1 and ids; 0 if decoding the first gives the text back,
else length + 1 and what it gives. ids_pieces: per model and text, the first and the last of these.
"""

import io
import json
import pathlib
import sys
import zlib

import sentencepiece
from make_golden_text import CODE, make_texts, training_lines, varint
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

MARK = "\u2581"
COUNT = 160
SIZE = 420
EXTRA = [
    "Hello world", " Hello  world ", "<s> a </s>b", "a<|user|>  \n b<|end|>\n\nc", "  \n\n\t x",
    "e\u0301 \u212b \ufb01 \u1e9b\u0323 \uac00\u1100\u1161", "\u2581\u2581a \u2581", "12345678 3.14 9",
    "DON'T I'LL we'Re it's 'S \u017f", "a\r\n\r\n  b\r", "------ ====== ......", "     five",
    "\u4f60\u597d\u4e16\u754c\u3002\u0800\u4e00", "(a|b), [c]! \u2026\u3002\uff0c\u3001", "\u0130I\u0131 \u00df",
    "<0x0A> <unk> <pad>", "\n\nuser\n\n\nx", "x" * 200, " " * 67, "\n" * 40, "\u00e9" * 30,
]


def texts():
    chosen = [t for t in make_texts()[30:] if len(t) < 120]
    return EXTRA + chosen[:: len(chosen) // (COUNT - len(EXTRA))][: COUNT - len(EXTRA)]


GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = GPT4.replace(r"\p{N}{1,3}", r"\p{N}")
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def special(*contents, **flags):
    return [AddedToken(c, special=True, normalized=flags.get("normalized", False)) for c in contents]


def bos(tokenizer, token, prefix_processor=None):
    template = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, tokenizer.token_to_id(token))]
    )
    tokenizer.post_processor = (
        processors.Sequence([prefix_processor, template]) if prefix_processor else template
    )


def byte_level(pre, normalizer=None, specials=("<|endoftext|>",), ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        training_lines(),
        trainers.BpeTrainer(
            vocab_size=SIZE,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(special(*specials))
    return tokenizer


def split(expression):
    return pre_tokenizers.Split(Regex(expression), "isolated")


def then_bytes(*steps):
    return pre_tokenizers.Sequence([*steps, BYTES])


def llama3():
    made = byte_level(then_bytes(split(GPT4)), specials=(), ignore_merges=True)
    # Words that are tokens but that merging does not reach.
    document = json.loads(made.to_str())
    vocab = document["model"]["vocab"]
    for word in ("Ġworld", "ĠHello", "ĠcafÃ©"):
        vocab.setdefault(word, len(vocab))
    made = Tokenizer.from_str(json.dumps(document))
    made.add_special_tokens(special("<|begin_of_text|>", "<|eot_id|>"))
    bos(made, "<|begin_of_text|>", processors.ByteLevel(trim_offsets=False))
    return made


def phi():
    made = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
    made.add_tokens([AddedToken(" " * n, normalized=True) for n in (31, 8, 5, 4, 3, 2)])
    made.add_tokens([AddedToken("\t" * n, normalized=True) for n in (3, 2)])
    return made


def neox():
    made = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC(),
                      ("<|endoftext|>", "<|padding|>"))
    made.add_tokens([AddedToken(" " * n, normalized=True) for n in (9, 4, 2)])
    return made


def deepseek(*middle):
    made = byte_level(
        then_bytes(split("[\r\n]"), *middle, split("[一-龥ࠀ-一가-퟿]+"),
                   pre_tokenizers.Digits(individual_digits=True)),
        normalizers.Sequence([]), ("<｜begin▁of▁sentence｜>",))
    bos(made, "<｜begin▁of▁sentence｜>")
    return made


def pieces_to_json(path, normalizer, pre=None, strip=True, fuse=True):
    """What Transformers' converters make of a sentencepiece model."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    size = processor.get_piece_size()
    vocab = {processor.id_to_piece(i): i for i in range(size)}
    scored = [(p, processor.get_score(i)) for p, i in vocab.items()
              if not (processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i))]
    merges = []
    for piece, score in scored:
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        pairs = [p for p in pairs if p[0] in vocab and p[1] in vocab]
        merges += [(a, b, score) for a, b in sorted(pairs, key=lambda p: (vocab[p[0]], vocab[p[1]]))]
    merges = [(a, b) for a, b, _ in sorted(merges, key=lambda m: m[2], reverse=True)]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=fuse, byte_fallback=True))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + ([decoders.Strip(" ", 1, 0)] if strip else []))
    tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    bos(tokenizer, "<s>")
    return tokenizer


def llama_normalizer():
    return normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])


def phi3(path):
    made = pieces_to_json(path, llama_normalizer())
    names = ["<|endoftext|>", "<|assistant|>", "<|user|>", "<|end|>", "<|system|>"]
    made.add_special_tokens([AddedToken(n, special=True, normalized=False, rstrip=True) for n in names])
    made.add_tokens([AddedToken("<tool>", normalized=True)])
    return made


def gemma(path):
    made = pieces_to_json(path, normalizers.Replace(" ", MARK),
                          pre_tokenizers.Split(" ", "merged_with_previous"), strip=False)
    made.add_tokens([AddedToken(t, normalized=False) for t in ("\n\n", "\n\n\n", MARK * 2, "<b>")])
    made.add_special_tokens(special("<start_of_turn>", "<end_of_turn>"))
    return made


def metaspace_decoded(path):
    made = pieces_to_json(path, None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True))
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    return made


def unknown_characters():
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([
        normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(),
        normalizers.Replace(Regex(r"\s{2,}|[\n\t]"), " ")])
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("merged_with_next"), pre_tokenizers.Digits(),
        pre_tokenizers.Metaspace(prepend_scheme="always")])
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    lines = [line for line in training_lines() if line.isascii()]
    made.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=200, special_tokens=["<unk>"], show_progress=False))
    made.add_tokens([AddedToken("World  Wide", normalized=True)])
    return made


def make_variants(path):
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    metaspace = pre_tokenizers.Metaspace
    return {
        "gpt2": byte_level(gpt2),
        "neox": neox(),
        "phi": phi(),
        "llama3": llama3(),
        "qwen": byte_level(then_bytes(split(QWEN)), normalizers.NFC(), ("<|im_start|>", "<|im_end|>")),
        "olmo": byte_level(gpt2, normalizers.NFC()),
        "stablelm": byte_level(then_bytes(split(QWEN)), None, ("<|endoftext|>", "<|user|>")),
        "cohere": byte_level(pre_tokenizers.Sequence([digits, gpt2]), normalizers.NFC(),
                             ("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>")),
        "bloom": byte_level(then_bytes(split(BLOOM)), None, ("<s>", "</s>")),
        "deepseek_coder": deepseek(split(r"\s?\p{L}+"), split(r"\s?\p{P}+")),
        "deepseek_llm": deepseek(split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$")),
        "llama2": pieces_to_json(path, llama_normalizer()),
        "llama2_first": pieces_to_json(path, None, metaspace(prepend_scheme="first", split=False)),
        "yi_never": pieces_to_json(path, None, metaspace(prepend_scheme="never", split=False), False),
        "phi3": phi3(path),
        "gemma": gemma(path),
        "metaspace": metaspace_decoded(path),
        "unknown": unknown_characters(),
    }


def train_pieces(path, **settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_lines() + CODE * 3), model_writer=model, model_type="bpe",
        character_coverage=0.999, num_threads=1, minloglevel=2, allow_whitespace_only_pieces=True,
        split_digits=True, **settings)
    path.write_bytes(model.getvalue())


def packed(list_of_ids):
    return b"".join(varint(n) for n in [len(list_of_ids), *list_of_ids])


def packed_text(text):
    return varint(len(text.encode())) + text.encode()


def packed_unless(same, list_or_text):
    if same:
        return varint(0)
    values = list_or_text.encode() if isinstance(list_or_text, str) else list_or_text
    body = values if isinstance(values, bytes) else b"".join(varint(n) for n in values)
    return varint(len(values) + 1) + body


def encoded(tokenizer, text):
    tokenizer.encode_special_tokens = True
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    full = tokenizer.encode(text, add_special_tokens=True).ids
    back = tokenizer.decode(plain)
    return packed(plain) + packed_unless(plain == full, full) + packed_unless(back == text, back)


def main():
    out = pathlib.Path(sys.argv[1])
    llama = dict(vocab_size=600, byte_fallback=True, normalization_rule_name="identity",
                 remove_extra_whitespaces=False)
    train_pieces(out / "pieces_llama.model", **llama)
    train_pieces(out / "pieces_gemma.model", **llama, add_dummy_prefix=False,
                 user_defined_symbols=["\n\n", "\n\n\n", MARK * 2, MARK * 4, "<start_of_turn>"])
    train_pieces(out / "pieces_plain.model", vocab_size=300, normalization_rule_name="identity")
    strings = texts()
    made = make_variants(out / "pieces_llama.model")
    documents = {name: json.loads(t.to_str()) for name, t in made.items()}
    text = json.dumps(documents, ensure_ascii=False, separators=(",", ":"))
    (out / "variants.json.z").write_bytes(zlib.compress(text.encode(), 9))
    packs = b"".join(encoded(t, s) for t in made.values() for s in strings)
    names = packed_text(json.dumps(list(made))) + varint(len(strings))
    names += b"".join(packed_text(s) for s in strings)
    (out / "ids_variants.bin.z").write_bytes(zlib.compress(names + packs, 9))
    packs = b""
    for name in ("llama", "gemma", "plain"):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(out / f"pieces_{name}.model"))
        for s in strings:
            ids = processor.encode(s)
            back = processor.decode(ids)
            packs += packed(ids) + packed_unless(back == s, back)
    (out / "ids_pieces.bin.z").write_bytes(zlib.compress(packs, 9))


if __name__ == "__main__":
    main()
