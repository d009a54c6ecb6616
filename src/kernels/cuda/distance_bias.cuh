// Reading a DistanceBias on the card.
#pragma once

#include "kernels/kernels.h"

namespace slim {

// Of distance 0.
__device__ inline const float* biases_of(const DistanceBias& bias, int head) {
  return bias.values + head * (2 * bias.reach + 1) + bias.reach;
}

__device__ inline float bias_at(const DistanceBias& bias, const float* of_head, int distance) {
  const int reach = static_cast<int>(bias.reach);
  return of_head[max(-reach, min(reach, distance))];
}

}  // namespace slim
