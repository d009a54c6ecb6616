// The one sum that the reference kernels share.
#pragma once

#include <cstdint>

namespace slim {

// A product of two floats is exact in double, so only the additions round: count * 2^-53 at worst.
inline double dot_in_double(const float* a, const float* b, int64_t count) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace slim
