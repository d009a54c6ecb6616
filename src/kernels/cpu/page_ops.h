// PageOps: the vector code that writes and reads cached rows, one table per instruction set. Its
// functions know no threads and allocate nothing; store_rows.cpp and seal_pages.cpp share the work
// out.
#pragma once

#include <cstdint>

#include "kernels/cpu/targets.h"
#include "tensor/row_format.h"

namespace slim {

// Rows that are sealed together: enough for 512-bit sums to hide their latency, few enough that the
// sums of 128 directions (16 KB) stay in the first-level cache.
constexpr int64_t kSealRows = 32;

// Rows [first, first + kSealRows) of a page to be sealed.
struct SealPart {
  const RowFormat* format = nullptr;
  const float* rows = nullptr;  // all of the page's
  const Shaping* shaping = nullptr;
  std::byte* page = nullptr;
  int64_t first = 0;
  float* scratch = nullptr;  // [seal_floats], 64-byte aligned
};

// Working memory of a SealPart.
inline int64_t seal_floats(const RowFormat& format, const Shaping* shaping) {
  const int64_t numbers = (kSealRows + 1) * format.width + 64;
  if (shaping == nullptr) return numbers;
  return numbers + kSealRows * format.width + (kSealRows + 2) * (shaping->rank + 64);
}

struct PageOps {
  // encode_row of tensor/row_format.h, bit for bit.
  void (*encode)(const RowFormat& format, const float* values, std::byte* row) = nullptr;
  // Row `row` of the plane at `page`, as decode_row or decode_sealed_row give it.
  void (*decode_row)(const RowFormat& format, const std::byte* page, int64_t row,
                     float* values) = nullptr;
  // Channel scales of columns [begin, end), into a page of Scaling::channel.
  void (*seal_scales)(const RowFormat& format, const float* rows, int64_t begin, int64_t end,
                      std::byte* page) = nullptr;
  // All else of a page's rows; where channels have scales they are there already.
  void (*seal_rows)(const SealPart& part) = nullptr;
};

// The table for a target.
PageOps page_ops(Target target);

}  // namespace slim
