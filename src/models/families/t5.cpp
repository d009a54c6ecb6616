// T5 (1.0), Flan-T5 (1.1), mT5, and Chronos and Chronos-Bolt, which read series of numbers: an
// encoder that reads and a decoder, relative positions shared by the layers of a side, RMS norms,
// no biases, scores that are not scaled. Heads may be together wider than the model (T5-11B: 16
// times). 1.0 multiplies what its tied head gets by D^-1/2.
#include <cmath>

#include "models/config_fields.h"
#include "models/family.h"
#include "models/series_fields.h"

namespace slim {

ModelSpec read_t5_gguf(const GgufFields& fields);  // t5_gguf.cpp

namespace {

void read_mlp(const JsonObject& config, StackSpec& stack, bool multilingual) {
  const char* const field = "feed_forward_proj";
  const std::string name = config.has(field) ? config.string(field)
                           : multilingual    ? "gated-gelu"
                                             : "relu";
  const std::string prefix = "gated-";
  stack.gated = name.starts_with(prefix);
  // "gated-gelu" has always been that by tanh.
  stack.activation =
      name == "gated-gelu"
          ? Activation::gelu_tanh
          : activation_of(config, field, stack.gated ? name.substr(prefix.size()) : name);
  stack.mlp_width = read_size(config, "d_ff");
}

StackSpec read_stack(const JsonObject& config) {
  StackSpec stack;
  stack.layers = config.integer("num_layers", 1, kMostLayers);
  stack.width = read_size(config, "d_model");
  stack.heads = read_size(config, "num_heads");
  stack.head_width = read_size(config, "d_kv");
  stack.positions = read_size(config, "n_positions", 512);
  stack.position_kind = Positions::relative;
  stack.buckets = read_size(config, "relative_attention_num_buckets", 32);
  stack.bias_reach = read_size(config, "relative_attention_max_distance", 128);
  stack.score_scale = 1.0F;
  stack.norm = {.kind = NormKind::rms,
                .epsilon = static_cast<float>(read_real(config, "layer_norm_epsilon", 1e-6)),
                .offset = false};
  stack.qkv_bias = stack.out_bias = stack.mlp_bias = false;
  return stack;
}

ModelSpec read_config(const JsonObject& config) {
  const bool multilingual = config.has("model_type") && config.string("model_type") == "mt5";
  ModelSpec spec;
  spec.family = "t5";
  spec.vocabulary = read_size(config, "vocab_size");
  spec.encoder = read_stack(config);
  read_mlp(config, spec.encoder, multilingual);
  spec.decoder = spec.encoder;
  if (config.has("num_decoder_layers")) {
    spec.decoder.layers = config.integer("num_decoder_layers", 1, kMostLayers);
  }
  read_series(config, spec);
  spec.tied_head = read_flag(config, "tie_word_embeddings", !multilingual);
  // Transformers 5 says it apart: there a 1.1 model may have one table.
  const bool scaled = !multilingual && spec.series.patch == 0 &&
                      read_flag(config, "scale_decoder_outputs", spec.tied_head);
  if (scaled) {
    spec.head_factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.decoder.width)));
  }
  return spec;
}

}  // namespace

Family t5() {
  return {.name = "t5",
          .architectures = {"T5ForConditionalGeneration", "T5WithLMHeadModel",
                            "MT5ForConditionalGeneration", "ChronosBoltModelForForecasting"},
          .content = "t5",
          .read_config = read_config,
          .read_gguf = read_t5_gguf,
          .renames = {{"lm_head.", "head."},
                      {"input_patch_embedding.", "patch_in."},
                      {"output_patch_embedding.", "patch_out."},
                      {".hidden_layer.", ".up."},
                      {".output_layer.", ".down."},
                      {".residual_layer.", ".skip."},
                      {"coder.embed_tokens.", "coder.embed."},
                      {"coder.final_layer_norm.", "coder.norm."},
                      {"coder.block.0.layer.0.SelfAttention.relative_attention_bias.",
                       "coder.relative_bias."},
                      {"encoder.block.#.layer.1.layer_norm.", "encoder.block.#.mlp.norm."},
                      {".layer.0.layer_norm.", ".self.norm."},
                      {".layer.1.layer_norm.", ".cross.norm."},
                      {".layer.2.layer_norm.", ".mlp.norm."},
                      {".layer.0.SelfAttention.", ".self."},
                      {".layer.1.EncDecAttention.", ".cross."},
                      {".layer.1.DenseReluDense.", ".mlp."},
                      {".layer.2.DenseReluDense.", ".mlp."},
                      {".self.o.", ".self.out."},
                      {".cross.o.", ".cross.out."},
                      {".mlp.wi.", ".mlp.up."},
                      {".mlp.wi_0.", ".mlp.gate."},
                      {".mlp.wi_1.", ".mlp.up."},
                      {".mlp.wo.", ".mlp.down."},
                      {"coder.block.", "coder.layers."}},
          // The first checkpoints gave cross attention a bias, which nothing reads.
          .ignored = {".EncDecAttention.relative_attention_bias.weight"}};
}

}  // namespace slim
