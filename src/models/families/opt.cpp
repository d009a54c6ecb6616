// OPT, Galactica's like: learned positions that start at row 2, ReLU, biases everywhere. OPT-350m
// has its norms after the sums, none at the end, and embeddings narrower than the model.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec;
  spec.family = "opt";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  StackSpec& stack = spec.decoder;
  stack.layers = config.integer("num_hidden_layers", 1, kMostLayers);
  stack.width = read_size(config, "hidden_size");
  stack.heads = read_size(config, "num_attention_heads");
  stack.mlp_width = read_size(config, "ffn_dim");
  stack.positions = config.integer("max_position_embeddings", 1, kMostPositions);
  stack.position_offset = 2;
  const bool before = read_flag(config, "do_layer_norm_before", true);
  stack.residual = before ? Residual::sequential : Residual::after_sum;
  stack.final_norm = before && !read_flag(config, "_remove_final_layer_norm", false);
  stack.activation = read_activation(config, "activation_function", "relu");
  stack.qkv_bias = stack.out_bias = stack.mlp_bias = read_flag(config, "enable_bias", true);
  stack.norm.gain = stack.norm.offset = read_flag(config, "layer_norm_elementwise_affine", true);
  const int64_t embedded = read_size(config, "word_embed_proj_dim", stack.width);
  if (embedded != stack.width) spec.embed_width = embedded;
  return spec;
}

}  // namespace

Family opt() {
  return {.name = "opt",
          .architectures = {"OPTForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = {{"lm_head.", "head."},
                      {"model.decoder.", "decoder."},
                      {"decoder.final_layer_norm.", "decoder.norm."},
                      {".embed_tokens.", ".embed."},
                      {".embed_positions.", ".positions."},
                      {".project_in.", ".embed_in."},
                      {".project_out.", ".embed_out."},
                      {".self_attn_layer_norm.", ".self.norm."},
                      {".final_layer_norm.", ".mlp.norm."},
                      {".self_attn.", ".self."},
                      {"_proj.", "."},
                      {".fc1.", ".mlp.up."},
                      {".fc2.", ".mlp.down."}},
          .ignored = {}};
}

}  // namespace slim
