"""Trains the small RoPE model of tests/golden/trained: numerics are shown on it, because trained
W_K are ill-conditioned and random ones are not.

Data: the standard library of the Python that runs this (PSF licence), as bytes; every 40th file,
taken by the hash of its name, is held out. A byte is a token, so no tokenizer stands between.

    python3 tools/train_fixture.py tests/golden/trained    (torch; minutes on a card, hours on a CPU)

Writes a Hugging Face directory: config.json, tokenizer.json, model.safetensors (bf16),
heldout.txt, README.md.
"""

import argparse
import hashlib
import json
import math
import os
import sysconfig
import time

import torch
import torch.nn.functional as F

WIDTH, LAYERS, HEADS, MLP, CONTEXT, BASE = 128, 4, 4, 336, 512, 10000.0
HELDOUT_BYTES = 12288
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH,
    "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "vocab_size": 256, "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5, "rope_theta": BASE, "hidden_act": "silu", "attention_bias": False,
    "mlp_bias": False, "tie_word_embeddings": True, "bos_token_id": None, "eos_token_id": None,
    "torch_dtype": "bfloat16",
}


def sources(folder):
    kept, held = [], []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in ("test", "tests", "site-packages",
                                                            "dist-packages", "__pycache__"))
        for name in sorted(files):
            if not name.endswith(".py"):
                continue
            path = os.path.join(root, name)
            with open(path, "rb") as file:
                data = file.read()
            if not data or max(data) > 126:
                continue
            digest = hashlib.sha256(os.path.relpath(path, folder).encode()).digest()
            (held if digest[0] % 40 == 0 else kept).append(data)
    return b"\n".join(kept), b"\n".join(held)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (torch.nn.Linear(WIDTH, WIDTH, bias=False)
                                          for _ in range(4))
        self.gate, self.up = (torch.nn.Linear(WIDTH, MLP, bias=False) for _ in range(2))
        self.down = torch.nn.Linear(MLP, WIDTH, bias=False)
        self.norm1, self.norm2 = (torch.nn.RMSNorm(WIDTH, eps=1e-5) for _ in range(2))

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        n = self.norm1(x)
        q, k, v = (f(n).view(b, t, HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        a = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v,
                                           is_causal=True)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, WIDTH))
        n = self.norm2(x)
        return x + self.down(F.silu(self.gate(n)) * self.up(n))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(256, WIDTH)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = torch.nn.RMSNorm(WIDTH, eps=1e-5)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.05)

    def forward(self, ids):
        half = WIDTH // HEADS // 2
        frequency = BASE ** (-torch.arange(half, device=ids.device) / half)
        angle = torch.arange(ids.shape[1], device=ids.device)[:, None] * frequency
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x, angle.cos(), angle.sin())
        return self.norm(x) @ self.embed.weight.T


def train(model, data, steps, batch, rate, decay):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": decay},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=rate, betas=(0.9, 0.95))
    start = time.time()
    for step in range(steps):
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / 200)
            group["lr"] = rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        first = torch.randint(len(data) - CONTEXT - 1, (batch,), device=data.device)
        ids = data[first[:, None] + torch.arange(CONTEXT + 1, device=data.device)].long()
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.float().reshape(-1, 256), ids[:, 1:].reshape(-1))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 500 == 0 or step == steps - 1:
            print(f"step {step} loss {loss.item():.4f} {time.time() - start:.0f} s", flush=True)


def save(model, heldout, folder):
    from safetensors.torch import save_file
    names = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
             "o": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
             "down": "mlp.down_proj", "norm1": "input_layernorm",
             "norm2": "post_attention_layernorm"}
    tensors = {"model.embed_tokens.weight": model.embed.weight,
               "model.norm.weight": model.norm.weight}
    for i, layer in enumerate(model.layers):
        for mine, theirs in names.items():
            tensors[f"model.layers.{i}.{theirs}.weight"] = getattr(layer, mine).weight
        w = layer.k.weight.detach().to(torch.bfloat16).double()
        print(f"layer {i}: cond(W_K) = {torch.linalg.cond(w).item():.2e}")
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.detach().to(torch.bfloat16).cpu().contiguous() for k, v in tensors.items()},
              os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(CONFIG, file, indent=1)
    with open(os.path.join(folder, "heldout.txt"), "wb") as file:
        file.write(heldout[:HELDOUT_BYTES])
    write_tokenizer(folder)
    with open(os.path.join(folder, "README.md"), "w") as file:
        file.write(README)


def write_tokenizer(folder):
    """Byte-level BPE without merges: the id of a byte is its value."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    symbol = {byte: chr(byte) for byte in visible}
    symbol |= {byte: chr(256 + i) for i, byte in enumerate(hidden)}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": False},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                    "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "vocab": {symbol[byte]: byte for byte in range(256)}, "merges": []},
    }
    with open(os.path.join(folder, "tokenizer.json"), "w") as file:
        json.dump(tokenizer, file, ensure_ascii=False)


README = """Slim's trained fixture: a byte-level Llama-type model with multi-head attention and RoPE, trained by
tools/train_fixture.py on the Python standard library (12,000 steps, six minutes on one H100). Its
W_K have condition numbers of 2e3 to 6e3, as large models have them and random ones do not. It
proves numerics and nothing else. heldout.txt is from files of the standard library it never saw
(Copyright Python Software Foundation; PSF licence).
"""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=6e-3)
    parser.add_argument("--decay", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kept, heldout = sources(sysconfig.get_paths()["stdlib"])
    print(f"{len(kept)} bytes to train on, {len(heldout)} held out")
    data = torch.frombuffer(bytearray(kept), dtype=torch.uint8).to(device)
    model = Model().to(device)
    print(sum(p.numel() for p in model.parameters()), "parameters")
    train(torch.compile(model) if device == "cuda" else model, data, arguments.steps,
          arguments.batch, arguments.rate, arguments.decay)
    save(model, heldout, arguments.folder)


if __name__ == "__main__":
    main()
