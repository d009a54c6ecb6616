// Numbers as pairs of f16, value 2^e = high + low: what e is for the numbers that share it.
#pragma once

#include <cuda_runtime.h>

namespace slim {

// e that brings `largest` to [2^14, 2^15); 0 for 0. Such powers and their inverses are normal.
__device__ inline int pair_exponent(float largest) {
  if (!(largest > 0.0F)) return 0;
  return min(14 - ilogbf(largest), 100);
}

}  // namespace slim
