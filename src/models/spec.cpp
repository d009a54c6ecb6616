// What follows from a ModelSpec: the attention layers of its stacks.
#include "models/spec.h"

#include <cmath>

namespace slim {

AttentionSpec StackSpec::self(bool causal) const {
  AttentionSpec spec;
  spec.width = width;
  spec.heads = heads;
  spec.key_heads = heads;
  spec.head_width = head_width();
  spec.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_width())));
  spec.causal = causal;
  return spec;
}

AttentionSpec StackSpec::cross(int64_t encoder_width) const {
  // One width for both sides: the layer's own input feeds q and the encoder's output feeds k and v,
  // and every family here has both of the same width (the readers see to it).
  check(encoder_width == width, "encoder and decoder have one width");
  AttentionSpec spec = self(false);
  spec.cross = true;
  return spec;
}

std::vector<AttentionSpec> attention_layers(const ModelSpec& spec) {
  std::vector<AttentionSpec> layers;
  layers.reserve(static_cast<size_t>(2 * spec.decoder.layers));
  for (int64_t layer = 0; layer < spec.decoder.layers; ++layer) {
    layers.push_back(spec.decoder.self(true));
    layers.push_back(spec.decoder.cross(spec.encoder.width));
  }
  return layers;
}

}  // namespace slim
