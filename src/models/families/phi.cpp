// Phi-1, Phi-1.5, Phi-2: layer norms, one for attention and MLP side by side, part of each head
// rotated, biases everywhere, the head's included.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "phi", false);
  require(config, "qk_layernorm", !read_flag(config, "qk_layernorm", false), "false");
  spec.head_bias = true;
  StackSpec& stack = spec.decoder;
  stack.norm.epsilon = static_cast<float>(read_real(config, "layer_norm_eps", 1e-5));
  stack.residual = Residual::parallel;
  stack.shared_norm = true;
  stack.activation = read_activation(config, "hidden_act", "gelu_new");
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head(), {.share = 0.5});
  return spec;
}

}  // namespace

Family phi() {
  return {.name = "phi",
          .architectures = {"PhiForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = {{"lm_head.", "head."},
                      {"model.embed_tokens.", "decoder.embed."},
                      {"model.layers.", "decoder.layers."},
                      {"model.final_layernorm.", "decoder.norm."},
                      {".input_layernorm.", ".self.norm."},
                      {".self_attn.dense.", ".self.out."},
                      {".self_attn.", ".self."},
                      {"_proj.", "."},
                      {".fc1.", ".up."},
                      {".fc2.", ".down."}},
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
