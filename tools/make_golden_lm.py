#!/usr/bin/env python3
"""Makes tests/golden/lm: tiny random language models and what Transformers says they compute.

Each entry of MODELS is a model of a family: a config class of Transformers, its arguments beside
those in COMMON, and the seed. To add a family, add an entry. Expected logits come from Transformers
in float64 (rotary angles as it computes them, in float32), without a cache and with eager
attention, from weights that are exact in float32.

    python tools/make_golden_lm.py [--only NAME,...] [output directory]

Needs numpy, torch, transformers, safetensors and gguf.

Of each model: config.json, model.safetensors, of some model.gguf, and expected/model.safetensors, all f32:
  tokens [sequences, T]      random
  at [P]                     every fifth position, and the last
  logits [sequences, P, V]   at those positions

tests/golden/rope.json holds inverse frequencies and attention factors of every kind of scaling, by
the functions of Transformers themselves.
"""

import argparse
import json
import pathlib
import re
import shutil

import gguf
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

SEQUENCES = 2
STRIDE = 5

# Sizes by the names that most config classes know them under; an entry may override them.
COMMON = dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=4, intermediate_size=36, max_position_embeddings=128,
              bos_token_id=0, eos_token_id=1, pad_token_id=None)


def entry(config, tokens=80, seed=1, common=True, head=None, mutate=None, gguf=None, **arguments):
    """config: name of a config class; tokens: T of each sequence (pages have 64 rows); common:
    whether it knows the names in COMMON; head: class of the model, if it is not the config's
    <Name>ForCausalLM; mutate: called with the model once its weights are random; gguf: a function
    that writes the model as model.gguf too."""
    head = head or config.removesuffix("Config") + "ForCausalLM"
    return dict(config=config, head=head, tokens=tokens, seed=seed, mutate=mutate, gguf=gguf,
                arguments={**(COMMON if common else {}), **arguments})


def gguf_writer(path, architecture, config):
    """A writer that has what all architectures write alike."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    return writer


def finish(writer, tensors, names):
    """names: from the ends of the names of a layer's parts to GGUF's."""
    for name, values in tensors.items():
        part, leaf = name.rsplit(".", 1)
        layer = re.search(r"layers\.(\d+)\.(.*)", part)
        stored = f"blk.{layer[1]}.{names[layer[2]]}" if layer else names[part]
        writer.add_tensor(f"{stored}.{leaf}", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors_of(model):
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def write_llama_gguf(model, path):
    """With the rows of q and k in GGUF's order: pairs that turn are neighbours."""
    config = model.config
    writer = gguf_writer(path, "llama", config)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    writer.add_rope_scaling_factor(config.rope_parameters["factor"])
    tensors = tensors_of(model)
    for name, w in tensors.items():
        if ".q_proj." in name or ".k_proj." in name:
            heads = w.reshape(-1, 2, config.head_dim // 2, *w.shape[1:])
            tensors[name] = heads.swapaxes(1, 2).reshape(w.shape)
    finish(writer, tensors, {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down"})


def write_neox_gguf(model, path):
    """With q, k and v of all heads stacked."""
    config = model.config
    writer = gguf_writer(path, "gptneox", config)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_parallel_residual(config.use_parallel_residual)
    head = config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    writer.add_rope_dimension_count(int(head * rope["partial_rotary_factor"]))
    writer.add_rope_freq_base(rope["rope_theta"])
    tensors = tensors_of(model)
    for name, w in tensors.items():
        if ".query_key_value." in name:
            tensors[name] = w.reshape(-1, 3, head, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)
    finish(writer, tensors, {
        "gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm",
        "lm_head": "output", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm", "attention.query_key_value": "attn_qkv",
        "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up",
        "mlp.dense_4h_to_h": "ffn_down"})


LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=16)

LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.1, 1.3, 1.6],
                long_factor=[1.2, 2.0, 3.5, 5.0])

