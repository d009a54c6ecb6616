// Where the weights of both stacks lie: as they were read, or in a device's memory.
#include <type_traits>

#include "attention/weights.h"
#include "models/blocks.h"

namespace slim {
namespace {

// `body` takes a Tensor, or a LinearWeights.
template <typename Body>
void visit(Tensor& tensor, Body& body) {
  if constexpr (std::is_invocable_v<Body&, Tensor&>) body(tensor);
}

template <typename Body>
void visit(NormWeights& weights, Body& body) {
  visit(weights.gain, body);
  visit(weights.offset, body);
}

template <typename Body>
void visit(LinearWeights& weights, Body& body) {
  if constexpr (std::is_invocable_v<Body&, LinearWeights&>) body(weights);
  visit(weights.weight, body);
  visit(weights.scale, body);
  visit(weights.bias, body);
}

template <typename Body>
void visit(MlpWeights& weights, Body& body) {
  visit(weights.norm, body);
  visit(weights.gate, body);
  visit(weights.up, body);
  visit(weights.down, body);
}

template <typename Body>
void visit(DerivedWeights& weights, Body& body) {
  visit(weights.value_map, body);
  for (Tensor* tensor : {&weights.spill, &weights.spill_map, &weights.shaping_u, &weights.shaping_g,
                         &weights.shaping_order}) {
    visit(*tensor, body);
  }
}

template <typename Body>
void visit(AttentionWeights& weights, Body& body) {
  visit(weights.q, body);
  visit(weights.k, body);
  visit(weights.v, body);
  visit(weights.out, body);
  for (Tensor* tensor :
       {&weights.q_gain, &weights.q_offset, &weights.k_gain, &weights.k_offset, &weights.bias}) {
    visit(*tensor, body);
  }
  visit(weights.derived, body);
}

template <typename Body>
void visit(PatchWeights& weights, Body& body) {
  visit(weights.up, body);
  visit(weights.down, body);
  visit(weights.skip, body);
}

// All but the attention of decoder layers.
template <typename Body>
void visit(ModelWeights::Parts& parts, Body& body) {
  visit(parts.conv1, body);
  visit(parts.conv2, body);
  visit(parts.patch_in, body);
  visit(parts.conv3, body);
  visit(parts.encoder_embed, body);
  visit(parts.encoder_embed_norm, body);
  visit(parts.encoder_positions, body);
  for (EncoderLayer& layer : parts.encoder) {
    visit(layer.norm, body);
    visit(layer.self, body);
    visit(layer.mlp, body);
  }
  visit(parts.encoder_norm, body);
  visit(parts.embed, body);
  visit(parts.embed_norm, body);
  visit(parts.embed_in, body);
  visit(parts.embed_out, body);
  visit(parts.decoder_positions, body);
  for (DecoderLayer& layer : parts.decoder) {
    visit(layer.self_norm, body);
    visit(layer.cross_norm, body);
    visit(layer.mlp, body);
  }
  visit(parts.decoder_norm, body);
  visit(parts.head, body);
  visit(parts.patch_out, body);
}

}  // namespace

ModelWeights::Parts ModelWeights::Parts::on(Kernels& kernels, const Arithmetic& arithmetic) const {
  Parts placed = *this;
  for (LinearWeights* table : {&placed.encoder_embed, &placed.embed}) {
    const bool bytes = !table->weight.empty() && table->weight.type() == DType::i8;
    if (bytes && !kernels.takes(Inputs::i8)) *table = {plain_weight(*table), {}, {}};
  }
  const auto place = [&](Tensor& tensor) { tensor = tensor.on(kernels.device()); };
  visit(placed, place);
  const auto set_inputs = [&](LinearWeights& weights) { weights.inputs = arithmetic.products; };
  visit(placed, set_inputs);
  for (auto& layer : placed.encoder) layer.self.inputs = arithmetic.attention;
  for (DecoderLayer& layer : placed.decoder) {
    visit(layer.self, set_inputs);
    visit(layer.cross, set_inputs);
    layer.self.inputs = layer.cross.inputs = arithmetic.attention;
  }
  return placed;
}

void ModelWeights::Parts::freeze() {
  const auto freeze_one = [](Tensor& tensor) { tensor = tensor.frozen(); };
  visit(*this, freeze_one);
  for (DecoderLayer& layer : decoder) {
    visit(layer.self, freeze_one);
    visit(layer.cross, freeze_one);
  }
}

}  // namespace slim
