// Attention over pages in three steps, each a kernel: scores of queries and rows into scratch
// memory; mixtures of the rows of each *part* of a sequence, with the state of its softmax; and the
// joining of parts. Any keys meet any values this way: heads that score columns of their own and
// mix rows that they share need tiles of one shape for the first step and of another for the
// second.
//
// Work is cut as follows. A *chunk* is up to 64 tokens of one slice with the pages that any of them
// sees; its scores lie together. A *tile* is what one block of threads computes: some tokens of a
// chunk with some heads that use the same columns, by one part of the rows. Chunks, tiles and parts
// depend on their slice alone, so that results are the same to the bit in any company.
#pragma once

#include <cstdint>

#include "kernels/cuda/attend_state.cuh"
#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/row_codec.cuh"
#include "kernels/cuda/slices.cuh"

namespace slim {

constexpr int kAttendThreads = 256;
constexpr int kChunkTokens = 64;
constexpr int kMostParts = 64;    // of a slice
constexpr int kManyQueries = 64;  // of a tile, where queries are many
constexpr int kStrip = 128;       // columns that a block mixes where queries are few
constexpr int kManyStrip = 64;    // the same where they are many

struct AttendChunk {
  int32_t slice = 0;
  int32_t token = 0;  // its first, within the slice
  int32_t tokens = 0;
  int32_t page_begin = 0, page_end = 0;  // that any of its tokens sees
  int32_t part_pages = 1;
  int32_t first_part = 0, parts = 0;  // that these pages lie in
  int64_t scores = 0;                 // [tokens, heads, 64 * pages] from here in the scores
  int64_t mixtures = 0;               // [tokens, heads, parts] from here in the states
};

// What a block does: `tokens` tokens of a chunk by one part.
struct AttendItem {
  int32_t chunk = 0;
  int32_t token = 0;  // within the slice
  int32_t tokens = 0;
  int32_t part = 0;
};

// How heads make tiles: `group` heads use the same columns; a tile takes `heads` of them with up to
// `tokens` tokens.
struct HeadTiles {
  int32_t group = 1;
  int32_t heads = 1;
  int32_t tokens = 1;

  int32_t per_group() const { return (group + heads - 1) / heads; }
};

// A call, as its kernels see it.
struct AttendView {
  // Inputs.
  const float* queries;
  int64_t query_stride;
  PlaneView keys, values;
  const DeviceSlice* slices;
  const std::byte* const* pages;
  const AttendChunk* chunks;
  const CudaRotation* rotations;  // by regime, or none
  const float *key_gain, *key_bias, *slopes;
  DistanceBias bias;
  int64_t factors;  // offset of their plane, or -1
  int32_t heads, heads_per_key;
  int32_t key_width, value_width;
  int64_t key_stride, value_stride;
  float scale, cap;
  int64_t window;
  bool causal, merge, keep_lse;
  bool wide_queries;  // queries can be loaded four at a time
  bool key_octets;    // keys are read by octets alone, with no gain or bias (key_rows.cuh)
  bool turns;         // queries are not turned yet
  bool whole;         // every token's rows are one part: its mixture is the result
  // Scratch.
  float* scores;
  float* mixtures;  // [state, value_width], not divided by the sum
  AttendState* states;
  // Results.
  float* mixed;
  int64_t mixed_stride;
  float* lse;
  int64_t lse_stride;

  // Rows [x, y) that a token of a slice sees. Neither end falls from one token to the next.
  __host__ __device__ longlong2 visible(const DeviceSlice& slice, int64_t token) const {
    long long begin = 0;
    long long end = slice.rows;
    if (causal && slice.rows - slice.count + token + 1 < end) {
      end = slice.rows - slice.count + token + 1;
    }
    if (end < 0) end = 0;
    if (window > 0 && slice.position + token - window + 1 > slice.base) {
      begin = slice.position + token - window + 1 - slice.base;
    }
    return {begin < end ? begin : end, end};
  }
};

// The queries of a block: query i is that of token + i / heads, head + i % heads.
struct AttendTile {
  AttendChunk chunk;
  DeviceSlice slice;
  int32_t token, head, heads;
  int32_t count;                 // queries
  int32_t page_begin, page_end;  // of the part, within what the chunk sees
  int32_t part;

