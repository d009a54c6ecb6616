// Llama and what is built like it: Llama-2, CodeLlama, Vicuna, SmolLM2, DeepSeek-Coder, and
// Mistral, whose layers see a window. RMS norms, rotary positions, gated MLP, no biases unless the
// config has them.
#include "models/config_fields.h"
#include "models/family.h"
#include "models/gguf_fields.h"

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

void set_structure(StackSpec& stack, double epsilon) {
  stack.norm = {.kind = NormKind::rms, .epsilon = static_cast<float>(epsilon), .offset = false};
  stack.gated = true;
  stack.position_kind = Positions::rotary;
}

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "llama", false);
  StackSpec& stack = spec.decoder;
  set_structure(stack, read_real(config, "rms_norm_eps", 1e-6));
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.qkv_bias = stack.out_bias = read_flag(config, "attention_bias", false);
  stack.mlp_bias = read_flag(config, "mlp_bias", false);
  stack.rope = read_rope(config, stack.width_of_head());
  if (const int64_t window = read_window(config); window > 0) {
    stack.windows.assign(static_cast<size_t>(stack.layers), window);
  }
  return spec;
}

// Converters reorder the rows of q and k, so that pairs of columns are neighbours.
ModelSpec read_gguf(const Checkpoint& checkpoint) {
  const GgufFields fields(checkpoint);
  ModelSpec spec = fields.decoder("llama");
  StackSpec& stack = spec.decoder;
  set_structure(stack, fields.real("attention.layer_norm_rms_epsilon", 1e-5));
  stack.activation = Activation::silu;
  stack.rope = fields.rope(stack.width_of_head(), true);
  return spec;
}

}  // namespace

Family llama() {
  return {.name = "llama",
          .architectures = {"LlamaForCausalLM", "MistralForCausalLM"},
          .read_config = read_config,
          .gguf = "llama",
          .read_gguf = read_gguf,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq", "rope.factors"}};
}

}  // namespace slim
