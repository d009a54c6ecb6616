// Cohere: Aya-23, Command-R: layer norms without bias, one for attention and MLP side by side,
// neighbours rotated in pairs, logits scaled.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "cohere", true);
  require(config, "use_qk_norm", !read_flag(config, "use_qk_norm", false), "false");
  spec.logit_scale = static_cast<float>(read_real(config, "logit_scale", 0.0625));
  StackSpec& stack = spec.decoder;
  stack.norm = {.epsilon = static_cast<float>(read_real(config, "layer_norm_eps", 1e-5)),
                .offset = false};
  stack.residual = Residual::parallel;
  stack.shared_norm = true;
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.gated = true;
  stack.qkv_bias = stack.out_bias = read_flag(config, "attention_bias", false);
  stack.mlp_bias = false;
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head());
  stack.rope.interleaved = true;
  return spec;
}

}  // namespace

Family cohere() {
  return {.name = "cohere",
          .architectures = {"CohereForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = llama_renames(),
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
