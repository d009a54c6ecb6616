// Qwen1.5, Qwen2, Qwen2.5: as Llama with biases on queries, keys and values.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "qwen2", false);
  StackSpec& stack = spec.decoder;
  stack.norm = {.kind = NormKind::rms,
                .epsilon = static_cast<float>(read_real(config, "rms_norm_eps", 1e-6)),
                .offset = false};
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.gated = true;
  stack.out_bias = stack.mlp_bias = false;
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head());
  if (read_flag(config, "use_sliding_window", false)) {
    // Layers from max_window_layers on see a window.
    const int64_t window = read_size(config, "sliding_window", 4096);
    const int64_t full =
        config.has("max_window_layers") ? config.integer("max_window_layers", 0, kMostLayers) : 28;
    for (int64_t i = 0; i < stack.layers; ++i) stack.windows.push_back(i < full ? 0 : window);
  }
  return spec;
}

}  // namespace

Family qwen2() {
  return {.name = "qwen2",
          .architectures = {"Qwen2ForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
