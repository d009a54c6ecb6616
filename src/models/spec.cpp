// What follows from a ModelSpec: the attention layers of its stacks.
#include "models/spec.h"

#include <bit>
#include <cmath>

#include "base/check.h"

namespace slim {
namespace {

// Head i of H gets 2^(-most * (i + 1) / H) where H is a power of two. Else the first P heads get
// the slopes of the next lower power P, and the others every second slope of 2 P, the first
// included.
std::vector<float> alibi_slopes(int64_t heads, double most) {
  const auto above = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(heads)));
  const int64_t below = above == heads ? heads : above / 2;
  std::vector<float> slopes;
  for (int64_t i = 0; i < heads; ++i) {
    const double step = i < below
                            ? static_cast<double>(i + 1) / static_cast<double>(below)
                            : static_cast<double>(2 * (i - below) + 1) / static_cast<double>(above);
    slopes.push_back(static_cast<float>(std::exp2(-most * step)));
  }
  return slopes;
}

}  // namespace

AttentionSpec StackSpec::self(bool causal, int64_t layer) const {
  AttentionSpec spec;
  spec.width = width;
  spec.heads = heads;
  spec.key_heads = key_head_count();
  spec.head_width = width_of_head();
  spec.scale = score_scale != 0.0F
                   ? score_scale
                   : static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.head_width)));
  spec.causal = causal;
  spec.rotary = position_kind == Positions::rotary;
  spec.key_bias = qkv_bias && key_bias;
  spec.key_norm = qk_norm;
  spec.key_norm_kind = qk_norm_kind;
  spec.key_norm_epsilon = norm.epsilon;
  if (position_kind == Positions::relative) spec.bias_reach = bias_reach;
  if (position_kind == Positions::alibi) spec.slopes = alibi_slopes(heads, alibi_max);
  spec.cap = score_cap;
  spec.window = windows.empty() ? 0 : windows.at(static_cast<size_t>(layer));
  spec.clip = clip;
  return spec;
}

AttentionSpec StackSpec::cross(int64_t encoder_width) const {
  // One width for both sides: the layer's own input feeds q and the encoder's output feeds k and v,
  // and every family here has both of the same width (the readers see to it).
  check(encoder_width == width, "encoder and decoder have one width");
  AttentionSpec spec = self(false);
  spec.cross = true;
  spec.rotary = false;  // the rows are no tokens of the text (Moonshine)
  spec.bias_reach = 0;
  return spec;
}

std::vector<AttentionSpec> attention_layers(const ModelSpec& spec) {
  std::vector<AttentionSpec> layers;
  for (int64_t layer = 0; layer < spec.decoder.layers; ++layer) {
    layers.push_back(spec.decoder.self(true, layer));
    if (spec.has_encoder()) layers.push_back(spec.decoder.cross(spec.encoder.width));
  }
  return layers;
}

}  // namespace slim
