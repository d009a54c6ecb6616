// Where the weights of both stacks lie: as they were read, or in a device's memory.
#include "base/function_ref.h"
#include "models/blocks.h"

namespace slim {
namespace {

using Visit = FunctionRef<void(Tensor&)>;

void visit(NormWeights& weights, Visit body) {
  body(weights.gain);
  body(weights.offset);
}

void visit(LinearWeights& weights, Visit body) {
  body(weights.weight);
  body(weights.scale);
  body(weights.bias);
}

void visit(MlpWeights& weights, Visit body) {
  visit(weights.norm, body);
  visit(weights.gate, body);
  visit(weights.up, body);
  visit(weights.down, body);
}

void visit(DerivedWeights& weights, Visit body) {
  visit(weights.value_map, body);
  for (Tensor* tensor : {&weights.spill, &weights.spill_map, &weights.shaping_u, &weights.shaping_g,
                         &weights.shaping_order}) {
    body(*tensor);
  }
}

void visit(AttentionWeights& weights, Visit body) {
  visit(weights.q, body);
  visit(weights.k, body);
  visit(weights.v, body);
  visit(weights.out, body);
  for (Tensor* tensor :
       {&weights.q_gain, &weights.q_offset, &weights.k_gain, &weights.k_offset, &weights.bias}) {
    body(*tensor);
  }
  visit(weights.derived, body);
}

void visit(PatchWeights& weights, Visit body) {
  visit(weights.up, body);
  visit(weights.down, body);
  visit(weights.skip, body);
}

// All but the attention of decoder layers.
void visit(ModelWeights::Parts& parts, Visit body) {
  visit(parts.conv1, body);
  visit(parts.conv2, body);
  visit(parts.patch_in, body);
  visit(parts.conv3, body);
  body(parts.encoder_embed);
  visit(parts.encoder_embed_norm, body);
  body(parts.encoder_positions);
  for (EncoderLayer& layer : parts.encoder) {
    visit(layer.norm, body);
    visit(layer.self, body);
    visit(layer.mlp, body);
  }
  visit(parts.encoder_norm, body);
  body(parts.embed);
  visit(parts.embed_norm, body);
  visit(parts.embed_in, body);
  visit(parts.embed_out, body);
  body(parts.decoder_positions);
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

ModelWeights::Parts ModelWeights::Parts::on(Device& device) const {
  Parts placed = *this;
  visit(placed, [&](Tensor& tensor) { tensor = tensor.on(device); });
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
