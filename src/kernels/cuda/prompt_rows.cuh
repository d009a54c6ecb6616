// What attention of prompts (attend_prompt.cu) reads: the keys and values of a call's heads,
// decoded, turned and taken apart once for all queries into pairs of f16 numbers,
//   value 2^e = high + low,   high = f16(value 2^e),   low = f16(value 2^e - high),
// with e such that the largest of a *tile* (64 rows of one head) is in [2^14, 2^15): 22 bits of it,
// and never fewer than 2^-39 of that largest. Tensor cores multiply such numbers exactly. (Where
// rounding to 11 bits was asked for, high alone.)
//
// A *run* is pages of rows that some slices of a call share. Tiles of keys and of values lie in
// scratch memory, [page, key head][high, low][64 rows][columns of a tile], or as slabs of 64
// columns (warpgroup_products.cuh), [page, key head][high, low][slab].
#pragma once

#include <cstdint>

#include "kernels/cuda/attend_parts.cuh"
#include "kernels/cuda/half_pairs.cuh"

namespace slim {

constexpr int kPromptThreads = 256;

struct PromptRun {
  int64_t pages = 0;  // address of the rows' page 0, in the view's
  int64_t base = 0;   // position of row 0
  int32_t regime = 0;
  int32_t rows = 0;  // that there are, counted from page 0
  int32_t page_begin = 0, page_end = 0;
  int32_t place = 0;  // of page_begin among the pages in scratch
};

// Which page of which run each of the pages in scratch is.
struct PromptPage {
  int32_t run = 0;
  int32_t page = 0;
};

struct PromptView {
  AttendView call;
  const PromptRun* runs;
  const PromptPage* pages;
  int32_t count;  // pages
  int32_t key_heads;
  int32_t columns;     // of a tile: key_width filled up with zeros
  int32_t parts;       // 2, or high alone
  bool slabs;          // columns are a multiple of 64
  uint16_t* keys;      // tiles
  uint16_t* values;    // tiles
  float* key_units;    // [page, key head]: 2^-e
  float* value_tops;   // [page, key head]: the largest magnitude that is finite
  uint32_t* odd_keys;  // [page, key head]: 1 if a key is NaN or infinite
  uint32_t* odd;       // the same of values, where it counts as 0 here

  __host__ __device__ int64_t tile_numbers() const { return parts * kPageRows * columns; }
  // Where columns `column` to `column` + 7, a multiple of 8, of a row are in a tile's part.
  __device__ int64_t octet(int row, int column) const {
    if (!slabs) return int64_t{row} * columns + column;
    return column / 64 * 64 * kPageRows + row * 64 + (column % 64 / 8 ^ row % 8) * 8;
  }
  __device__ int64_t tile(int place, int head) const {
    return static_cast<int64_t>(place) * key_heads + head;
  }
  __device__ const std::byte* page(const PromptRun& run, int page) const {
    return call.pages[run.pages + page];
  }
};

// Of values below 2^15: what f16 numbers hold of them. What is not finite is all high.
__device__ inline void take_halves(float value, uint16_t& high, uint16_t& low) {
  const __half nearest = __float2half_rn(value);
  high = __half_as_ushort(nearest);
  low = isfinite(value) ? __half_as_ushort(__float2half_rn(value - __half2float(nearest)))
                        : uint16_t{0};
}

// Fills the tiles of all pages.
void take_rows_apart(CudaDevice& device, const PromptView& view, const RowFormat& keys,
                     const RowFormat& values);
struct PromptItem;
// Whether the card multiplies with warpgroups (warpgroup_prompts.cu), of tiles that are slabs.
bool has_prompt_groups(const CudaDevice& device);
void attend_prompt_groups(CudaDevice& device, const PromptView& view, const PromptItem* items,
                          int64_t count);
// Adds to the mixtures of the queries of `items` what values that are not finite make of them.
void add_odd_values(CudaDevice& device, const PromptView& view, const RowFormat& values,
                    const PromptItem* items, int64_t count);

}  // namespace slim
