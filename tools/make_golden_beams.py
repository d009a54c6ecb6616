#!/usr/bin/env python3
"""Makes tests/golden/beams.json: what openai-whisper's beam search makes of the speech clips, with
the weights that `make models` fetches.

    python tools/make_golden_beams.py [models directory]

Needs numpy, torch and openai-whisper. For every model, clip and choice of options (openai-whisper's
names, which are Slim's): the tokens of all segments, and the mean log-probability of each window.
"""

import json
import pathlib
import struct
import sys
import wave

import numpy as np
import torch
from whisper.model import ModelDimensions, Whisper

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLIPS = ("librivox", "sense_and_sensibility_01_austen_64kb-0920")
OPTIONS = (
    dict(beam_size=5),
    dict(beam_size=5, patience=2, length_penalty=0.6),
    dict(beam_size=8, without_timestamps=True),
    dict(beam_size=3, length_penalty=1, initial_prompt="mister dashwood"),
)


def read_ctranslate2(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The float matrices and vectors of a model.bin."""
    data, at, found = path.read_bytes(), 0, {}

    def number(form: str) -> int:
        nonlocal at
        at += struct.calcsize(form)
        return struct.unpack_from(form, data, at - struct.calcsize(form))[0]

    def text() -> str:
        nonlocal at
        size = number("<H")
        at += size
        return data[at - size:at].rstrip(b"\0").decode()

    number("<I"), text(), number("<I")  # version, name and revision of the format
    for _ in range(number("<I")):
        name = text()
        shape = [number("<I") for _ in range(number("<B"))]
        kind, size = number("<B"), number("<I")
        if kind in (0, 4):
            kind = np.float32 if kind == 0 else np.float16
            found[name] = np.frombuffer(data, kind, size // kind().itemsize, at).reshape(shape)
        at += size
    return found


def openai_weights(source: dict[str, np.ndarray], layers: dict[str, int]) -> dict[str, np.ndarray]:
    """The same under openai-whisper's names; CTranslate2 fuses Q, K and V."""
    made = {}

    def take(name: str, path: str, parts: tuple[str, ...] = ("",)) -> None:
        for kind in ("weight", "bias"):
            pieces = np.split(source[f"{path}/{kind}"], len(parts))
            for part, piece in zip(parts, pieces):
                if not (kind == "bias" and part == ".key"):  # keys have none: it is zero
                    made[f"{name}{part}.{kind}"] = piece

    def norm(name: str, path: str) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = source[f"{path}/gamma"], source[f"{path}/beta"]

    for part in ("conv1", "conv2"):
        take(f"encoder.{part}", f"encoder/{part}")
    norm("encoder.ln_post", "encoder/layer_norm")
    norm("decoder.ln", "decoder/layer_norm")
    made["decoder.token_embedding.weight"] = source["decoder/embeddings/weight"]
    for side, count in layers.items():
        made[f"{side}.positional_embedding"] = source[f"{side}/position_encodings/encodings"]
        for i in range(count):
            name, path = f"{side}.blocks.{i}", f"{side}/layer_{i}"
            take(f"{name}.attn", f"{path}/self_attention/linear_0", (".query", ".key", ".value"))
            take(f"{name}.attn.out", f"{path}/self_attention/linear_1")
            norm(f"{name}.attn_ln", f"{path}/self_attention/layer_norm")
            take(f"{name}.mlp.0", f"{path}/ffn/linear_0")
            take(f"{name}.mlp.2", f"{path}/ffn/linear_1")
            norm(f"{name}.mlp_ln", f"{path}/ffn/layer_norm")
            if side == "decoder":
                take(f"{name}.cross_attn.query", f"{path}/attention/linear_0")
                take(f"{name}.cross_attn", f"{path}/attention/linear_1", (".key", ".value"))
                take(f"{name}.cross_attn.out", f"{path}/attention/linear_2")
                norm(f"{name}.cross_attn_ln", f"{path}/attention/layer_norm")
    return made


def load(folder: pathlib.Path) -> Whisper:
    source = read_ctranslate2(folder / "model.bin")
    vocabulary, width = source["decoder/embeddings/weight"].shape
    layers = {side: len({name.split("/")[1] for name in source if name.startswith(f"{side}/layer_")
                         and "layer_norm" not in name.split("/")[1]})
              for side in ("encoder", "decoder")}
    model = Whisper(ModelDimensions(
        n_mels=source["encoder/conv1/weight"].shape[1], n_audio_ctx=1500, n_audio_state=width,
        n_audio_head=width // 64, n_audio_layer=layers["encoder"], n_vocab=vocabulary,
        n_text_ctx=448, n_text_state=width, n_text_head=width // 64,
        n_text_layer=layers["decoder"]))
    weights = openai_weights(source, layers)
    model.load_state_dict({name: torch.tensor(np.array(value, np.float32))
                           for name, value in weights.items()})
    return model.eval()


def read_audio(path: pathlib.Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        samples = file.readframes(file.getnframes())
    return np.frombuffer(samples, np.int16).astype(np.float32) / 32768


def main() -> None:
    torch.set_num_threads(1)  # several would spin against each other on a busy machine
    models = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "models"
    cases = []
    for name in ("whisper-tiny.en", "whisper-base"):
        model = load(models / name)
        for clip in CLIPS:
            for options in OPTIONS:
                with torch.no_grad():
                    result = model.transcribe(read_audio(models / f"speech/{clip}.wav"),
                                              language="en", temperature=0, fp16=False, **options)
                segments = result["segments"]
                windows = {one["seek"]: round(one["avg_logprob"], 6) for one in segments}
                cases.append(dict(model=name, clip=clip, options=options,
                                  tokens=[token for one in segments for token in one["tokens"]],
                                  avg_logprobs=list(windows.values())))
    lines = ",\n".join(json.dumps(case) for case in cases)
    (ROOT / "tests/golden/beams.json").write_text(f"[\n{lines}\n]\n")


main()
