#!/usr/bin/env python3
"""Makes the golden data for the tokenizers of encoder-decoder models, tests/golden/text/:

  numbered_pieces.json.z  tiny tokenizers of every kind with texts, their ids and what these decode to

and seeds of two fuzzers, tests/fuzz/corpus/{sentencepiece_tokenizer,tokenizer}/unigram.*.

Usage: make_golden_numbered_pieces.py OUT

The models are trained here by sentencepiece (unigram and BPE, with a table of characters and
without, with and without tokens for bytes) and read by Transformers' classes for T5, mT5, Pegasus,
mBART, mBART-50, NLLB, M2M100, Marian and BART: the ones over sentencepiece itself, which Transformers
has up to version 4, and for some the ones over the `tokenizers` library, whose tokenizer.json is
kept.

The file, before zlib, is JSON: "texts", some and 100 of make_golden_text.py's 5,000; "block";
"tokenizers", by name: "files" (a name and its bytes in base 64), "plain" (ids without special tokens),
"full" (with them and with the template, for the source language "source" where there is one),
"decoded" (of "full", without special tokens, stripped at both ends) and "target" with its token
"forced", where there are languages; of Marian "written" (ids of the texts as targets) and "read_back"
(of these); "digests" of all 5,000 texts: of each "block" of them an FNV-1a hash of 32 bits over the
numbers, four bytes each, that are of each text the count of "plain" and these ids; of Marian the same
of "written"; where there is no "source" the same of "full".
"""

import base64
import io
import json
import os
import pathlib
import struct
import sys
import tempfile
import zlib

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as model_pb2
from make_golden_text import CODE, make_texts, training_lines
from transformers import (
    BartTokenizerFast,
    M2M100Tokenizer,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    MBartTokenizerFast,
    NllbTokenizer,
    NllbTokenizerFast,
    PegasusTokenizer,
    PegasusTokenizerFast,
    T5Tokenizer,
    T5TokenizerFast,
)
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

EXTRA = [
    "", " ", "Hello world", "the words", "  the   words  ", "x", "the words of a text that is longer than others",
    "naïve café", "</s>x", "a </s> b", "<unk>x", "<pad> <pad>",
    "<extra_id_0> the <extra_id_1>, of", "x<extra_id_99>y  <extra_id_0>", "<mask> a", "a <mask> b",
    "<mask_1> x <mask_2>", "<unk_5> a", "en_XX hello", "__en__ a __fr__", "eng_Latn the", "жжж жж",
    "日本語 日本", "\u2581the \u2581", "the\u00a0words\u3000a", "ｆｕｌｌ ｗｉｄｔｈ", "ﬁne ½ ™ ﬁ\u0301",
    "e\u0301 e\u0301\u0301 \u0301", "a\u200bb \u200b", "\u200b", "x\r\n\ty", "<sep>the the<sep> zz", "\x00a",
]
# What the tiny models' tables change; sequences of several characters are among them.
RULES = {
    **{chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)},
    **{c: " " for c in "\t\n\r\u00a0\u2009\u3000"}, **{c: "" for c in "\u200b\u0001\u0002\ufeff"},
    "ﬁ": "fi", "½": "1⁄2", "™": "TM", "…": "...", "e\u0301": "é", "e\u0301\u0301": "é'", "a\u0308": "ä",
    "¨": " \u0308", "Ⅷ": "VIII", "²": "2",
}
COUNT = 120
BLOCK = 20  # texts a digest
NO_BOS = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def texts(every):
    chosen = [t for t in every[30:] if len(t) < 100]
    return EXTRA + chosen[:: len(chosen) // (COUNT - len(EXTRA))][: COUNT - len(EXTRA)]


def digest(numbers):
    value = 0x811C9DC5
    for byte in struct.pack(f"<{len(numbers)}I", *numbers):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def train(folder, kind, **settings):
    rules = folder / "rules.tsv"
    pairs = settings.pop("rules", RULES).items()
    lines = settings.pop("lines", training_lines() + CODE * 3)
    rows = ["\t".join(" ".join(f"{ord(c):X}" for c in s) for s in pair) for pair in pairs]
    rules.write_text("\n".join(rows) + "\n")
    if settings.pop("table", True):
        settings["normalization_rule_tsv"] = str(rules)
    else:
        settings["normalization_rule_name"] = "identity"
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type=kind,
        character_coverage=0.995, hard_vocab_limit=False, num_threads=1, minloglevel=2,
        **{"vocab_size": 300, **settings})
    model = model_pb2.ModelProto.FromString(out.getvalue())
    model.normalizer_spec.normalization_rule_tsv = ""  # a temporary path
    return model.SerializeToString()


