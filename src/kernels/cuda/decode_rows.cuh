// The one-read kernel over rows that stand alone, for sm_90: scores of all heads, and the sum of
// rows that they weigh, from one read of a page. With X the 64 rows of a page, Q' the queries times
// the key map (their scale in log2 included) and P the probabilities:
//   S[row, head] = X Q'^T,   P = exp2(S - maximum),   A[column, head] += X^T P
// A cluster of one or two blocks shares the columns. A block holds its part of a page as slabs of
// 64 rows by 64 columns (warpgroup_products.cuh), which serve both products as they lie: rows along
// M for scores, along K for mixing. In each block
//   a warp loads slabs, in a ring;
//   a warpgroup scores them as they come: Q' is cut into two pieces of 16 bits, f16 by a power of
//     two for each head, so that products agree with f32's to about 2^-21 (bf16: 2^-16). The pieces
//     of a head are neighbouring columns of the product. Blocks send one another their sums; both
//     take the same exponentials, f16 with 2^12 at the running maximum (bf16: two pieces);
//   two warpgroups mix half of the slabs each, and free them.
// Slabs rather than pages are loaded and freed, so that a ring of two pages hardly runs dry.
#pragma once

#include <cuda.h>

#include <cstddef>

#include "kernels/cuda/decode_rows.h"
#include "kernels/cuda/decode_sealed.h"
#include "kernels/cuda/warpgroup_products.cuh"

namespace slim::cuda {

constexpr int kPageTokens = static_cast<int>(kPageRows);
constexpr int kSlabBytes = kPageTokens * kSlabRowBytes;
constexpr int kGroupThreads = 128;  // of a warpgroup
constexpr int kWeightBuffers = 2;
// Barriers of threads; 0 is __syncthreads.
constexpr int kQueriesReady = 1;
constexpr int kScoresReady = 2;
constexpr int kRowsCleared = 3;  // and 4: of a mixing group each
constexpr int kTotalsReady = 5;

template <typename T, int kSlabs_, int kCluster_>
struct RowShape {
  using Number = T;
  static constexpr int kSlabs = kSlabs_;  // of a block, in each page
  static constexpr int kCluster = kCluster_;
  static constexpr int kColumns = kSlabs * kSlabNumbers;
  static constexpr int kWidth = kColumns * kCluster;
  static constexpr int kHeads = kWidth / kHeadColumns;
  static constexpr int kQuads = (kHeads + 3) / 4;   // of heads: eight columns of scores
  static constexpr int kQuerySlab = kQuads * 1024;  // bytes of Q' for 64 columns
  static constexpr int kMixHeads = (kHeads + 7) / 8 * 8;
  static constexpr int kQueryPieces = 2;
  static constexpr int kPieces = std::is_same_v<T, __half> ? 1 : 2;  // of probabilities
  static constexpr int kWeightBytes = kMixHeads * kSlabRowBytes;     // of a piece
  static constexpr int kMostSlabs = 2 * kSlabs;                      // of the ring
  static_assert(kSlabs % 2 == 0 && kCluster <= 2);
};

// What is in shared memory beside the ring, which comes first.
template <class Shape>
struct RowShared {
  alignas(1024) std::byte queries[Shape::kSlabs][Shape::kQuerySlab];
  // Without the heads that pad the last one: products read there what follows, and their sums for
  // these heads are written nowhere. It makes room for another slab at Whisper large.
  alignas(1024) std::byte weights[kWeightBuffers * Shape::kPieces * Shape::kWeightBytes -
                                  (Shape::kMixHeads - Shape::kHeads) * kSlabRowBytes];
  // Sums of the other block, by quad of heads and thread.
  alignas(16) float2 parts[Shape::kCluster == 1 ? 1 : 2][Shape::kQuads][kGroupThreads];
  alignas(8) float shrink[kWeightBuffers][Shape::kMixHeads];  // where `renewed`
  int renewed[kWeightBuffers];
  float unscale[Shape::kQuads * 4];
  float reduced[4][Shape::kQuads * 4];
  // One over the sum of each head, of segments that are whole queries, in turn.
  alignas(8) float shares[2][Shape::kMixHeads];
  Barrier weights_full[kWeightBuffers], weights_free[kWeightBuffers];
  Barrier parts_full[2];
  Barrier full[Shape::kMostSlabs];
  Barrier free[Shape::kMostSlabs];  // the last: what follows it is padding

  static constexpr int bytes() { return offsetof(RowShared, free) + sizeof(free); }
  // Of the buffer, and within it a piece.
  __device__ __forceinline__ uint32_t weights_of(int buffer, int piece) const {
    return shared_address(weights) +
           static_cast<uint32_t>((buffer * Shape::kPieces + piece) * Shape::kWeightBytes);
  }
};

// Over the pages of a cluster's segments.
struct RowWalk {
  const RowSegment* next;
  const RowSegment* end;
  RowSegment segment;
  int page = 0;

