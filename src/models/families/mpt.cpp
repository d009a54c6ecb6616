// MPT: ALiBi, no biases at all, projections packed; some clamp queries, keys and values.
#include "models/config_fields.h"
#include "models/family.h"

namespace slim {
namespace {

ModelSpec read_config(const JsonObject& config) {
  require(config, "no_bias", read_flag(config, "no_bias", true), "true");
  // Transformers keeps these in attn_config, and so do all files; the rest of them must be usual.
  require(config, "attn_config", config.has("attn_config"), "given");
  const JsonObject attention = config.object("attn_config");
  for (const char* const field : {"prefix_lm", "qk_ln", "attn_uses_sequence_id"}) {
    require(attention, field, !read_flag(attention, field, false), "false");
  }
  require(attention, "alibi", read_flag(attention, "alibi", true), "true");
  if (attention.has("attn_type")) {
    require(attention, "attn_type", attention.string("attn_type") == "multihead_attention",
            "\"multihead_attention\"");
  }
  require(config, "logit_scale", !config.has("logit_scale"), "null");
  ModelSpec spec;
  spec.family = "mpt";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.tied_head = read_flag(config, "tie_word_embeddings", true);
  StackSpec& stack = spec.decoder;
  require(config, "expansion_ratio", read_size(config, "expansion_ratio", 4) == 4, "4");
  stack.layers = config.integer("n_layers", 1, kMostLayers);
  stack.width = read_size(config, "d_model");
  stack.heads = read_size(config, "n_heads");
  stack.mlp_width = 4 * stack.width;
  stack.positions = config.integer("max_seq_len", 1, kMostPositions);
  stack.norm = {.epsilon = static_cast<float>(read_real(config, "layer_norm_epsilon", 1e-5)),
                .offset = false};
  stack.packing = Packing::stacked;
  stack.qkv_bias = stack.out_bias = stack.mlp_bias = false;
  stack.position_kind = Positions::alibi;
  stack.alibi_max = read_real(attention, "alibi_bias_max", 8.0);
  stack.score_scale = static_cast<float>(read_real(attention, "softmax_scale", 0.0));
  stack.clip = static_cast<float>(read_real(attention, "clip_qkv", 0.0));
  return spec;
}

}  // namespace

Family mpt() {
  return {.name = "mpt",
          .architectures = {"MptForCausalLM", "MPTForCausalLM"},
          .content = {},
          .read_config = read_config,
          .renames = {{"lm_head.", "head."},
                      {"transformer.wte.", "decoder.embed."},
                      {"transformer.blocks.", "decoder.layers."},
                      {"transformer.norm_f.", "decoder.norm."},
                      {".norm_1.", ".self.norm."},
                      {".norm_2.", ".mlp.norm."},
                      {".attn.Wqkv.", ".self.qkv."},
                      {".attn.out_proj.", ".self.out."},
                      {".ffn.up_proj.", ".mlp.up."},
                      {".ffn.down_proj.", ".mlp.down."}},
          .ignored = {}};
}

}  // namespace slim
