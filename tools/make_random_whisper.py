"""Writes a Whisper of a published size with random weights: a Hugging Face directory to measure sizes
and speed on, where the real weights cannot be had. Needs nothing but Python.

usage: make_random_whisper.py SIZE FOLDER [--config-only]
SIZE: tiny, base, small, medium, large-v3, turbo. Weights are f16, of magnitude 2^-6 to 2^-4 with
random signs; norms are ones and zeros.
"""
import json
import math
import os
import pathlib
import struct
import sys

# width, heads, encoder layers, decoder layers, mel bins, vocabulary
SIZES = {
    "tiny": (384, 6, 4, 4, 80, 51865),
    "base": (512, 8, 6, 6, 80, 51865),
    "small": (768, 12, 12, 12, 80, 51865),
    "medium": (1024, 16, 24, 24, 80, 51865),
    "large-v3": (1280, 20, 32, 32, 128, 51866),
    "turbo": (1280, 20, 32, 4, 128, 51866),
}


def config(size: str) -> dict:
    width, heads, encoder, decoder, bins, vocabulary = SIZES[size]
    return {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper",
            "activation_function": "gelu", "scale_embedding": False, "vocab_size": vocabulary,
            "num_mel_bins": bins, "d_model": width, "encoder_layers": encoder,
            "encoder_attention_heads": heads, "encoder_ffn_dim": 4 * width,
            "decoder_layers": decoder, "decoder_attention_heads": heads,
            "decoder_ffn_dim": 4 * width, "max_source_positions": 1500,
            "max_target_positions": 448}


def shapes(size: str) -> dict[str, tuple[int, ...]]:
    width, _, encoder, decoder, bins, vocabulary = SIZES[size]
    all_shapes: dict[str, tuple[int, ...]] = {}

    def norm(name):
        all_shapes[f"{name}.weight"] = all_shapes[f"{name}.bias"] = (width,)

    def linear(name, outputs, inputs, bias=True):
        all_shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            all_shapes[f"{name}.bias"] = (outputs,)

    def attention(name):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{name}.{part}", width, width, part != "k_proj")
        norm(f"{name}_layer_norm")

    for index, inputs in ((1, bins), (2, width)):
        all_shapes[f"model.encoder.conv{index}.weight"] = (width, inputs, 3)
        all_shapes[f"model.encoder.conv{index}.bias"] = (width,)
    all_shapes["model.encoder.embed_positions.weight"] = (1500, width)
    all_shapes["model.decoder.embed_tokens.weight"] = (vocabulary, width)
    all_shapes["model.decoder.embed_positions.weight"] = (448, width)
    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        for i in range(layers):
            layer = f"model.{side}.layers.{i}"
            attention(f"{layer}.self_attn")
            if side == "decoder":
                attention(f"{layer}.encoder_attn")
            linear(f"{layer}.fc1", 4 * width, width)
            linear(f"{layer}.fc2", width, 4 * width)
            norm(f"{layer}.final_layer_norm")
        norm(f"model.{side}.layer_norm")
    return all_shapes


def values(name: str, count: int) -> bytes:
    if "norm" in name or name == "final_logits_bias":
        return struct.pack("<e", 1.0 if name.endswith("weight") else 0.0) * count
    halves = bytearray(os.urandom(2 * count))
    # The upper byte of a half: sign, exponent (9 or 10: 2^-6 to 2^-4), two bits of fraction.
    table = bytes((b & 0x83) | (0x24 + (b >> 2 & 1) * 4) for b in range(256))
    halves[1::2] = halves[1::2].translate(table)
    return bytes(halves)


def write_model(folder: pathlib.Path, config: dict, shapes: dict[str, tuple[int, ...]]) -> None:
    """config.json and, of tensors of these shapes, model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if not shapes:
        return
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(values(name, math.prod(shape)))


def main() -> None:
    arguments = [a for a in sys.argv[1:] if not a.startswith("--")]
    if len(arguments) != 2 or arguments[0] not in SIZES:
        sys.exit(__doc__)
    size, folder = arguments[0], pathlib.Path(arguments[1])
    write_model(folder, config(size), {} if "--config-only" in sys.argv else shapes(size))


if __name__ == "__main__":
    main()
