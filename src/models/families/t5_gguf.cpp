// T5 in llama.cpp's files (architecture "t5"), which take for granted what its converter finds in
// all models: a ReLU without a gate and GELU by tanh with one, and biases that reach 128 tokens. A
// tied head is 1.0's, and multiplied by D^-1/2 as there (t5.cpp).
#include <cmath>

#include "models/gguf_fields.h"

namespace slim {

ModelSpec read_t5_gguf(const GgufFields& fields);

ModelSpec read_t5_gguf(const GgufFields& fields) {
  ModelSpec spec = read_decoder(fields, "t5", {.kind = NormKind::rms, .offset = false});
  StackSpec& stack = spec.decoder;
  stack.activation = stack.gated ? Activation::gelu_tanh : Activation::relu;
  stack.position_kind = Positions::relative;
  stack.buckets = fields.size("attention.relative_buckets_count");
  stack.bias_reach = 128;
  stack.score_scale = 1.0F;
  spec.encoder = stack;
  constexpr const char* kDepth = "decoder_block_count";
  if (fields.has(kDepth)) stack.layers = fields.integer(kDepth, 1, kMostLayers);
  if (spec.tied_head) {
    spec.head_factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(stack.width)));
  }
  return spec;
}

}  // namespace slim