  __device__ __forceinline__ RowWalk(const RowArguments& a, int cluster)
      : next(a.segments + a.cluster_segments[cluster]),
        end(a.segments + a.cluster_segments[cluster + 1]) {}
  __device__ __forceinline__ bool next_segment() {
    if (next == end) return false;
    segment = *next++;
    page = 0;
    return true;
  }
  __device__ __forceinline__ int rows_left() const { return segment.rows - page * kPageTokens; }
};

// 2^value; of sums of weights a result below 2^-126 is nothing.
__device__ __forceinline__ float exp_two(float value) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
  return result;
}

// Addresses of another block's memory, as remote_address() gives them.
__device__ __forceinline__ void put_at(uint32_t to, uint32_t barrier, const float4& value) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, "
      "[%5];" ::"r"(to),
      "r"(__float_as_uint(value.x)), "r"(__float_as_uint(value.y)), "r"(__float_as_uint(value.z)),
      "r"(__float_as_uint(value.w)), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void put_at(uint32_t to, uint32_t barrier, const float2& value) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::
          "r"(to),
      "r"(__float_as_uint(value.x)), "r"(__float_as_uint(value.y)), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void store_shared(uint32_t to, uint32_t bits) {
  asm volatile("st.shared.b16 [%0], %1;" ::"r"(to), "h"(static_cast<uint16_t>(bits)) : "memory");
}

template <int kThreads, int kBarrier>
__device__ __forceinline__ void sync_threads() {
  asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kThreads) : "memory");
}
// Whether any of the threads that score says so.
__device__ __forceinline__ bool any_of_scorers(bool mine) {
  uint32_t any;
  asm volatile(
      "{ .reg .pred mine, any; setp.ne.u32 mine, %1, 0;\n"
      "bar.red.or.pred any, %2, %3, mine; selp.u32 %0, 1, 0, any; }"
      : "=r"(any)
      : "r"(static_cast<uint32_t>(mine)), "n"(kScoresReady), "n"(kGroupThreads)
      : "memory");
  return any != 0;
}

template <class Shape>
struct RowBlock {
  const RowArguments& arguments;
  RowShared<Shape>& shared;
  std::byte* ring;
  int ring_slabs;
  int rank;
  int lane;
  int page = 0;  // that the block has reached
  int slab = 0;  // its first in the ring
  int lap = 0;   // parity of the ring's rounds

  __device__ __forceinline__ int buffer() const { return page % kWeightBuffers; }
  __device__ __forceinline__ int buffer_phase() const { return page / kWeightBuffers & 1; }
  // Of slab `i` of this page.
  __device__ __forceinline__ int place(int i) const {
    return slab + i < ring_slabs ? slab + i : slab + i - ring_slabs;
  }
  __device__ __forceinline__ int phase(int i) const {
    return slab + i < ring_slabs ? lap : lap ^ 1;
  }
  __device__ __forceinline__ uint32_t address(int i) const {
    return shared_address(ring) + static_cast<uint32_t>(place(i) * kSlabBytes);
  }
  __device__ __forceinline__ void advance() {
    ++page;
    slab += Shape::kSlabs;
    if (slab < ring_slabs) return;
    slab -= ring_slabs;
    lap ^= 1;
  }
};

__device__ __forceinline__ void copy_slab(uint32_t to, const CUtensorMap& map, int column,
                                          int place, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(&map), "r"(column), "r"(0), "r"(place), "r"(shared_address(barrier))
      : "memory");
}

// By one thread.
template <class Shape>
__device__ __forceinline__ void load_slabs(RowBlock<Shape> block, RowWalk walk,
                                           const CUtensorMap& map) {
  const int32_t* const places = block.arguments.places;
  const int first = block.rank * Shape::kColumns;
  bool again = false;  // whether the ring has been filled once
  while (walk.next_segment()) {
    int next = places[walk.segment.first_place];
    for (int page = 0; page < walk.segment.page_count; ++page) {
      const int place = next;
      // Asked for a page ahead.
      if (page + 1 < walk.segment.page_count) next = places[walk.segment.first_place + page + 1];
      for (int i = 0; i < Shape::kSlabs; ++i) {
        const int at = block.place(i);
        if (at == 0 && (block.page > 0 || i > 0)) again = true;
        if (again) wait_barrier(&block.shared.free[at], block.phase(i) ^ 1);
        expect_bytes(&block.shared.full[at], kSlabBytes);
        copy_slab(block.address(i), map, first + i * kSlabNumbers, place, &block.shared.full[at]);
      }
      block.advance();
    }
  }
}

}  // namespace slim::cuda
