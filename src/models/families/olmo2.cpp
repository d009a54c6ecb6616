// OLMo-2: as Llama with norms after attention and MLP instead of before, and norms over the whole
// projections of queries and keys.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "olmo2", false);
  StackSpec& stack = spec.decoder;
  stack.norm = {.kind = NormKind::rms,
                .epsilon = static_cast<float>(read_real(config, "rms_norm_eps", 1e-5)),
                .offset = false};
  stack.residual = Residual::after_branch;
  stack.qk_norm = KeyNorm::row;
  stack.activation = read_activation(config, "hidden_act", "silu");
  stack.gated = true;
  stack.qkv_bias = stack.out_bias = read_flag(config, "attention_bias", false);
  stack.mlp_bias = false;
  stack.position_kind = Positions::rotary;
  stack.rope = read_rope(config, stack.width_of_head());
  return spec;
}

}  // namespace

Family olmo2() {
  Checkpoint::Renames renames = {{".post_attention_layernorm.", ".self.post_norm."},
                                 {".post_feedforward_layernorm.", ".mlp.post_norm."}};
  for (const auto& rename : llama_renames()) renames.push_back(rename);
  return {.name = "olmo2",
          .architectures = {"Olmo2ForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = renames,
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace slim
