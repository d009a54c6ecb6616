// Int16RowOps: attention's two products over rows of i16 as they lie, of integers alone. Queries
// are rounded as rows are (integer_scale in tensor/row_format.h), so that a score's sum is exact
// in 32 bits whatever the width; weights are, for a tile of rows at a time:
//   u = weight * scale of the row,   p = round(u / t),   t = max(sum u / 65472, max u / 32767)
// so that sum p <= 65536 and every sum of p times 16-bit integers stays below 2^31. A weight is off
// by t / 2, in the scale of its row: 2^-17 of what the tile weighs, or 2^-16 of its largest.
#pragma once

#include <cstdint>

#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/targets.h"
#include "tensor/row_format.h"

namespace slim {

constexpr int64_t kRoundedQueries = 6;   // at a time, at most
constexpr int64_t kRoundedColumns = 32;  // rows have a multiple of so many

// weights[q][s] = factors[q] * scales[s] * (queries[q] . row s), for begin <= s < end, where begin
// is a multiple of 16; weights up to the next multiple of 16 may be written as well.
struct Int16Scoring {
  const int16_t* const* queries = nullptr;
  const float* factors = nullptr;
  float* const* weights = nullptr;
  const int16_t* rows = nullptr;  // of a tile
  int64_t stride = 0;
  const float* scales = nullptr;  // [kPageRows] of the tile's rows
  int64_t begin = 0;
  int64_t end = 0;
  int64_t width = 0;
};

// mixed[q][c] += factors[q] * sum of weights[q][s] * row s [c], for begin <= s < end and c < width.
// Where begin or end is odd the neighbouring row of the same pair is read as well.
struct Int16Mixing {
  const int16_t* const* weights = nullptr;  // by row of the tile; zeros for rows not seen
  const float* factors = nullptr;
  float* const* mixed = nullptr;
  const int16_t* rows = nullptr;
  int64_t stride = 0;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t width = 0;
};

// Rows [begin, end) of a tile as they lie, of `width` integers and their scale.
struct Int16Tile {
  const int16_t* rows = nullptr;
  int64_t stride = 0;  // integers from one row to the next
  int64_t begin = 0;
  int64_t end = 0;
  int64_t width = 0;
};

struct Int16RowOps {
  // `count` numbers, a multiple of kRoundedColumns, to integers; returns their scale.
  float (*round)(const float* from, int64_t count, int16_t* to) = nullptr;
  // scales[s]: that of row s, or 0 where s is not in [begin, end); shares[s]: the same divided by
  // the largest that is not NaN, which is returned. [kPageRows]
  float (*gather_scales)(const Int16Tile& tile, float* scales, float* shares) = nullptr;
  // The weights of a tile, [kPageRows], for rows of these scales, the largest of which is 1 (then
  // no product that matters is subnormal); returns t. A weight of 0 stays 0 whatever the scale.
  // NaN, with integers 0, if a product is NaN; 0 if their sum is below 2^-100.
  float (*round_weights)(const float* weights, const float* scales, int16_t* to) = nullptr;
  // Of `queries` queries, 1 to kRoundedQueries.
  void (*score)(const Int16Scoring& scoring, int64_t queries, Prefetch& prefetch) = nullptr;
  void (*mix)(const Int16Mixing& mixing, int64_t queries, Prefetch& prefetch) = nullptr;
};

// The table for a target.
Int16RowOps int16_row_ops(Target target);

}  // namespace slim
