// What the one-read kernels leave of queries that they read in several segments is added up here,
// and, for Attend::merge, with what is there already, by log-sum-exp.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/cuda_device.h"

namespace slim::cuda {

struct Merge {
  const float* sums;          // [slots, heads, width], of weights not divided by their sum
  const float2* states;       // [slots, heads]: maximum (of log2, kLift above 1) and sum
  const int32_t* tokens;      // [tokens]: rows of the result
  const int32_t* first_slot;  // [tokens + 1]: where each one's segments begin
  int heads;
  int width;
  float* mixed;
  int64_t mixed_stride;
  float* lse;  // or null
  int64_t lse_stride;
  bool merge;
  bool keep_lse;  // of a merge: lse is to hold that over both
};

void merge_segments(CudaDevice& device, const Merge& merge, int64_t tokens);

}  // namespace slim::cuda
