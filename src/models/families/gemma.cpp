// Gemma (the first), CodeGemma: as Llama with gains stored less 1, embeddings times sqrt(D), a
// gate of tanh-GELU, and (7B) heads that are together wider than the model.
#include <cmath>

#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "gemma", true);
  StackSpec& stack = spec.decoder;
  spec.embed_factor = std::sqrt(static_cast<float>(stack.width));
  stack.head_width = read_size(config, "head_dim", 256);
  stack.norm = {.kind = NormKind::rms,
                .epsilon = static_cast<float>(read_real(config, "rms_norm_eps", 1e-6)),
                .offset = false,
                .gain_base = 1.0F};
  // hidden_act says "gelu" in early files and means the tanh form; hidden_activation came later.
  const char* const field = config.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const Activation stated = read_activation(config, field, "gelu_pytorch_tanh");
  require(config, field, stated == Activation::gelu || stated == Activation::gelu_tanh,
          "\"gelu_pytorch_tanh\"");
  stack.activation = Activation::gelu_tanh;
  stack.gated = true;
  stack.qkv_bias = stack.out_bias = read_flag(config, "attention_bias", false);
  stack.mlp_bias = false;
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head());
  require(config, "use_bidirectional_attention",
          !read_flag(config, "use_bidirectional_attention", false), "false");
  return spec;
}

}  // namespace

Family gemma() {
  return {.name = "gemma",
          .architectures = {"GemmaForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
