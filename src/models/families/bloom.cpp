// BLOOM: ALiBi, a norm after the embedding, biases everywhere, the projections of each head packed
// together. It has no limit of positions; 2048 is what it was trained on.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  require(config, "apply_residual_connection_post_layernorm",
          !read_flag(config, "apply_residual_connection_post_layernorm", false), "false");
  const auto first_of = [&](const char* usual, const char* other) {
    return read_size(config, config.has(usual) ? usual : other);
  };
  ModelSpec spec;
  spec.family = "bloom";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  spec.embed_norm = true;
  StackSpec& stack = spec.decoder;
  stack.layers = first_of("n_layer", "num_hidden_layers");
  if (stack.layers > kMostLayers) config.reject("n_layer", "is out of range");
  stack.width = first_of("hidden_size", "n_embed");
  stack.heads = first_of("n_head", "num_attention_heads");
  stack.mlp_width = 4 * stack.width;
  stack.positions = read_size(config, "seq_length", 2048);
  stack.norm.epsilon = static_cast<float>(read_real(config, "layer_norm_epsilon", 1e-5));
  stack.activation = Activation::gelu_tanh;
  stack.packing = Packing::by_head;
  stack.position_kind = Positions::alibi;
  return spec;
}

}  // namespace

Family bloom() {
  return {.name = "bloom",
          .architectures = {"BloomForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = {{"transformer.", ""},
                      {".dense_h_to_4h.", ".up."},  // before "h."
                      {".dense_4h_to_h.", ".down."},
                      {"lm_head.", "head."},
                      {"word_embeddings_layernorm.", "decoder.embed_norm."},
                      {"word_embeddings.", "decoder.embed."},
                      {"ln_f.", "decoder.norm."},
                      {"h.", "decoder.layers."},
                      {".input_layernorm.", ".self.norm."},
                      {".post_attention_layernorm.", ".mlp.norm."},
                      {".self_attention.query_key_value.", ".self.qkv."},
                      {".self_attention.dense.", ".self.out."}},
          .ignored = {}};
}

}  // namespace slim
