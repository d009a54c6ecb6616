// CudaRotation: a Rotation's two tables on the card (tensor/rotation.h), [64, 2 pairs] and
// [pages, 2 pairs], a row being the cosines, then the sines.
#pragma once

#include <cstdint>

namespace slim {

struct CudaRotation {
  const float* rows = nullptr;
  const float* pages = nullptr;
  int32_t pairs = 0;
  bool interleaved = false;
  float magnitude = 1.0F;
};

}  // namespace slim
