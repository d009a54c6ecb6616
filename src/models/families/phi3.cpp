// Phi-3 and Phi-3.5: as Llama with projections and MLP packed, and long contexts by two sets of
// factors on the angles (longrope).
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "phi3", false);
  StackSpec& stack = spec.decoder;
  stack.norm = {.kind = NormKind::rms,
                .epsilon = static_cast<float>(read_real(config, "rms_norm_eps", 1e-5)),
                .offset = false};
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.gated = stack.packed_gate = true;
  stack.packing = Packing::stacked;
  stack.qkv_bias = stack.out_bias = stack.mlp_bias = false;
  stack.position_kind = Positions::rotary;
  // Files older than the name call longrope "su" or "yarn".
  stack.rope = read_rope(config, stack.width_of_head(),
                         {.longrope_names = {"su", "yarn"}, .original = 4096});
  if (const int64_t window = read_size(config, "sliding_window", 0); window > 0) {
    stack.windows.assign(static_cast<size_t>(stack.layers), window);
  }
  return spec;
}

}  // namespace

Family phi3() {
  return {.name = "phi3",
          .architectures = {"Phi3ForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
