#!/usr/bin/env python3
"""Makes tests/golden/translation: tiny random encoder-decoder models with tokenizers, and what
Transformers' generate() makes of a few texts in float32.

    python tools/make_golden_translations.py [NAME,...]

The tokenizers and the ids of the texts are those of make_golden_numbered_pieces.py. Each model is a
directory with its tokenizer's files and a generation_config.json; expected.json has the texts and, for
each of some settings of generate(), the tokens (without those that the decoder begins with, and
without the end), scores and whether the end was written.

Needs numpy, torch, transformers 5 and safetensors.
"""

import base64
import json
import pathlib
import shutil
import sys
import zlib

import torch
import transformers
from make_golden_seq2seq import randomise

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
COUNT = 64
TEXTS = ["Hello world", "  the   words  ", "x", "the words of a text that is longer than others",
         "naïve café"]
SIZES = dict(d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
             decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
             max_position_embeddings=80)
PREFIX = "the words"  # of each target
# Settings of generate(), under the names of TranslateOptions.
SETTINGS = [
    dict(beams=1),
    dict(beams=4, hypotheses=3),
    dict(beams=4, length_penalty=0.3),
    dict(beams=3, length_penalty=2.0, min_tokens=12),
    dict(beams=4, no_repeat_ngram=2),
    dict(beams=1, no_repeat_ngram=3, repetition_penalty=1.3),
    dict(beams=4, repetition_penalty=1.3, max_tokens=20),
    dict(beams=4, target_prefix=PREFIX),
]
NAMES = dict(beams="num_beams", hypotheses="num_return_sequences", length_penalty="length_penalty",
             min_tokens="min_new_tokens", no_repeat_ngram="no_repeat_ngram_size",
             repetition_penalty="repetition_penalty", max_tokens="max_new_tokens")

BRANCHES = ("out_proj.weight", "fc2.weight", ".o.weight", ".wo.weight")
LAST_NORMS = ("decoder.layers.1.final_layer_norm.weight", "decoder.layer_norm.weight",
              "decoder.final_layer_norm.weight")
# By the tokenizer's name: config class, model class, what makes ends likely, fields of the config,
# and of generation_config.json.
MODELS = {
    "t5_json": ("T5Config", "T5ForConditionalGeneration", 2.5,
                dict(d_model=16, d_kv=8, num_heads=2, d_ff=24, num_layers=2, num_decoder_layers=2,
                     decoder_start_token_id=0, pad_token_id=0, eos_token_id=1), {}),
    "marian": ("MarianConfig", "MarianMTModel", 2.5,
               dict(**SIZES, decoder_start_token_id=1, pad_token_id=1, eos_token_id=2,
                    activation_function="swish", scale_embedding=True),
               dict(bad_words_ids=[[1]], forced_eos_token_id=2, renormalize_logits=True)),
    "m2m_bpe": ("M2M100Config", "M2M100ForConditionalGeneration", 3,
                dict(**SIZES, decoder_start_token_id=2, pad_token_id=1, eos_token_id=2),
                dict(early_stopping=True)),
    "mbart": ("MBartConfig", "MBartForConditionalGeneration", 1.3,
              dict(**SIZES, pad_token_id=1, eos_token_id=2, scale_embedding=True), {}),
    "bart_json": ("BartConfig", "BartForConditionalGeneration", 2,
                  dict(**SIZES, decoder_start_token_id=2, pad_token_id=1, eos_token_id=2,
                       bos_token_id=0), dict(forced_bos_token_id=0)),
    # Source and target have vocabularies of their own.
    "marian_apart": ("MarianConfig", "MarianMTModel", 1.3,
                     dict(**SIZES, decoder_start_token_id=1, pad_token_id=1, eos_token_id=2,
                          activation_function="swish", scale_embedding=True,
                          share_encoder_decoder_embeddings=False), {}),
    # As T5 1.1 is: gated, with a head of its own.
    "t5": ("MT5Config", "MT5ForConditionalGeneration", 2.5,
           dict(d_model=16, d_kv=8, num_heads=2, d_ff=24, num_layers=2, num_decoder_layers=2,
                decoder_start_token_id=0, pad_token_id=0, eos_token_id=1), {}),
    "pegasus": ("PegasusConfig", "PegasusForConditionalGeneration", 2,
                dict(**SIZES, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
                     scale_embedding=True), {}),
    "nllb_json": ("M2M100Config", "M2M100ForConditionalGeneration", 1.3,
                  dict(**SIZES, decoder_start_token_id=2, pad_token_id=1, eos_token_id=2,
                       scale_embedding=True), {}),
}
OWN_HEAD = "t5"


