// GPT-2, BioMedLM: learned positions, biases everywhere, projections packed, and weights stored
// with their inputs first.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  for (const char* const field :
       {"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"}) {
    require(config, field, !read_flag(config, field, false), "false");
  }
  require(config, "scale_attn_weights", read_flag(config, "scale_attn_weights", true), "true");
  ModelSpec spec;
  spec.family = "gpt2";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  StackSpec& stack = spec.decoder;
  stack.layers = config.integer("n_layer", 1, kMostLayers);
  stack.width = read_size(config, "n_embd");
  stack.heads = read_size(config, "n_head");
  stack.mlp_width = read_size(config, "n_inner", 4 * stack.width);
  stack.positions = config.integer("n_positions", 1, kMostPositions);
  stack.norm.epsilon = static_cast<float>(read_real(config, "layer_norm_epsilon", 1e-5));
  stack.activation = read_activation(config, "activation_function", "gelu_new");
  stack.packing = Packing::stacked;
  stack.inputs_first = true;
  return spec;
}

}  // namespace

Family gpt2() {
  return {.name = "gpt2",
          .architectures = {"GPT2LMHeadModel"},
          .content = {},
          .read_config = read_config,
          .renames = {{"transformer.", ""},
                      {"lm_head.", "head."},
                      {"wte.", "decoder.embed."},
                      {"wpe.", "decoder.positions."},
                      {"ln_f.", "decoder.norm."},
                      {"h.", "decoder.layers."},
                      {".ln_1.", ".self.norm."},
                      {".ln_2.", ".mlp.norm."},
                      {".attn.c_attn.", ".self.qkv."},
                      {".attn.c_proj.", ".self.out."},
                      {".mlp.c_fc.", ".mlp.up."},
                      {".mlp.c_proj.", ".mlp.down."}},
          .ignored = {".attn.bias", ".attn.masked_bias"}};
}

}  // namespace slim