def vocabulary(models, extra=(), without=None):
    """Marian's and M2M100's vocab.json, which need not have every piece."""
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for model in models:
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        for i in range(pieces.get_piece_size()):
            if not (pieces.is_control(i) or pieces.is_unknown(i) or i % 17 == without):
                ids.setdefault(pieces.id_to_piece(i), len(ids))
    for content in extra:
        ids.setdefault(content, len(ids))
    return json.dumps(ids, ensure_ascii=False).encode()


def additional(tokenizer):
    named = {"additional_special_tokens": tokenizer.additional_special_tokens}
    return json.dumps(named).encode()


def plain_ids(tokenizer, strings):
    return [tokenizer.encode(s, add_special_tokens=False, split_special_tokens=True) for s in strings]


def written_ids(tokenizer, strings):
    return [tokenizer(text_target=s, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            for s in strings]


def text_of(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()


class Maker:
    def __init__(self, every):
        self.every = every
        self.strings = texts(every)
        self.tokenizers = {}

    def digests(self, tokenizer, source, apart):
        lists = [plain_ids(tokenizer, self.every)]
        if apart:
            lists.append(written_ids(tokenizer, self.every))
        if not source:
            lists.append([tokenizer.encode(s) for s in self.every])
        numbers = [[n for ids in of_text for n in [len(ids), *ids]] for of_text in zip(*lists)]
        return [digest(sum(numbers[i : i + BLOCK], [])) for i in range(0, len(numbers), BLOCK)]

    def add(self, name, load, files, source=None, target=None, list_additional=False, keep=None):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            for file, content in files.items():
                (path / file).write_bytes(content)
            tokenizer = load(folder)
            if source:
                tokenizer.src_lang = source
            if list_additional:
                files = {**files, "special_tokens_map.json": additional(tokenizer)}
            if keep:
                saved = path / "saved"
                tokenizer.save_pretrained(saved)
                files = {f: (saved / f).read_bytes() for f in keep}
        full = [tokenizer.encode(s) for s in self.strings]
        apart = "target.spm" in files
        made = {
            "files": {f: base64.b64encode(c).decode() for f, c in files.items()},
            "plain": plain_ids(tokenizer, self.strings),
            "full": full,
            "decoded": [text_of(tokenizer, ids) for ids in full],
            "digests": self.digests(tokenizer, source, apart),
        }
        if apart:
            made["written"] = written_ids(tokenizer, self.strings)
            made["read_back"] = [text_of(tokenizer, ids) for ids in made["written"]]
        if source:
            code = "__" + target + "__" if name.startswith("m2m") else target
            made.update(source=source, target=target, forced=tokenizer.convert_tokens_to_ids(code))
        self.tokenizers[name] = made


def config(**fields):
    return {"tokenizer_config.json": json.dumps(fields).encode()}


def m2m(folder):
    """As the published files say: the class itself forgets that its languages are special."""
    languages = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]
    return M2M100Tokenizer.from_pretrained(folder, additional_special_tokens=languages)


def add_slow(maker, models):
    spiece, aligned = "spiece.model", "sentencepiece.bpe.model"
    maker.add("t5", T5Tokenizer.from_pretrained, {spiece: models["t5"]})
    maker.add("t5_bytes", lambda d: T5Tokenizer.from_pretrained(d, extra_ids=0),
              {spiece: models["t5_bytes"], **config(extra_ids=0)})
    maker.add("t5_user", T5Tokenizer.from_pretrained, {spiece: models["t5_user"]})
    maker.add("pegasus", PegasusTokenizer.from_pretrained,
              {spiece: models["t5"], **config(mask_token_sent="<mask_1>")})
    maker.add("mbart", MBartTokenizer.from_pretrained,
              {aligned: models["unigram"], **config(tokenizer_class="MBartTokenizer")},
              "en_XX", "ro_RO", True)
    maker.add("mbart50", lambda d: MBart50Tokenizer(os.path.join(d, aligned)),
              {aligned: models["unigram"], **config(tokenizer_class="MBart50Tokenizer")},
              "en_XX", "uk_UA", True)
    maker.add("m2m_bpe", m2m,
              {aligned: models["bpe"], "vocab.json": vocabulary([models["bpe"]])}, "fr", "en")
    maker.add("m2m_unigram", m2m,
              {aligned: models["unigram"], "vocab.json": vocabulary([models["unigram"]], without=3)},
              "fr", "en")
    pair = [models["unigram"], models["t5_bytes"]]
    maker.add("marian", MarianTokenizer.from_pretrained,
              {"source.spm": pair[0], "target.spm": pair[1],
               "vocab.json": vocabulary(pair, [">>fra<<", ">>deu<<", "жжж", "日本"], without=5)})
    maker.add("marian_apart", MarianTokenizer.from_pretrained,
              {"source.spm": pair[0], "target.spm": pair[1],
               "vocab.json": vocabulary(pair[:1], [">>fra<<"], without=5),
               "target_vocab.json": vocabulary(pair[1:], without=7),
               **config(separate_vocabs=True)})


def add_fast(maker, models):
    spiece, aligned = "spiece.model", "sentencepiece.bpe.model"
    keep = ["tokenizer.json", "tokenizer_config.json"]
    maker.add("t5_json", T5TokenizerFast.from_pretrained, {spiece: models["t5"]}, keep=keep)
    maker.add("t5_bytes_json", T5TokenizerFast.from_pretrained, {spiece: models["t5_bytes"]},
              keep=keep)
    maker.add("pegasus_json", PegasusTokenizerFast.from_pretrained, {spiece: models["t5"]}, keep=keep)
    maker.add("mbart_json", MBartTokenizerFast.from_pretrained, {aligned: models["unigram"]},
              "en_XX", "ro_RO", keep=keep)
    maker.add("nllb_json", NllbTokenizerFast.from_pretrained, {aligned: models["bpe"]},
              "eng_Latn", "fra_Latn", keep=keep)
    maker.add("nllb_legacy_json",
              lambda d: NllbTokenizerFast.from_pretrained(d, legacy_behaviour=True),
              {aligned: models["bpe"]}, "eng_Latn", "fra_Latn", keep=keep)
    maker.add("nllb_saved", NllbTokenizer.from_pretrained, {aligned: models["bpe"]},
              "eng_Latn", "fra_Latn", keep=[aligned, "tokenizer_config.json"])
    golden = pathlib.Path(sys.argv[1]) / "tiny_gpt2_tokenizer.json"
    model = json.loads(golden.read_text())["model"]
    ids = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for token in model["vocab"]:
        ids[token] = len(ids)
    ids["<mask>"] = len(ids)
    files = {"vocab.json": json.dumps(ids).encode(),
             "merges.txt": ("#version: 0.2\n" + "\n".join(model["merges"])).encode()}
    maker.add("bart_json", BartTokenizerFast.from_pretrained, files, keep=keep)


def write_seeds(folder, corpus):
    """Where the fuzzers of these files start: unigram models with a table, of below 4,096 bytes."""
    lines = ["the words of a text", "a b c d e f", "ﬁne words"]
    seed = train(folder, "unigram", vocab_size=40, lines=lines, rules={"ﬁ": "fi", "\u200b": ""},
                 byte_fallback=False, **NO_BOS)
    (corpus / "sentencepiece_tokenizer" / "unigram.model").write_bytes(seed)
    model = sentencepiece.SentencePieceProcessor(model_proto=seed)
    table = model_pb2.ModelProto.FromString(seed).normalizer_spec.precompiled_charsmap
    document = {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581"}]},
        "decoder": {"type": "Metaspace", "replacement": "\u2581"},
        "post_processor": {"type": "RobertaProcessing", "cls": ["<pad>", 0], "sep": ["</s>", 1]},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [
            [model.id_to_piece(i), model.get_score(i)] for i in range(model.get_piece_size())]},
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    (corpus / "tokenizer" / "unigram.json").write_text(text)


def main():
    out = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        write_seeds(path, pathlib.Path(__file__).parent.parent / "tests" / "fuzz" / "corpus")
        models = {
            "unigram": train(path, "unigram"),
            "bpe": train(path, "bpe"),
            "t5": train(path, "unigram", **NO_BOS),
            "t5_bytes": train(path, "unigram", byte_fallback=True, vocab_size=500, table=False, **NO_BOS),
            "t5_user": train(path, "unigram", user_defined_symbols=["<sep>", "the the", "\u2581zz"],
                             remove_extra_whitespaces=False, **NO_BOS),
        }
    maker = Maker(make_texts())
    add_slow(maker, models)
    add_fast(maker, models)
    made = {"texts": maker.strings, "block": BLOCK, "tokenizers": maker.tokenizers}
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    (out / "numbered_pieces.json.z").write_bytes(zlib.compress(text.encode(), 9))


if __name__ == "__main__":
    main()
