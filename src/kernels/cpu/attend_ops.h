// AttendOps: the vector code of attention over paged rows, one table per instruction set. It works
// on blocks that fit a core's cache, knows no threads and allocates nothing; attend.cpp cuts
// operations into such blocks and joins the results.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/attend_state.h"
#include "kernels/cpu/int16_rows.h"
#include "kernels/cpu/targets.h"
#include "kernels/kernels.h"

namespace slim {

// Rows that are decoded, scored, weighed and mixed together: a page, whose rows lie in one piece.
constexpr int64_t kTileRows = kPageRows;
// Rows of a tile that are decoded and scored by all queries before the next.
constexpr int64_t kStripRows = 16;
// Columns of values that are decoded together, then mixed by all queries: 16 KB of a tile.
constexpr int64_t kMixColumns = 64;

// Queries from which on keys are transposed, so that scores are sums in lanes and need no folding.
constexpr int64_t kManyQueries = 12;
// Queries from which on values are copied, so that the columns in use lie together whatever the
// width of a row. (At 20 queries of a row of 1280 f16 the copy cost 12 % of the whole.)
constexpr int64_t kCopiedQueries = 48;
// Floats from one column of transposed keys to the next.
constexpr int64_t kColumnStride = kTileRows + 16;

// Some rows of a tile, counted from its first.
struct Seen {
  int64_t begin = 0;
  int64_t end = 0;

  bool none() const { return begin >= end; }
};

// Whether values are the rows that keys are: then one read serves both.
inline bool same_rows(const Attend& step) {
  return step.keys.offset == step.values.offset && step.keys.format == step.values.format;
}

// Some consecutive tokens of a slice with some of their heads: R = tokens * heads queries. Heads
// that mix the same columns are never parted.
struct AttendBlock {
  const Attend* step = nullptr;
  const Slice* slice = nullptr;
  int64_t first = 0;  // the first token, counted in the slice
  int64_t tokens = 0;
  int64_t first_head = 0;
  int64_t heads = 0;

  int64_t queries() const { return tokens * heads; }
  // Rows that the query at token `i` of this block sees: [hidden(i), visible(i)), if any.
  int64_t visible(int64_t i) const {
    if (!step->causal) return slice->rows;
    return std::max<int64_t>(0, slice->rows - slice->count + first + i + 1);
  }
  int64_t hidden(int64_t i) const {
    if (step->window == 0) return 0;
    return std::max<int64_t>(0, slice->position + first + i + 1 - step->window - slice->base);
  }
  bool sees_any(int64_t i) const { return hidden(i) < visible(i); }
  // Heads that mix the same columns are one group: all heads, or those of one key head.
  int64_t group_heads() const { return step->value_stride == 0 ? heads : step->heads_per_key; }
  // Heads that are scored, strip of rows by strip, before the first of them mixes: rows are then
  // read in the order they lie in. With many queries a group is enough at a time.
  int64_t batch_heads() const {
    return tokens * group_heads() < kManyQueries ? heads : group_heads();
  }
  // Queries are numbered by group, then token, then head of the group: those of a group lie
  // together, and so do those of a group that see the same rows. Heads count from first_head.
  int64_t index(int64_t token, int64_t head) const {
    const int64_t width = group_heads();
    return (head / width * tokens + token) * width + head % width;
  }
  const float* query(int64_t token, int64_t head) const {
    return step->queries.row<float>(slice->first + first + token) +
           (first_head + head) * step->key_width;
  }
};

// What R queries got from some of their rows: states [R] and unnormalised mixtures
// [R, value_width], in the order of AttendBlock::index.
struct AttendPartial {
  SoftmaxState* states = nullptr;
  float* mixed = nullptr;
};

// Floats from one decoded row to the next. The odd cache line keeps rows of 512 or 1024 columns
// from falling into the same few sets of the first-level cache; a group that is decoded as a whole
// may begin 31 columns early and end 31 late.
constexpr int64_t tile_stride(int64_t width) {
  return (width + 2 * kGroupSize + 15) / 16 * 16 + 16;
}

// Whether a tile of keys that needs decoding is decoded as a whole and serves as values, too: where
// heads mix whole rows, and would decode each column twice. Up to 1536 columns: 393 KB, for the
// second-level cache.
inline bool keeps_tile(const Attend& step) {
  return step.keys.format.width <= 1536 && same_rows(step) && step.value_stride == 0;
}

// Whether queries and weights may be rounded to i16, as rows are (Inputs::i16 in kernels.h).
inline bool rounds_to_int16(const Attend& step) {
  const RowFormat& rows = step.keys.format;
  return step.inputs == Inputs::i16 && rows.type == DType::i16 && same_rows(step) &&
         step.key_stride == 0 && step.value_stride == 0 && step.key_width == step.value_width &&
         step.key_width % kRoundedColumns == 0 && step.rotations.empty() &&
         step.key_gain == nullptr && step.key_bias == nullptr;
}
// Integers from one rounded query to the next: the odd cache line as in tile_stride().
constexpr int64_t rounded_stride(int64_t width) { return width + 32; }

// Working memory of one block, whose groups have G = tokens * group_heads queries, batches B.
struct AttendMemory {
  // Where nothing is rounded (else not there):
  float* tile = nullptr;     // [kTileRows, tile_stride(width)], decoded, where it is kept
  float* keys = nullptr;     // [kStripRows, tile_stride(key_width)], decoded and turned
  float* columns = nullptr;  // [key_width, kColumnStride]: keys, transposed
  float* values = nullptr;   // [kTileRows, tile_stride(kMixColumns)], decoded
  float* turns = nullptr;    // [kTileRows, key_width]: cos and sin of the tile's rows
  float* turned = nullptr;   // [R, key_width]: queries, turned and scaled
  // Always:
  float* weights = nullptr;             // [G, kTileRows]
  const float** queries = nullptr;      // [R] queries in the order that scoring takes them,
  float** query_weights = nullptr;      // [R] and their rows of `weights`
  const float** mix_weights = nullptr;  // [G] the same for queries that mix the tile,
  float** mixed = nullptr;              // [G] their mixtures,
  Seen* mix_rows = nullptr;             // [G] and the rows they see
  // Where both are rounded to i16 (else not there):
  int16_t* rounded_queries = nullptr;        // [R, rounded_stride], in the order of `queries`,
  const int16_t** rounded_rows = nullptr;    // [R] pointers to them
  float* query_factors = nullptr;            // [R] and their scales, times the step's;
  int16_t* rounded_weights = nullptr;        // [G, kTileRows],
  const int16_t** rounded_mixing = nullptr;  // [G] those of queries that mix the tile
  float* mix_factors = nullptr;              // [G] and their scales;
  float* row_scales = nullptr;               // [kTileRows] of the tile's rows that are seen,
  float* row_shares = nullptr;               // [kTileRows] and as shares of the largest
  Int16RowOps integers;
};

// Rows [begin, end) of a block; begin is a multiple of kPageRows. What follows them up to `ahead`
// is going to be read by the same thread, and then the first rows of the slice `next`, if any.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t ahead = 0;
  const Slice* next = nullptr;
};

struct AttendOps {
  // Fills `partial`.
  void (*attend)(const AttendBlock& block, const RowRange& range, const AttendMemory& memory,
                 const AttendPartial& partial) = nullptr;
};

// The table for a target.
AttendOps attend_ops(Target target);

}  // namespace slim