MODELS = {
    # Multi-head, everything plain, untied; long enough for three pages.
    "llama": entry("LlamaConfig", tokens=150, max_position_embeddings=160),
    # Grouped queries, biases, a tied head, heads wider than D / H, scaled angles.
    "llama_gqa": entry("LlamaConfig", seed=2, num_key_value_heads=2, head_dim=12,
                       attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                       rope_parameters=LLAMA3),
    "llama_linear": entry("LlamaConfig", seed=3, num_hidden_layers=1, gguf=write_llama_gguf,
                          rope_parameters=dict(rope_type="linear", rope_theta=10000.0,
                                               factor=4.0)),
    "llama_yarn": entry("LlamaConfig", seed=4, num_hidden_layers=1, rope_parameters=dict(
        rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)),
    # Longer than max_position_embeddings: angles are those of T tokens.
    "llama_dynamic": entry("LlamaConfig", seed=8, num_hidden_layers=1, max_position_embeddings=32,
                           rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0,
                                                factor=3.0)),
    # A window that ends inside the page before.
    "mistral": entry("MistralConfig", tokens=140, seed=5, sliding_window=40,
                     max_position_embeddings=160),
    "gpt_neox": entry("GPTNeoXConfig", tokens=140, seed=6, max_position_embeddings=160,
                      rope_parameters=dict(rope_type="default", rope_theta=10000.0,
                                           partial_rotary_factor=0.25)),
    "gpt_neox_sequential": entry("GPTNeoXConfig", seed=7, num_hidden_layers=1, gguf=write_neox_gguf,
                                 use_parallel_residual=False, attention_bias=False,
                                 rope_parameters=dict(rope_type="default", rope_theta=500.0,
                                                      partial_rotary_factor=0.5)),
    "phi": entry("PhiConfig", seed=9, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
    # Shorter than the original context: the short factors. Then longer: the long ones.
    "phi3": entry("Phi3Config", seed=10, original_max_position_embeddings=96,
                  rope_parameters=LONGROPE),
    "phi3_long": entry("Phi3Config", seed=11, num_hidden_layers=1,
                       original_max_position_embeddings=48, rope_parameters=LONGROPE),
    "phi3_window": entry("Phi3Config", seed=12, num_hidden_layers=1, sliding_window=30),
    # Heads that are together wider than the model.
    "gemma": entry("GemmaConfig", seed=13, head_dim=12),
    "stablelm": entry("StableLmConfig", seed=14, use_qkv_bias=True, rope_parameters=dict(
        rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.25)),
    "stablelm_parallel": entry("StableLmConfig", seed=15, num_hidden_layers=1,
                               use_parallel_residual=True, rope_parameters=dict(
                                   rope_type="default", rope_theta=10000.0,
                                   partial_rotary_factor=0.25)),
    "qwen2": entry("Qwen2Config", seed=16, tie_word_embeddings=True),
    "qwen2_window": entry("Qwen2Config", seed=17, use_sliding_window=True, sliding_window=20,
                          max_window_layers=1),
    "olmo": entry("OlmoConfig", seed=18),
    # A third of the projections lie outside.
    "olmo_clip": entry("OlmoConfig", seed=19, num_hidden_layers=1, clip_qkv=1.0),
    "olmo2": entry("Olmo2Config", seed=20),
    "cohere": entry("CohereConfig", seed=21, logit_scale=0.25),
    "gpt2": entry("GPT2Config", common=False, head="GPT2LMHeadModel", seed=22, vocab_size=64,
                  n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "opt": entry("OPTConfig", common=False, seed=23, vocab_size=64, hidden_size=32,
                 num_hidden_layers=2, num_attention_heads=4, ffn_dim=36,
                 max_position_embeddings=128, word_embed_proj_dim=32),
    # Norms after the sums, a narrow embedding.
    "opt_after": entry("OPTConfig", common=False, seed=24, vocab_size=64, hidden_size=32,
                       num_hidden_layers=2, num_attention_heads=4, ffn_dim=36,
                       max_position_embeddings=128, word_embed_proj_dim=16,
                       do_layer_norm_before=False),
    # Six heads: not a power of two.
    "mpt": entry("MptConfig", common=False, seed=25, vocab_size=64, d_model=24, n_heads=6,
                 n_layers=2, max_seq_len=128),
    "mpt_clip": entry("MptConfig", common=False, seed=26, vocab_size=64, d_model=32, n_heads=4,
                      n_layers=1, max_seq_len=128,
                      attn_config=dict(clip_qkv=1.0)),
    "bloom": entry("BloomConfig", common=False, seed=27, vocab_size=64, hidden_size=24, n_layer=2,
                   n_head=6),
    "gptj": entry("GPTJConfig", common=False, seed=28, vocab_size=64, n_embd=24, n_layer=2, n_inner=36,
                  n_head=4, n_positions=128, rotary_dim=4),
}


QUERIES_AND_KEYS = ("q_proj", "k_proj", "query_key_value", "qkv", "c_attn")


def randomise(model, seed):
    """Larger than the usual initialisation: scores of a few units make the attention far from
    uniform, so that a wrong key, scale, head or angle shows; no gain is 1 and no bias 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        mean, spread = 0.0, 1 / np.sqrt(model.config.hidden_size)
        if name.endswith("bias"):
            spread = 0.1
        elif "norm" in name or ".ln_" in name:
            mean, spread = 1.0, 0.2
        elif "embed" in name or "wte" in name or "wpe" in name:
            spread = 0.5
        elif any(part in name.lower() for part in QUERIES_AND_KEYS):
            spread *= 1.8
        p.data.copy_(torch.normal(mean, float(spread), p.shape, generator=generator))


def build(item):
    config = getattr(transformers, item["config"])(attn_implementation="eager",
                                                   **item["arguments"])
    model = getattr(transformers, item["head"])(config).eval()
    randomise(model, item["seed"])
    if item["mutate"]:
        item["mutate"](model)
    return model.float()


def expected(model, item):
    generator = np.random.default_rng(item["seed"])
    length = item["tokens"]
    tokens = generator.integers(0, model.config.vocab_size, (SEQUENCES, length))
    with torch.no_grad():
        logits = model.double()(torch.tensor(tokens), use_cache=False).logits
    at = sorted({*range(0, length, STRIDE), length - 1})
    return {"tokens": tokens.astype(np.float32), "at": np.array(at, dtype=np.float32),
            "logits": logits[:, at].float().contiguous().numpy()}


def write(root, name, item):
    directory = root / "lm" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model = build(item)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    if item["gguf"]:
        item["gguf"](model, directory / "model.gguf")
    (directory / "expected").mkdir()
    values = expected(model, item)
    save_file(values, directory / "expected" / "model.safetensors")
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    print(f"{name}: {size / 1000:.0f} kB, largest logit "
          f"{np.abs(values['logits']).max():.1f}")


HALF = 24  # pairs of columns of the heads in rope.json
FACTORS = [round(1 + 0.3 * i + 0.02 * i * i, 2) for i in range(HALF)]
SCALINGS = {
    "default": dict(rope_type="default"),
    "linear": dict(rope_type="linear", factor=4.0),
    "dynamic": dict(rope_type="dynamic", factor=4.0),
    "llama3": dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=8192),
    "yarn": dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=1024),
    "yarn_mscale": dict(rope_type="yarn", factor=40.0, original_max_position_embeddings=4096,
                        beta_fast=20.0, beta_slow=2.0, mscale=0.707, mscale_all_dim=1.3,
                        truncate=False),
    "yarn_factor": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=2048,
                        attention_factor=0.9),
    "longrope": dict(rope_type="longrope", original_max_position_embeddings=1024,
                     short_factor=[round(1 + 0.01 * i, 2) for i in range(HALF)],
                     long_factor=FACTORS),
    "longrope_factor": dict(rope_type="longrope", original_max_position_embeddings=1024,
                            factor=16.0, attention_factor=1.19, short_factor=[1.0] * HALF,
                            long_factor=FACTORS),
    "partial": dict(rope_type="default", partial_rotary_factor=0.25),
}


def rope(name, parameters, base, length):
    """One scaling at one base and sequence length, as a config and what it gives."""
    config = transformers.LlamaConfig(
        hidden_size=4 * 2 * HALF, num_attention_heads=4, max_position_embeddings=8192,
        rope_parameters={**parameters, "rope_theta": base})
    functions = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS
    compute = functions.get(parameters["rope_type"])
    if compute is None:
        module = transformers.models.gpt_neox.modeling_gpt_neox
        compute = module.GPTNeoXRotaryEmbedding.compute_default_rope_parameters
    frequencies, factor = compute(config, seq_len=length)
    return dict(name=name, length=length, config=dict(
        max_position_embeddings=config.max_position_embeddings,
        rope_parameters=config.rope_parameters), head_width=2 * HALF,
        attention_factor=factor, frequencies=[float(f) for f in frequencies])


def write_rope(root):
    cases = [rope(name, parameters, base, length) for name, parameters in SCALINGS.items()
             for base in (10000.0, 500000.0) for length in (512, 20000)]
    text = ",\n".join(json.dumps(case) for case in cases)
    (root / "rope.json").write_text(f'{{"cases": [\n{text}]}}\n')


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="names of models, or 'rope', by commas")
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
    parser.add_argument("output", nargs="?", type=pathlib.Path, default=default)
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    for model_name, model_item in MODELS.items():
        if not only or model_name in only:
            write(options.output, model_name, model_item)
    if not only or "rope" in only:
        write_rope(options.output)
