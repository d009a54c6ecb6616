// StableLM-3B, StableLM-2-1.6B, Stable-Code-3B: layer norms, a quarter of each head rotated, gated
// MLP, sometimes biases on queries, keys and values.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "stablelm", false);
  require(config, "qk_layernorm", !read_flag(config, "qk_layernorm", false), "false");
  StackSpec& stack = spec.decoder;
  stack.norm.epsilon = static_cast<float>(read_real(config, "layer_norm_eps", 1e-5));
  if (read_flag(config, "use_parallel_residual", false)) {
    stack.residual = Residual::parallel;
    stack.shared_norm = true;
  }
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.gated = true;
  stack.qkv_bias = read_flag(config, "use_qkv_bias", false);
  stack.out_bias = stack.mlp_bias = false;
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head(), {.share = 0.25});
  return spec;
}

}  // namespace

Family stablelm() {
  return {.name = "stablelm",
          .architectures = {"StableLmForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
