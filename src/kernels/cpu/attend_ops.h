// AttendOps: the vector code of paged rows, one table per instruction set. Its functions work on
// blocks that fit a core's cache, know no threads and allocate nothing; attend.cpp cuts operations
// into such blocks and joins the results.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/attend_state.h"
#include "kernels/cpu/targets.h"
#include "kernels/kernels.h"

namespace slim {

// Rows that are decoded, scored, weighed and mixed together: a page, whose rows lie in one piece.
constexpr int64_t kTileRows = 64;

// Whether values are the rows that keys are: then one read serves both.
inline bool same_rows(const Attend& step) {
  return step.keys.offset == step.values.offset && step.keys.format == step.values.format;
}

// Some consecutive tokens of a slice, all their heads: R = tokens * heads queries.
struct AttendBlock {
  const Attend* step = nullptr;
  const Slice* slice = nullptr;
  int64_t first = 0;  // the first token, counted in the slice
  int64_t tokens = 0;

  int64_t queries() const { return tokens * step->heads; }
  // Rows that the query at token `i` of this block sees: [0, visible(i)).
  int64_t visible(int64_t i) const {
    if (!step->causal) return slice->rows;
    return std::max<int64_t>(0, slice->rows - slice->count + first + i + 1);
  }
  // Heads that mix the same columns are one group: all heads, or those of one key head.
  int64_t group_heads() const {
    return step->value_stride == 0 ? step->heads : step->heads_per_key;
  }
  // Queries are numbered by group, then token, then head of the group: those of a group lie
  // together, and so do those of a group that see the same rows.
  int64_t index(int64_t token, int64_t head) const {
    const int64_t width = group_heads();
    return (head / width * tokens + token) * width + head % width;
  }
};

// What R queries got from some of their rows: states [R] and unnormalised mixtures
// [R, value_width], in the order of AttendBlock::index.
struct AttendPartial {
  SoftmaxState* states = nullptr;
  float* mixed = nullptr;
};

// Working memory of one block.
struct AttendMemory {
  float* keys = nullptr;            // [kTileRows, tile_stride(keys width)], if decoded at all
  float* values = nullptr;          // the same of values; unused where they are the keys
  float* weights = nullptr;         // [R, kTileRows]
  const float** queries = nullptr;  // [R] queries in the order that scoring takes them,
  float** query_weights = nullptr;  // [R] and their rows of `weights`
};

// Floats from one decoded row to the next. The odd cache line keeps rows of 512 or 1024 columns
// from falling into the same few sets of the first-level cache.
constexpr int64_t tile_stride(int64_t width) { return (width + 15) / 16 * 16 + 16; }

// Rows [begin, end) of a block; begin is a multiple of kPageRows. What follows them up to `ahead`
// is going to be read by the same thread.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t ahead = 0;
};

struct AttendOps {
  // Fills `partial`.
  void (*attend)(const AttendBlock& block, const RowRange& range, const AttendMemory& memory,
                 const AttendPartial& partial) = nullptr;
  // encode_row of tensor/row_format.h, bit for bit.
  void (*encode)(const RowFormat& format, const float* values, std::byte* row) = nullptr;
};

// The table for a target.
AttendOps attend_ops(Target target);

}  // namespace slim
