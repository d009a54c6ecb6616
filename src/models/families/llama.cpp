// Llama and what is built like it: Llama-2, CodeLlama, Vicuna, SmolLM2, DeepSeek-Coder, and
// Mistral, whose layers see a window. RMS norms, rotary positions, gated MLP, no biases unless the
// config has them.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

// Mistral's class has a window of 4096 where the config is silent; null means none.
int64_t read_window(const JsonObject& config) {
  constexpr std::string_view field = "sliding_window";
  if (config.string("model_type") != "mistral") return 0;
  for (const std::string& name : config.fields()) {
    if (name == field) return read_size(config, field, 0);
  }
  return 4096;
}

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "llama", false);
  StackSpec& stack = spec.decoder;
  stack.norm = {.kind = NormKind::rms,
                .epsilon = static_cast<float>(read_real(config, "rms_norm_eps", 1e-6)),
                .offset = false};
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.gated = true;
  stack.qkv_bias = stack.out_bias = read_flag(config, "attention_bias", false);
  stack.mlp_bias = read_flag(config, "mlp_bias", false);
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head());
  if (const int64_t window = read_window(config); window > 0) {
    stack.windows.assign(static_cast<size_t>(stack.layers), window);
  }
  return spec;
}

}  // namespace

Family llama() {
  return {.name = "llama",
          .architectures = {"LlamaForCausalLM", "MistralForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
