"""Turns a source file of src/kernels/cuda into C++ for the emulator.

usage: translate.py INPUT OUTPUT

Addresses of kernels are taken by known_kernel(), so that they can be run; __shared__ variables
become static ones that every block finds filled with NaNs, inline assembly for loads becomes loads;
warp_products.cuh, which is assembly, becomes card_fragments.h, and earlier_work.cuh
card_language.h; words that only nvcc knows go. Kernels are started by CudaDevice::launch() alone.
Everything moves into namespace slim::emulated, where the emulator's headers define what CUDA's would, so that it
never meets the real CUDA kernels of libslim. Lines keep their numbers.
"""
import pathlib
import re
import sys

HEADERS = {
    "cuda_runtime_api.h": "emulator/card_runtime.h",
    "cuda_runtime.h": "emulator/card_language.h",
    "cuda_fp16.h": "emulator/card_language.h",
    "cuda_bf16.h": "emulator/card_language.h",
    "cuda_pipeline.h": "emulator/card_language.h",
    "math_constants.h": "emulator/card_language.h",
    "cublasLt.h": "emulator/card_products.h",
}
WORDS = r"__(?:device|host|global|grid_constant|noinline|forceinline)__ ?|#pragma unroll[^\n]*"


def closing(text: str, at: int) -> int:
    """The index after the bracket that closes the one at `at`."""
    depth = 0
    while True:
        depth += (text[at] == "(") - (text[at] == ")")
        at += 1
        if depth == 0:
            return at


def translate_bounds(text: str) -> str:
    while (at := text.find("__launch_bounds__")) >= 0:
        text = text[:at] + text[closing(text, text.index("(", at)):]
    return text


def translate(text: str) -> str:
    text = re.sub(r"#include <([\w.]+)>",
                  lambda m: f'#include "{HEADERS[m[1]]}"' if m[1] in HEADERS else m[0], text)
    text = text.replace('"kernels/cuda/warp_products.cuh"', '"emulator/card_fragments.h"')
    text = text.replace('"kernels/cuda/earlier_work.cuh"', '"emulator/card_language.h"')
    text = re.sub(r"^namespace slim\b", "namespace slim::emulated", text, flags=re.M)
    text = translate_bounds(text)
    text = text.replace("reinterpret_cast<const void*>(kernel)", "known_kernel(kernel)")
    text = re.sub(WORDS, "", text)
    text = re.sub(r"extern __shared__ (\w+) (\w+)\[\];",
                  r"auto* const \2 = dynamic_shared<\1>();", text)
    text = re.sub(r"__shared__ (?:__align__\((\d+)\) )?([\w<>:]+ (\w+)[^;]*;)",
                  lambda m: f"alignas({m[1] or 4}) static {m[2]} enter_shared({m[3]});", text)
    text = re.sub(r'asm\("ld\.global[^;]*;".*?: "=r"\((\w+)\.x\).*?: "l"\((\w+)\)\);',
                  lambda m: f"{m[1]} = __ldg(reinterpret_cast<const decltype({m[1]})*>({m[2]}));"
                            + "\n" * m[0].count("\n"), text, flags=re.S)
    left = re.search(r"\basm\b|__shared__|<<<|#include <cu\w+", text)
    if left:
        sys.exit(f"{sys.argv[1]}: the emulator cannot translate '{left[0]}'")
    return text


if __name__ == "__main__":
    source, target = map(pathlib.Path, sys.argv[1:])
    target.parent.mkdir(parents=True, exist_ok=True)
    # As nvcc does by itself.
    language = '#include "emulator/card_language.h"\n' if source.suffix in (".cu", ".cuh") else ""
    target.write_text(language + f'#line 1 "{source}"\n' + translate(source.read_text()))