  __device__ AttendTile(const AttendView& view, const AttendItem& item, const HeadTiles& tiles,
                        int head_tile)
      : chunk(view.chunks[item.chunk]), slice(view.slices[chunk.slice]), part(item.part) {
    const int per_group = (tiles.group + tiles.heads - 1) / tiles.heads;
    const int within = head_tile % per_group * tiles.heads;
    head = head_tile / per_group * tiles.group + within;
    heads = min(tiles.heads, tiles.group - within);
    token = item.token;
    count = item.tokens * heads;
    page_begin = max(chunk.page_begin, part * chunk.part_pages);
    page_end = min(chunk.page_end, (part + 1) * chunk.part_pages);
  }

  __device__ int token_of(int query) const { return token + query / heads; }
  __device__ int head_of(int query) const { return head + query % heads; }
  __device__ int64_t rows() const {
    return static_cast<int64_t>(chunk.page_end - chunk.page_begin) * kPageRows;
  }
  // Of query i among the chunk's queries.
  __device__ int64_t index(const AttendView& view, int query) const {
    return static_cast<int64_t>(token_of(query) - chunk.token) * view.heads + head_of(query);
  }
  // Where the scores of a query by the rows of `page` and those after it begin.
  __device__ float* scores(const AttendView& view, int query, int page) const {
    return view.scores + chunk.scores + index(view, query) * rows() +
           static_cast<int64_t>(page - chunk.page_begin) * kPageRows;
  }
  __device__ int64_t state(const AttendView& view, int query) const {
    return chunk.mixtures + index(view, query) * chunk.parts + (part - chunk.first_part);
  }
  __device__ const std::byte* page(const AttendView& view, int number) const {
    return view.pages[slice.pages + number];
  }
};

// Where the result of a tile's query goes whose rows are one part. `sum`: of its weights.
struct WholeResult {
  float* mixed;
  float sum;
  bool seen;  // else there are no rows

  __device__ WholeResult(const AttendView& view, const AttendTile& tile, int query, float sum_)
      : sum(sum_) {
    const int token = tile.token_of(query);
    const longlong2 rows = view.visible(tile.slice, token);
    seen = rows.x < rows.y;
    mixed = view.mixed + (tile.slice.first + token) * view.mixed_stride +
            static_cast<int64_t>(tile.head_of(query)) * view.value_width;
  }
  __device__ float value(float mixture) const { return seen ? mixture / sum : 0.0F; }
  __device__ void write_lse(const AttendView& view, const AttendTile& tile, int query,
                            float maximum) const {
    if (view.lse == nullptr) return;
    const int64_t row = tile.slice.first + tile.token_of(query);
    view.lse[row * view.lse_stride + tile.head_of(query)] =
        seen ? AttendState{maximum, sum}.logarithm() : -CUDART_INF_F;
  }
};

// Lists of items on the card, for slices of few queries and of many.
struct AttendList {
  const AttendItem* items = nullptr;
  int64_t count = 0;
  HeadTiles tiles;
};

// attend_scores.cu and attend_mix.cu. `few`: the queries that a tile of the list has at most, 1, 4
// or 8.
void launch_few_scores(const AttendView& view, const RowFormat& format, const AttendList& list,
                       int few, CudaDevice& device);
void launch_many_scores(const AttendView& view, const RowFormat& format, const AttendList& list,
                        CudaDevice& device);
void launch_few_mixtures(const AttendView& view, const RowFormat& format, const AttendList& list,
                         int few, CudaDevice& device);
void launch_many_mixtures(const AttendView& view, const RowFormat& format, const AttendList& list,
                          CudaDevice& device);

}  // namespace slim
