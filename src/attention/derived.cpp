// Weights by transforms/.
#include "attention/derived.h"

#include "attention/weights.h"
#include "slim/error.h"
#include "transforms/value_map.h"

namespace slim {

DerivedWeights derive_weights(const AttentionWeights& weights, const RowChoice& rows) {
  if (rows.spill != 0 || rows.rank != 0) {
    throw Error(ErrorCode::unsupported_model,
                "Spill columns and shaped rounding need a converted model.");
  }
  DerivedWeights derived;
  derived.value_map.weight = value_map(plain_weight(weights.k), plain_weight(weights.v));
  return derived;
}

}  // namespace slim
