// InputScale: the arithmetic that rounds a row of x to integers (Inputs), the same in all kernels.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/kernels.h"

namespace slim {

constexpr int64_t kDeepestInputs = int64_t{1} << 17;  // K: 2^17 127 128 is within 32 bits

// Of 8 bits each: q = 256 high + low, both within [-128, 127].
constexpr int parts_of(Inputs inputs) { return inputs == Inputs::i16 ? 2 : 1; }

// q = nearest integer, ties to even, of x * inverse; x is about q * scale.
struct InputScale {
  InputScale(Inputs inputs, float largest) {
    constexpr float kLeast = 0x1p-110F;  // so that both are normal numbers
    const float limit = inputs == Inputs::i16 ? 127.0F * 257.0F : 127.0F;
    finite = std::isfinite(largest);
    if (!finite) {
      scale = std::numeric_limits<float>::quiet_NaN();
    } else if (largest >= kLeast) {
      scale = largest / limit;
      inverse = limit / largest;
    }
  }

  bool finite = true;
  float scale = 0.0F;
  float inverse = 0.0F;
};

}  // namespace slim
