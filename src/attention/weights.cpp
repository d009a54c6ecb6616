// Unpacks integer and block weights, and brings weights to devices.
#include "attention/weights.h"

#include <algorithm>

#include "tensor/weight_blocks.h"

namespace slim {
namespace {

Tensor unpack(const Tensor& weight) {
  if (!is_block_type(weight.type())) return weight.to_f32();
  Tensor values = Tensor::allocate(host_device(), DType::f32, weight.shape());
  decode_blocks(weight.type(), weight.data(), weight.elements(), values.writable<float>());
  return values;
}

}  // namespace

Tensor plain_weight(const LinearWeights& weights) {
  if (weights.weight.type() <= DType::bf16) return weights.weight;
  Tensor plain = unpack(weights.weight);
  if (weights.scale.empty()) return plain;
  const float* scale = weights.scale.values<float>();
  const int64_t columns = plain.size(1);
  for (int64_t n = 0; n < plain.size(0); ++n) {
    float* row = plain.writable<float>() + n * columns;
    std::transform(row, row + columns, row, [&](float value) { return value * scale[n]; });
  }
  return plain;
}

Tensor compact_weight(const LinearWeights& weights) {
  if (weights.weight.type() <= DType::bf16) return weights.weight;
  const Tensor plain = plain_weight(weights);
  Tensor compact = Tensor::allocate(host_device(), DType::f16, plain.shape());
  std::transform(plain.values<float>(), plain.values<float>() + plain.elements(),
                 compact.writable<Half>(), to_half);
  return compact;
}

LinearWeights on(Device& device, const LinearWeights& weights) {
  return {weights.weight.on(device), weights.scale.on(device), weights.bias.on(device),
          weights.inputs};
}

DerivedWeights on(Device& device, const DerivedWeights& weights) {
  return {on(device, weights.value_map), weights.spill.on(device),
          weights.spill_map.on(device),  weights.shaping_u.on(device),
          weights.shaping_g.on(device),  weights.shaping_order.on(device)};
}

}  // namespace slim
