// OLMo (the first): as Llama with layer norms that have no weights, and in some sizes queries, keys
// and values clamped after projection.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "olmo", false);
  StackSpec& stack = spec.decoder;
  stack.norm = {.kind = NormKind::layer, .epsilon = 1e-5F, .gain = false, .offset = false};
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.gated = true;
  stack.qkv_bias = stack.out_bias = read_flag(config, "attention_bias", false);
  stack.mlp_bias = false;
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head());
  stack.clip = static_cast<float>(read_real(config, "clip_qkv", 0.0));
  if (stack.clip < 0.0F) config.reject("clip_qkv", "must not be negative");
  return spec;
}

}  // namespace

Family olmo() {
  return {.name = "olmo",
          .architectures = {"OlmoForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
