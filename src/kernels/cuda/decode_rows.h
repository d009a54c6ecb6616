// The one-read kernel over rows that stand alone and that every head scores and mixes whole (layer
// inputs, encoder outputs), of f16 or bf16, for sm_90: its arguments, and its entries by shape.
// Work is cut as for sealed keys (decode_sealed.h): a cluster of blocks walks a run of pages, each
// segment of which leaves an unnormalised sum for merge_segments() to add up.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace slim::cuda {

constexpr int kRowThreads = 512;  // of a block
constexpr int kMostSlabs = 26;        // that a block holds

// Neighbouring pages of one sequence, for one query.
struct RowSegment {
  int32_t first_place = 0;  // in RowArguments::places
  int32_t page_count = 0;
  int32_t rows = 0;   // in these pages; the last page may be filled in part
  int32_t token = 0;  // row of the queries
  int32_t slot = 0;   // of the results
};

struct RowArguments {
  const float* queries = nullptr;  // [T, H * e]
  int64_t query_stride = 0;
  const RowSegment* segments = nullptr;
  const int32_t* cluster_segments = nullptr;  // [clusters + 1]: where each cluster's begin
  const int32_t* places = nullptr;            // of pages: third coordinate of the tensor map
  float* sums = nullptr;                      // [slots, H, e]
  float2* states = nullptr;                   // [slots, H]: maximum (of log2) and sum
  float scale = 1.0F;
  int32_t heads = 0;            // of a slot: H, or of several tokens that share rows
  int32_t heads_per_token = 0;  // H
};

}  // namespace slim::cuda
