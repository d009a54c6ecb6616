// What the K-cache computes from the weights of a layer that comes from no converted model.
#pragma once

#include "attention/scheme.h"

namespace slim {

// The value map, spill and shaping of a layer: seconds at d = 1280 (SVD). Throws
// Error{unsupported_model} if no such map exists.
DerivedWeights derive_weights(const AttentionWeights& weights, const RowChoice& rows);

}  // namespace slim
