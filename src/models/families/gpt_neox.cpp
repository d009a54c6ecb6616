// GPT-NeoX: Pythia, Dolly-v2, RedPajama-INCITE, StableLM-alpha. Layer norms, attention and MLP side
// by side (or, in some, one after the other), a quarter of each head rotated, biases everywhere,
// and the projections of each head packed together.
#include "models/config_fields.h"
#include "models/family.h"
#include "models/gguf_fields.h"

namespace slim {
namespace {

void set_structure(StackSpec& stack, double epsilon, bool parallel) {
  stack.norm.epsilon = static_cast<float>(epsilon);
  stack.residual = parallel ? Residual::parallel : Residual::sequential;
  stack.position_kind = Positions::rotary;
}

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec = read_decoder(config, "gpt_neox", false);
  StackSpec& stack = spec.decoder;
  set_structure(stack, read_real(config, "layer_norm_eps", 1e-5),
                read_flag(config, "use_parallel_residual", true));
  stack.activation = read_activation(config, "hidden_act", "gelu");
  stack.packing = Packing::by_head;
  stack.qkv_bias = stack.out_bias = read_flag(config, "attention_bias", true);
  stack.rope =
      read_rope(config, stack.width_of_head(),
                {.base_field = "rotary_emb_base", .share_field = "rotary_pct", .share = 0.25});
  return spec;
}

// Converters unpack the heads: q, k and v come stacked.
ModelSpec read_gguf(const Checkpoint& checkpoint) {
  const GgufFields fields(checkpoint);
  ModelSpec spec = fields.decoder("gpt_neox");
  StackSpec& stack = spec.decoder;
  set_structure(stack, fields.real("attention.layer_norm_epsilon", 1e-5),
                fields.flag("use_parallel_residual", true));
  stack.activation = Activation::gelu;
  stack.rope = fields.rope(stack.width_of_head(), false);
  return spec;
}

}  // namespace

Family gpt_neox() {
  return {
      .name = "gpt_neox",
      .architectures = {"GPTNeoXForCausalLM"},
      .read_config = read_config,
      .gguf = "gptneox",
      .read_gguf = read_gguf,
      .renames = {{"embed_out.", "head."},
                  {"lm_head.", "head."},
                  {"gpt_neox.embed_in.", "decoder.embed."},
                  {"gpt_neox.layers.", "decoder.layers."},
                  {"gpt_neox.final_layer_norm.", "decoder.norm."},
                  {".input_layernorm.", ".self.norm."},
                  {".post_attention_layernorm.", ".mlp.norm."},
                  {".attention.query_key_value.", ".self.qkv."},
                  {".attention.dense.", ".self.out."},
                  {".mlp.dense_h_to_4h.", ".mlp.up."},
                  {".mlp.dense_4h_to_h.", ".mlp.down."}},
      .ignored = {".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq"}};
}

}  // namespace slim
