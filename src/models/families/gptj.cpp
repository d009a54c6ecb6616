// GPT-J: one layer norm for attention and MLP side by side, part of each head rotated in pairs of
// neighbours, biases in MLP and head only.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  ModelSpec spec;
  spec.family = "gptj";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", false);
  spec.head_bias = true;
  StackSpec& stack = spec.decoder;
  stack.layers = config.integer("n_layer", 1, kMostLayers);
  stack.width = read_size(config, "n_embd");
  stack.heads = read_size(config, "n_head");
  stack.mlp_width = read_size(config, "n_inner", 4 * stack.width);
  stack.positions = config.integer("n_positions", 1, kMostPositions);
  stack.norm.epsilon = static_cast<float>(read_real(config, "layer_norm_epsilon", 1e-5));
  stack.residual = Residual::parallel;
  stack.shared_norm = true;
  stack.activation = read_activation(config, "activation_function", "gelu_new");
  stack.qkv_bias = stack.out_bias = false;
  stack.position_kind = Positions::rotary;
  stack.rope.width = read_size(config, "rotary_dim", 64);
  stack.rope.interleaved = true;
  return spec;
}

}  // namespace

Family gptj() {
  return {.name = "gptj",
          .architectures = {"GPTJForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = {{"lm_head.", "head."},
                      {"transformer.wte.", "decoder.embed."},
                      {"transformer.h.", "decoder.layers."},
                      {"transformer.ln_f.", "decoder.norm."},
                      {".ln_1.", ".self.norm."},
                      {".attn.", ".self."},
                      {"_proj.", "."},
                      {".fc_in.", ".up."},
                      {".fc_out.", ".down."}},
          .ignored = {".attn.bias", ".attn.masked_bias", ".attn.embed_positions"}};
}

}  // namespace slim
