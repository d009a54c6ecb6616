#!/usr/bin/env python3
"""Makes tests/golden/lm_gguf: models of tests/golden/lm as llama.cpp's own converter writes them.

    python tools/make_golden_gguf_lm.py <llama.cpp checkout> [--only NAME,...]

Needs numpy, torch, transformers and safetensors; the checkout supplies converter and gguf.

<name>.gguf                       F32: computes what the model of that name in tests/golden/lm does
llama_q8_0.gguf, llama_q4_0.gguf  matrices in blocks, in f16 where rows are not whole blocks
<name>/model.safetensors          of those two, as in tests/golden/lm, what Transformers computes in
                                  float64 with the weights that the blocks stand for

The vocabularies are 64 characters: sentencepiece's for Llama, bytes for the others.
"""
import argparse
import json
import logging
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

TOOLS = pathlib.Path(__file__).resolve().parent
GOLDEN = TOOLS.parent / "tests" / "golden"

# What the converter reads in config.json and Transformers 5 no longer writes there.
ADDITIONS = {"gpt_neox": {"rotary_pct": 0.25}, "gpt_neox_sequential": {"rotary_pct": 0.5},
             "gpt2": {"n_ctx": 128}, "bloom": {"seq_length": 2048}}
# Classes that are registered with the converter under an older spelling.
ARCHITECTURES = {"MptForCausalLM": "MPTForCausalLM"}
# What the converter takes for granted: F of four times D, a base of 10000.
KEYS = {"phi": {"phi2.feed_forward_length": 36}, "gpt_neox_sequential": {"gptneox.rope.freq_base": 500.0}}

PLAIN = ("llama", "llama_gqa", "llama_yarn", "gpt_neox", "gpt_neox_sequential", "phi", "phi3", "phi3_long",
         "phi3_window", "gemma", "stablelm", "stablelm_parallel", "qwen2", "olmo", "olmo_clip", "olmo2",
         "cohere", "gpt2", "bloom", "mpt")
BLOCKS = {"llama_q8_0": ("llama", "Q8_0"), "llama_q4_0": ("llama", "Q4_0")}

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def add_vocabulary(writer, pieces):
    """64 tokens; the last two characters are joined."""
    if pieces:
        tokens = ["<unk>", "<s>", "</s>", "\u2581"] + [chr(65 + i) for i in range(59)] + ["AB"]
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores([0.0, 0.0, 0.0] + [-float(i) for i in range(61)])
        writer.add_token_types([2, 3, 3] + [1] * 61)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(True)
        writer.add_add_space_prefix(False)
        writer.add_chat_template(TEMPLATE)
    else:
        tokens = [chr(64 + i) for i in range(62)] + ["AB", "<|end|>"]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_types([1] * 63 + [3])
        writer.add_token_merges(["A B"])
        writer.add_eos_token_id(63)
    writer.add_token_list(tokens)


def convert(source, output, name, kind=None):
    """kind: of all matrices that rows of whole blocks allow; F32 if not given."""
    import gguf
    from conversion import get_model_class

    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory) / name
        directory.mkdir()
        shutil.copy(source / "model.safetensors", directory)
        config = json.loads((source / "config.json").read_text()) | ADDITIONS.get(name, {})
        (directory / "config.json").write_text(json.dumps(config))
        architecture = config["architectures"][0]
        model = get_model_class(ARCHITECTURES.get(architecture, architecture))(
            directory, gguf.LlamaFileType.ALL_F32, output, eager=True, model_name=name,
            hparams=config)
        writer = model.gguf_writer

        model.set_vocab = lambda: add_vocabulary(writer, config["model_type"] == "llama")
        if kind:
            quantised = gguf.GGMLQuantizationType[kind]
            model.tensor_force_quant = lambda _name, _new, _bid, axes: quantised if axes > 1 else False
        parameters = model.set_gguf_parameters
        model.set_gguf_parameters = lambda: (parameters(), set_keys(writer, name))
        model.write()
    print(f"{name}: {output.stat().st_size / 1000:.0f} kB")


def set_keys(writer, name):
    for key, value in KEYS.get(name, {}).items():
        writer.kv_data[0].pop(key, None)
        (writer.add_float32 if isinstance(value, float) else writer.add_uint32)(key, value)


def as_stored(values, kind):
    """What a matrix is after conversion to `kind`, or to f16 where its rows are no whole blocks."""
    import gguf

    quantised = gguf.GGMLQuantizationType[kind]
    if values.shape[-1] % gguf.GGML_QUANT_SIZES[quantised][0] != 0:
        return values.astype(np.float16).astype(np.float32)
    return gguf.quants.dequantize(gguf.quants.quantize(values, quantised), quantised)


def write_expected(source, output, kind):
    model = transformers.AutoModelForCausalLM.from_pretrained(source, attn_implementation="eager")
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data = torch.tensor(as_stored(parameter.detach().numpy(), kind))
    values = load_file(source / "expected" / "model.safetensors")
    tokens = torch.tensor(values["tokens"].astype(np.int64))
    with torch.no_grad():
        logits = model.eval().double()(tokens, use_cache=False).logits
    values["logits"] = logits[:, values["at"].astype(np.int64)].float().contiguous().numpy()
    output.mkdir(exist_ok=True)
    save_file(values, output / "model.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("--only", default="", help="names of models by commas")
    options = parser.parse_args()
    sys.path[:0] = [str(options.checkout), str(options.checkout / "gguf-py")]
    logging.basicConfig(level=logging.ERROR)
    only = set(filter(None, options.only.split(",")))
    target = GOLDEN / "lm_gguf"
    target.mkdir(exist_ok=True)
    for model_name in PLAIN:
        if not only or model_name in only:
            convert(GOLDEN / "lm" / model_name, target / f"{model_name}.gguf", model_name)
    for model_name, (base, block) in BLOCKS.items():
        if not only or model_name in only:
            convert(GOLDEN / "lm" / base, target / f"{model_name}.gguf", model_name, block)
            write_expected(GOLDEN / "lm" / base, target / model_name, block)
