// Reading of both stacks by one set of names.
#include "models/translator_fields.h"

#include <cmath>
#include <utility>

#include "models/config_fields.h"

namespace slim {
namespace {

// A table of positions has a row for each.
constexpr int64_t kMostRows = 1 << 16;

StackSpec read_stack(const JsonObject& config, const std::string& side,
                     std::string_view activation) {
  StackSpec stack;
  stack.layers = config.integer(side + "_layers", 1, kMostLayers);
  stack.width = read_size(config, "d_model");
  stack.heads = read_size(config, side + "_attention_heads");
  stack.mlp_width = read_size(config, side + "_ffn_dim");
  stack.positions = config.integer("max_position_embeddings", 1, kMostRows);
  stack.activation = read_activation(config, "activation_function", activation);
  return stack;
}

}  // namespace

ModelSpec read_translator(const JsonObject& config, std::string family,
                          const TranslatorDefaults& defaults) {
  ModelSpec spec;
  spec.family = std::move(family);
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  spec.encoder = read_stack(config, "encoder", defaults.activation);
  spec.decoder = read_stack(config, "decoder", defaults.activation);
  if (read_flag(config, "scale_embedding", defaults.scaled)) {
    spec.embed_factor = std::sqrt(static_cast<float>(spec.decoder.width));
  }
  return spec;
}

void use_sinusoids(ModelSpec& spec, int64_t steps) {
  for (StackSpec* const stack : {&spec.encoder, &spec.decoder}) {
    stack->position_kind = Positions::sinusoid;
    stack->sinusoid_steps = steps;
  }
}

void use_post_norms(ModelSpec& spec) {
  for (StackSpec* const stack : {&spec.encoder, &spec.decoder}) {
    stack->residual = Residual::after_sum;
    stack->final_norm = false;
  }
}

const Checkpoint::Renames& bart_renames() {
  static const Checkpoint::Renames table = {{"final_logits_bias", "head.bias"},
                                            {"lm_head.", "head."},
                                            {"model.", ""},
                                            {".embed_positions.", ".positions."},
                                            {".embed_tokens.", ".embed."},
                                            {".layernorm_embedding.", ".embed_norm."},
                                            {"attn_layer_norm.", "attn.norm."},
                                            {".final_layer_norm.", ".mlp.norm."},
                                            {".layer_norm.", ".norm."},
                                            {".self_attn.", ".self."},
                                            {".encoder_attn.", ".cross."},
                                            {"_proj.", "."},
                                            {".fc1.", ".mlp.up."},
                                            {".fc2.", ".mlp.down."}};
  return table;
}

}  // namespace slim
