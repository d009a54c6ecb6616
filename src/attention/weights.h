// Weights as transforms take them, without scales and blocks, and as kernels take them, in the
// memory of a device.
#pragma once

#include "attention/scheme.h"

namespace slim {

// The weight itself where it is f32, f16 or bf16; else its values in f32.
Tensor plain_weight(const LinearWeights& weights);
// The same, held in f16 where it had to be unpacked: half the memory, and closer to the values than
// the integers they came from are to the trained ones.
Tensor compact_weight(const LinearWeights& weights);

// Weights as the kernels of a device take them (Tensor::on).
LinearWeights on(Device& device, const LinearWeights& weights);
DerivedWeights on(Device& device, const DerivedWeights& weights);

}  // namespace slim
