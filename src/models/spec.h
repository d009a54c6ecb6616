// ModelSpec: what a model is, as data. Typed and closed: a family fills it in from its config, the
// rest of the engine runs it, and no family name appears outside models/families/. Every field says
// which families need it; a config value that has no field here is an Error, never a default.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attention/scheme.h"
#include "kernels/kernels.h"

namespace slim {

// One stack of layers: pre-norm, residual around attention(s) and MLP, final norm. (Whisper)
struct StackSpec {
  int64_t layers = 0;  // L
  int64_t width = 0;   // D
  int64_t heads = 0;   // H
  int64_t mlp_width = 0;
  int64_t positions = 0;  // rows of the position table: 1500 encoder positions, 448 tokens
  Activation activation = Activation::gelu;
  float norm_epsilon = 1e-5F;

  int64_t head_width() const { return heads == 0 ? 0 : width / heads; }
  AttentionSpec self(bool causal) const;
  AttentionSpec cross(int64_t encoder_width) const;
};

struct ModelSpec {
  std::string family;      // "whisper": for people; nothing branches on it
  int64_t vocabulary = 0;  // V
  int64_t mel_bins = 0;    // 80 or 128: the model hears audio through two convolutions (Whisper)
  StackSpec encoder;
  StackSpec decoder;  // has cross attention; learned positions; head tied to the embedding
  // (layer, head) pairs of cross attention that follow the audio in time; may be empty. (Whisper)
  std::vector<std::vector<int64_t>> alignment_heads;
};

// The attention layers a cache is planned for, in order: self and cross of decoder layer 0, 1, ...
std::vector<AttentionSpec> attention_layers(const ModelSpec& spec);

}  // namespace slim
