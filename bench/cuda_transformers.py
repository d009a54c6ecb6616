#!/usr/bin/env python3
"""Transformers on a card, beside `slim bench --device cuda` on a model of the same shape.

    python3 bench/cuda_transformers.py LIKE PROMPTxTEXTS ... [--tokens 64] [--compile]

LIKE: a shape that tools/make_random_decoder.py knows. Weights are random, in bf16; attention is
PyTorch's (scaled_dot_product_attention). Prompts are read a text at a time, as slim's are, into a
cache for the whole batch; then tokens are taken greedily, without the generation loop around the
model, which would cost time of its own. --compile: a static cache and torch.compile, as its
documentation advises for speed. Prints a row of Markdown for each load: the time of all prompts, of
a step (median), tokens a second, the most memory allocated.
"""
import argparse
import pathlib
import sys
import time
import types

import torch
import transformers

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import make_random_decoder  # noqa: E402


def make_model(like):
    sizes = make_random_decoder.DEFAULT | make_random_decoder.LIKE[like]
    sizes.setdefault("head_width", sizes["width"] // sizes["heads"])
    fields = make_random_decoder.config_of(types.SimpleNamespace(**sizes))
    config = transformers.AutoConfig.for_model(**{k: v for k, v in fields.items() if k != "architectures"})
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def new_cache(model, texts, length, compiled):
    if compiled:
        return transformers.StaticCache(config=model.config, max_batch_size=texts, max_cache_len=length,
                                        device="cuda", dtype=torch.bfloat16)
    return transformers.DynamicCache()


@torch.inference_mode()
def measure(model, prompt, texts, tokens, compiled):
    torch.cuda.reset_peak_memory_stats()
    ids = torch.randint(0, 32000, (texts, prompt), device="cuda")
    cache = new_cache(model, texts, prompt + tokens + 8, compiled)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    # The cache takes a batch at once; parts of the prompts keep activations small.
    for first in range(0, prompt, 4096 // min(texts, 16)):
        part = ids[:, first:first + 4096 // min(texts, 16)]
        place = torch.arange(first, first + part.shape[1], device="cuda")
        out = model(part, past_key_values=cache, use_cache=True, cache_position=place, logits_to_keep=1)
    step = torch.compile(model, mode="reduce-overhead", fullgraph=False) if compiled else model
    next_ids = out.logits[:, -1:].argmax(-1)
    torch.cuda.synchronize()
    prompt_seconds = time.perf_counter() - begin
    times = []
    for i in range(tokens):
        begin = time.perf_counter()
        place = torch.tensor([prompt + i], device="cuda")
        out = step(next_ids, past_key_values=cache, use_cache=True, cache_position=place)
        next_ids = out.logits[:, -1:].argmax(-1).clone()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return prompt_seconds, sorted(times)[len(times) // 2], torch.cuda.max_memory_allocated()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("like", choices=make_random_decoder.LIKE)
    parser.add_argument("loads", nargs="+", metavar="PROMPTxTEXTS")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    model = make_model(arguments.like)
    for load in arguments.loads:
        prompt, texts = map(int, load.split("x"))
        try:
            prompts, step, memory = measure(model, prompt, texts, arguments.tokens, arguments.compile)
        except torch.cuda.OutOfMemoryError:
            print(f"| {load} | does not fit | | | |", flush=True)
        else:
            print(f"| {load} | {prompts:.2f} s | {step * 1e3:.1f} ms | {texts / step:.0f} "
                  f"| {memory / 1e9:.1f} GB |", flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
