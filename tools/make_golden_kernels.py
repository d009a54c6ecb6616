#!/usr/bin/env python3
"""Writes tests/golden/kernels.json: a few small cases of each kernel operation with their results
in float64, for tests/kernels/reference_test.cpp.

    python3 tools/make_golden_kernels.py tests/golden/kernels.json

The reference kernels are the oracle of all other kernels, so they need one of their own. This is
written from the textbook, with other tools: matrix products and einsum by NumPy, convolution over
padded input with weights as files hold them ([out, in, tap]), erf by math. Inputs are
multiples of 1/8 below 2, exact in f32, f16 and bf16, so a case serves every type.
"""
import json
import math
import sys

import numpy as np

random = np.random.default_rng(20250611)


def draw(*shape):
    return random.integers(-15, 16, shape) / 8.0


def plain(value):
    """Arrays as nested lists; twelve digits, where f32 has nine."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.12g}")
    return value


ACTIVATIONS = {
    "none": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2.0)),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi)
                                                      * (x + 0.044715 * x**3))),
    "silu": lambda x: x * (1.0 / (1.0 + math.exp(-x))),
}


def activate(name, x):
    return np.vectorize(ACTIVATIONS[name])(x)


def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def linear_cases():
    for activation in ACTIVATIONS:
        for accumulate in (False, True):
            x, weight, bias, before = draw(3, 5), draw(4, 5), draw(4), draw(3, 4)
            y = activate(activation, x @ weight.T + bias) + (before if accumulate else 0.0)
            yield dict(x=x, weight=weight, bias=bias, before=before, activation=activation,
                       accumulate=accumulate, y=y)


def grouped_linear_cases():
    for groups, inputs, outputs in ((3, 4, 2), (2, 3, 5)):
        x = draw(3, groups * inputs)
        weight, bias = draw(groups * outputs, inputs), draw(groups * outputs)
        y = np.einsum("tgk,gnk->tgn", x.reshape(3, groups, inputs),
                      weight.reshape(groups, outputs, inputs)).reshape(3, -1) + bias
        yield dict(x=x, weight=weight, bias=bias, groups=groups, y=y)


def layer_norm_cases():
    x, gain, offset = draw(3, 7), draw(7), draw(7)
    epsilon = 2.0**-10  # exact in f32
    yield dict(x=x, gain=gain, offset=offset, epsilon=epsilon,
               y=(x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + epsilon) * gain
               + offset)


def embed_cases():
    table, positions = draw(6, 3), draw(5, 3)
    ids, places = np.array([5, 0, 2, 5]), np.array([0, 4, 1, 1])
    yield dict(table=table, positions=positions, ids=ids, places=places,
               y=table[ids] + positions[places])


def convolve_cases():
    for activation, stride, frames in (("none", 1, 6), ("none", 2, 6), ("gelu", 2, 5),
                                       ("relu", 1, 1)):
        batch, inputs, outputs = 2, 3, 4
        x, weight, bias = draw(batch, frames, inputs), draw(outputs, inputs, 3), draw(outputs)
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=1)[:, ::stride]
        y = activate(activation, np.einsum("btij,oij->bto", windows, weight) + bias)
        yield dict(x=x.reshape(-1, inputs), weight=weight.transpose(0, 2, 1).reshape(outputs, -1),
                   bias=bias, batch=batch, stride=stride, activation=activation,
                   y=y.reshape(-1, outputs))


def attend_dense_cases():
    batch, rows, heads, width, scale = 2, 5, 2, 3, 0.5
    q, k, v = (draw(batch, rows, heads, width) for _ in range(3))
    weights = softmax(scale * np.einsum("bthc,bshc->bhts", q, k))
    flat = (batch * rows, heads * width)
    yield dict(q=q.reshape(flat), k=k.reshape(flat), v=v.reshape(flat), heads=heads, batch=batch,
               scale=scale, y=np.einsum("bhts,bshc->bthc", weights, v).reshape(flat))


def attend_case(form, heads, heads_per_key, width, causal, parts):
    """Attention over K and V given as [rows, heads, columns], whatever the rows hold."""
    key_heads = heads // heads_per_key
    scale, sequences, queries, mixed = 0.25, [], [], []
    for count, rows in parts:
        q = draw(count, heads, width)
        if form == "kv":  # a key and a value for each key head
            keys, values = draw(rows, key_heads * width), draw(rows, key_heads * width)
            k = keys.reshape(rows, key_heads, width).repeat(heads_per_key, axis=1)
            v = values.reshape(rows, key_heads, width).repeat(heads_per_key, axis=1)
        elif form == "k":  # scored by head, mixed whole
            keys = values = draw(rows, heads * width)
            k = keys.reshape(rows, heads, width)
            v = np.repeat(keys[:, None], heads, axis=1)
        else:  # x: scored whole, mixed whole
            keys = values = draw(rows, width)
            k = v = np.repeat(keys[:, None], heads, axis=1)
        scores = scale * np.einsum("thc,shc->hts", q, k)
        if causal:
            own = rows - count + np.arange(count)
            scores = np.where(np.arange(rows) <= own[:, None], scores, -np.inf)
        sequences.append(dict(count=count, keys=keys, values=values if form == "kv" else []))
        queries.append(q.reshape(count, -1))
        mixed.append(np.einsum("hts,shc->thc", softmax(scores), v).reshape(count, -1))
    key_width = keys.shape[1] if form == "x" else width
    return dict(form=form, sequences=sequences, queries=np.concatenate(queries), heads=heads,
                heads_per_key=heads_per_key, key_width=key_width,
                key_stride=0 if form == "x" else width,
                value_width=width if form == "kv" else keys.shape[1],
                value_stride=width if form == "kv" else 0, causal=causal, scale=scale,
                y=np.concatenate(mixed))


def attend_cases():
    parts = [(1, 67), (3, 3), (2, 5)]  # two pages; a prefill; new tokens after old ones
    for causal in (True, False):
        yield attend_case("kv", 4, 2, 2, causal, parts)
        yield attend_case("k", 2, 1, 2, causal, parts)
        yield attend_case("x", 3, 1, 4, causal, parts)


def log_softmax_cases():
    x = 8.0 * draw(3, 9)
    yield dict(x=x, y=x - np.log(np.exp(x).sum(1, keepdims=True)))


def main():
    golden = {}
    for name, cases in list(globals().items()):
        if name.endswith("_cases"):
            golden[name.removesuffix("_cases")] = [plain(case) for case in cases()]
    with open(sys.argv[1], "w", encoding="ascii") as file:
        json.dump(golden, file, separators=(",", ":"))
        file.write("\n")


main()
