// The one-read kernel over rows that stand alone and that every head scores and mixes whole (layer
// inputs, encoder outputs), of f16 or bf16, for sm_90: its arguments, and its entries by shape. A
// cluster of blocks walks a run of pages (row_work.h); each segment of it leaves an unnormalised
// sum for merge_segments() to add up, or, if it is all of a query, the result itself.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/row_work.h"

namespace slim::cuda {

constexpr int kRowThreads = 512;  // of a block
constexpr int kHeadColumns = 64;  // of keys: a row of e columns has e / 64 heads

struct RowArguments {
  const float* queries = nullptr;  // [T, H * e]
  int64_t query_stride = 0;
  const RowSegment* segments = nullptr;
  const int32_t* cluster_segments = nullptr;  // [clusters + 1]: where each cluster's begin
  const int32_t* places = nullptr;            // of pages: third coordinate of the tensor map
  float* sums = nullptr;                      // [slots, H, e]
  float2* states = nullptr;                   // [slots, H]: maximum (of log2) and sum
  float* mixed = nullptr;                     // [T, H * e]
  int64_t mixed_stride = 0;
  float scale = 1.0F;
};

// Where pages lie, as a bulk copy wants it: at base + unit * number, for one unit.
struct RowPlaces {
  const std::byte* base = nullptr;
  int64_t unit = 0;  // bytes
  std::vector<int32_t> numbers;
  int64_t largest = 0;  // of the numbers

  RowPlaces() = default;
  explicit RowPlaces(std::span<const std::byte* const> pages);
  // Whether a copy takes them: units of 16 bytes, numbers of 31 bits.
  bool fit() const;
};

struct RowLaunch {
  DType type = DType::f16;
  int64_t width = 0;  // e
  int64_t clusters = 0;
};

bool has_rows(DType type, int64_t width, int64_t heads);
// How many clusters of this shape the card runs at once (CudaDevice: the current one).
int64_t resident_row_clusters(const RowLaunch& launch);
// The rows begin `offset` bytes into their pages.
void decode_rows(CudaDevice& device, const RowLaunch& launch, const RowPlaces& places,
                 int64_t offset, const RowArguments& arguments);

// attend_shared() over such rows, or false if it must be done otherwise.
bool attend_rows(CudaDevice& device, const Attend& arguments);

// A shape's kernel and what it needs of shared memory.
struct RowEntry {
  int64_t width = 0;
  int cluster = 0;  // blocks
  int slabs = 0;    // of a block, in each page
  const void* kernel = nullptr;
  int fixed_bytes = 0;
};
// decode_rows_f16.cu and decode_rows_bf16.cu. Null if there is no such shape.
const RowEntry* find_rows_f16(int64_t width);
const RowEntry* find_rows_bf16(int64_t width);

}  // namespace slim::cuda
