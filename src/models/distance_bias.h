// Relative positions (T5): a table of a number for each head and bucket of distances, written out
// by distance as kernels take it (DistanceBias). A bucket is one distance near 0 and a range that
// grows with the logarithm further out; all distances from `reach` on share the last.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace slim {

// The bucket of a distance, row less query. `both`: half of the buckets are of rows ahead (an
// encoder); else those ahead, which no query sees, are in bucket 0. Rounded where Transformers
// rounds, in f32.
int64_t bucket_of(int64_t distance, int64_t buckets, int64_t reach, bool both);

// [H, 2 * reach + 1] of a table [buckets, H] f32.
Tensor distance_bias(const Tensor& table, int64_t reach, bool both);

}  // namespace slim
