// Sums and maxima over the threads of a warp or of a block, in an order that does not change.
#pragma once

#include <cuda_runtime.h>

namespace slim {

constexpr int kWarp = 32;

struct Sum {
  static constexpr float kNeutral = 0.0F;
  __device__ float operator()(float a, float b) const { return a + b; }
};
// A NaN is passed over: the sum that follows finds it.
struct Largest {
  static constexpr float kNeutral = -INFINITY;
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// Over the lanes [0, kWidth) of each aligned group of that many; all get the result.
template <int kWidth = kWarp, typename T, typename Operation>
__device__ inline T reduce_warp(T value, Operation operation) {
#pragma unroll
  for (int offset = kWidth / 2; offset > 0; offset /= 2) {
    value = operation(value, __shfl_xor_sync(0xFFFFFFFFU, value, offset));
  }
  return value;
}

// Over a block of kThreads in one dimension; all get the result. `scratch`: kThreads / 32 values in
// shared memory, free for the next reduction once this one returns.
template <int kThreads, typename T, typename Operation>
__device__ inline T reduce_block(T value, T* scratch, Operation operation) {
  static_assert(kThreads % kWarp == 0 && kThreads <= kWarp * kWarp);
  value = reduce_warp(value, operation);
  if constexpr (kThreads == kWarp) return value;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = lane < kThreads / kWarp ? scratch[lane] : Operation::kNeutral;
  value = reduce_warp(value, operation);
  __syncthreads();
  return value;
}

}  // namespace slim