def above(lists):
    """A size of a vocabulary for these ids, a multiple of 8."""
    return 8 * (max(max(ids, default=0) for ids in lists) // 8 + 1)


def build(name, seed, golden):
    config, head, ends, fields, _ = MODELS[name]
    fields = dict(fields)
    if name == "marian_apart":
        fields["decoder_vocab_size"] = above(golden["written"])
    vocabulary = above(golden["full"])
    vocabulary = max(vocabulary, golden.get("forced", 0) + 1, 608 if name == "bart_json" else 0,
                     512 if name == "marian" else 0)
    config = getattr(transformers, config)(vocab_size=vocabulary, **fields)
    model = getattr(transformers, head)(config).eval()
    if name == OWN_HEAD:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    randomise(model, seed)
    # What layers add outweighs the embedding, or tied heads would repeat a token for ever; or does not
    # by far, or the token before would not count. Last norms: probabilities are far apart.
    branches, last_norms, tables = (0.5, 0.7, 9) if name == "marian_apart" else (4, 20, 0.3)
    with torch.no_grad():
        for parameter_name, p in model.named_parameters():
            if parameter_name.endswith(BRANCHES):
                p.mul_(branches)
            if parameter_name.endswith(LAST_NORMS):
                p.mul_(last_norms)
        for table in {model.get_encoder().embed_tokens.weight, model.get_decoder().embed_tokens.weight}:
            table.mul_(tables)
            table[config.eos_token_id] *= ends
            if name.startswith("marian"):
                table[config.pad_token_id] = 0
    return model


def generate(model, golden, source, setting, begun):
    options = {NAMES[k]: v for k, v in setting.items() if k in NAMES}
    if "forced" in golden:
        options["forced_bos_token_id"] = golden["forced"]
    if begun is not None:
        options.pop("forced_bos_token_id")
        options["decoder_start_token_id"] = begun
    options.setdefault("max_new_tokens", COUNT)
    ids = torch.tensor([source])
    if "target_prefix" in setting:
        prefix = golden.get("written", golden["plain"])[golden["texts"].index(PREFIX)]
        options["decoder_input_ids"] = torch.tensor(
            [[model.generation_config.decoder_start_token_id, *prefix]])
    with torch.no_grad():
        out = model.generate(ids, do_sample=False, return_dict_in_generate=True, output_scores=True,
                             **options)
    eos = model.config.eos_token_id
    first = 1 + ("forced_bos_token_id" in options or
                 getattr(model.generation_config, "forced_bos_token_id", None) is not None)
    texts = []
    for i, tokens in enumerate(out.sequences.tolist()):
        tokens = tokens[first:]
        ended = eos in tokens
        tokens = tokens[: tokens.index(eos)] if ended else tokens
        score = float(out.sequences_scores[i]) if setting["beams"] > 1 else None
        texts.append(dict(tokens=tokens, ended=ended, score=score))
    return texts


def write(root, name, seed, golden, texts):
    directory = root / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for file, content in golden["files"].items():
        (directory / file).write_bytes(base64.b64decode(content))
    model = build(name, seed, golden)
    model.save_pretrained(directory)
    if name == OWN_HEAD:  # which Transformers 5 forgets to say
        config = json.loads((directory / "config.json").read_text())
        config.pop("scale_decoder_outputs", None)
        text = json.dumps({**config, "tie_word_embeddings": False}, indent=2) + "\n"
        (directory / "config.json").write_text(text)
    fields = {k: v for k, v in MODELS[name][3].items() if k.endswith("token_id")}
    generation = {**fields, **MODELS[name][4]}
    (directory / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    model.generation_config = transformers.GenerationConfig.from_pretrained(directory)
    begun = golden["forced"] if name == "mbart" else None
    sources = [golden["full"][texts.index(t)] for t in TEXTS]
    if name.startswith("marian"):  # one of several targets
        vocabulary = json.loads((directory / "vocab.json").read_text())
        golden = {**golden, "target": "fra"}
        sources = [[vocabulary[">>fra<<"], *s] for s in sources]
    chosen = list(zip(TEXTS, sources))
    expected = dict(texts=[t for t, _ in chosen], source=golden.get("source", ""),
                    target=golden.get("target", ""), results=[])
    forces = "forced" in golden or "forced_bos_token_id" in generation
    for setting in SETTINGS:
        if forces and "target_prefix" in setting:
            continue  # forced by Transformers only where nothing else begins a text
        made = [generate(model, golden, s, setting, begun) for _, s in chosen]
        expected["results"].append(dict(setting=setting, texts=made))
    (directory / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")
    ends = sum(t["ended"] for r in expected["results"] for text in r["texts"] for t in text)
    every = sum(len(text) for r in expected["results"] for text in r["texts"])
    size = sum(f.stat().st_size for f in directory.iterdir())
    lengths = [len(t[0]["tokens"]) for t in expected["results"][1]["texts"]]
    kinds = [len(set(t[0]["tokens"])) for t in expected["results"][1]["texts"]]
    print(f"{name}: {size / 1000:.0f} kB, {ends} of {every} end, {lengths} tokens, {kinds} kinds")


def main():
    chosen = sys.argv[1].split(",") if len(sys.argv) > 1 else MODELS
    packed = (GOLDEN / "text" / "numbered_pieces.json.z").read_bytes()
    golden = json.loads(zlib.decompress(packed))
    torch.set_num_threads(1)
    for seed, name in enumerate(MODELS, 20):
        if name not in chosen:
            continue
        made = {**golden["tokenizers"][name], "texts": golden["texts"]}
        write(GOLDEN / "translation", name, seed, made, golden["texts"])


if __name__ == "__main__":
    main()
