// The scoring warpgroup of the one-read kernel over rows (decode_rows.cuh), and its queries.
#pragma once

#include "kernels/cuda/decode_rows.cuh"

namespace slim::cuda {

template <typename T>
__device__ __forceinline__ uint32_t number_bits(float value) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half_as_ushort(__float2half_rn(value));
  } else {
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  }
}
template <typename T>
__device__ __forceinline__ float number_value(uint32_t bits) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
  } else {
    return __uint_as_float(bits << 16);
  }
}

// A power of two that brings `largest` to [2^13, 2^14): f16 holds it and, 2^28 below, has all its
// digits. 1 for 0 and what is not finite.
__device__ __forceinline__ float scale_to_half(float largest) {
  const int exponent = static_cast<int>(__float_as_uint(largest) >> 23);  // plus 127
  if (exponent == 0 || exponent == 255) return 1.0F;
  return __uint_as_float(static_cast<uint32_t>(min(254, max(1, 127 + 13 + 127 - exponent))) << 23);
}

// Columns of one query, in the lanes of a warp.
template <class Shape>
struct QueryColumns {
  static constexpr int kFours = (Shape::kColumns / 4 + 31) / 32;
  float4 fours[kFours];

  __device__ __forceinline__ static bool holds(int i, int lane) {
    return Shape::kColumns % 128 == 0 || 4 * (lane + 32 * i) < Shape::kColumns;
  }

  __device__ __forceinline__ void fetch(const RowBlock<Shape>& block, int token, int head) {
    const RowArguments& a = block.arguments;
    const auto* from = reinterpret_cast<const float4*>(a.queries + token * a.query_stride +
                                                       static_cast<int64_t>(head) * Shape::kWidth +
                                                       block.rank * Shape::kColumns);
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      fours[i] = holds(i, block.lane) ? from[block.lane + 32 * i] : float4{};
    }
  }

  __device__ __forceinline__ float largest() const {
    float most = 0.0F;
#pragma unroll
    for (const float4& four : fours) {
      most = fmaxf(most,
                   fmaxf(fmaxf(fabsf(four.x), fabsf(four.y)), fmaxf(fabsf(four.z), fabsf(four.w))));
    }
    for (int step = 1; step < 32; step *= 2) most = fmaxf(most, __shfl_xor_sync(~0U, most, step));
    return most;
  }

  // As pieces in neighbouring rows of slabs.
  __device__ __forceinline__ void write(const RowBlock<Shape>& block, int head) const {
    using T = typename Shape::Number;
    const float factor = block.arguments.scale * 1.44269504088896341F;
    const float scale = std::is_same_v<T, __half> ? scale_to_half(largest() * factor) : 1.0F;
    if (block.lane == 0) block.shared.unscale[head] = 1.0F / scale;
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      if (!holds(i, block.lane)) continue;
      const int column = 4 * (block.lane + 32 * i);
      float rest[4] = {fours[i].x * factor, fours[i].y * factor, fours[i].z * factor,
                       fours[i].w * factor};
      for (float& value : rest) value *= scale;
      std::byte* const slab = block.shared.queries[column / kSlabNumbers];
#pragma unroll
      for (int piece = 0; piece < Shape::kQueryPieces; ++piece) {
        uint32_t bits[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          bits[k] = number_bits<T>(rest[k]);
          rest[k] -= number_value<T>(bits[k]);
        }
        *reinterpret_cast<uint2*>(
            slab + slab_byte(Shape::kQueryPieces * head + piece, 2 * (column % kSlabNumbers))) = {
            bits[0] | bits[1] << 16, bits[2] | bits[3] << 16};
      }
    }
  }
};

// Writes Q' of a segment; each of `warps` takes a run of heads, a few at a time.
template <class Shape>
__device__ __forceinline__ void prepare_queries(const RowBlock<Shape>& block, int token, int warp,
                                                int warps) {
  constexpr int kTogether = 12 / QueryColumns<Shape>::kFours;
  constexpr int kHeads = Shape::kHeads;
  const int end = kHeads * (warp + 1) / warps;
#pragma unroll 1
  for (int head = kHeads * warp / warps; head < end; head += kTogether) {
    QueryColumns<Shape> columns[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) columns[i].fetch(block, token, min(head + i, end - 1));
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (head + i < end) columns[i].write(block, head + i);
    }
  }
  order_shared_writes();
}

// A thread's scores: of heads 4 quad + lane % 4, rows `row` and row + 8 of the page.
template <class Shape>
struct RowScores {
  static constexpr int kQuads = Shape::kQuads;
  int row;
  float tops[kQuads];
  float sums[kQuads];  // of this thread's probabilities
  float unscale[kQuads];

  __device__ __forceinline__ void begin(const RowBlock<Shape>& block) {
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      tops[quad] = -INFINITY;
      sums[quad] = 0.0F;
      unscale[quad] = block.shared.unscale[4 * quad + block.lane % 4];
    }
  }

  // Of this block's columns.
  __device__ __forceinline__ void multiply(const RowBlock<Shape>& block,
                                           float (&scores)[kQuads][2]) const {
    float d[4 * kQuads];
    const uint64_t queries = operand(shared_address(block.shared.queries));
#pragma unroll 1
    for (int i = 0; i < Shape::kSlabs; ++i) {
      wait_barrier(&block.shared.full[block.place(i)], block.phase(i));
      const uint64_t rows = operand(block.address(i));
      order_registers();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        multiply_slabs<typename Shape::Number, false>(
            d, operand_after(rows, 32 * k), operand_after(queries, i * Shape::kQuerySlab + 32 * k),
            i + k);
      }
      commit_products();
    }
    wait_products<0>();
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      scores[quad][0] = (d[4 * quad] + d[4 * quad + 1]) * unscale[quad];
      scores[quad][1] = (d[4 * quad + 2] + d[4 * quad + 3]) * unscale[quad];
    }
  }

  // Adds the other block's. That it has sent a page's means that it has read those of the page
  // before, so that two buffers do.
  __device__ __forceinline__ void exchange(const RowBlock<Shape>& block,
                                           float (&scores)[kQuads][2]) const {
    if constexpr (Shape::kCluster == 1) return;
    const int thread = static_cast<int>(threadIdx.x);
    const int buffer = block.page & 1;
    Barrier* const full = &block.shared.parts_full[buffer];
    const uint32_t to = remote_address(block.shared.parts[buffer][0] + thread, block.rank ^ 1);
    const uint32_t barrier = remote_address(full, block.rank ^ 1);
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      put_at(to + quad * kGroupThreads * static_cast<uint32_t>(sizeof(float2)), barrier,
             float2{scores[quad][0], scores[quad][1]});
    }
    wait_barrier(full, block.page / 2 & 1);
    if (thread == 0) expect_bytes(full, static_cast<int>(sizeof(block.shared.parts[0])));
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const float2 other = block.shared.parts[buffer][quad][thread];
      scores[quad][0] += other.x;
      scores[quad][1] += other.y;
    }
  }

  // New maxima for the heads that need one, and what becomes of all that was taken from the old.
  __device__ __forceinline__ void renew(const RowBlock<Shape>& block,
                                        const float (&scores)[kQuads][2]) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      float most = fmaxf(scores[quad][0], scores[quad][1]);
      for (int step = 4; step < 32; step *= 2) {
        most = fmaxf(most, __shfl_xor_sync(~0U, most, step));
      }
      if (block.lane < 4) block.shared.reduced[warp][4 * quad + block.lane] = most;
    }
    sync_threads<kGroupThreads, kScoresReady>();
    const int buffer = block.buffer();
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const int head = 4 * quad + block.lane % 4;
      float most = block.shared.reduced[0][head];
      for (int i = 1; i < 4; ++i) most = fmaxf(most, block.shared.reduced[i][head]);
      float shrink = 1.0F;
      if (most > tops[quad] + kLag) {
        shrink = exp2f(tops[quad] - most);  // 0 at first
        tops[quad] = most;
        sums[quad] *= shrink;
      }
      if (threadIdx.x < 4 && head < Shape::kMixHeads) block.shared.shrink[buffer][head] = shrink;
    }
  }

  // Exponentials of scores, into the buffer of weights.
  __device__ __forceinline__ void weigh(const RowBlock<Shape>& block,
                                        const float (&scores)[kQuads][2]) {
    const uint32_t weights = block.shared.weights_of(block.buffer(), 0);
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const int head = 4 * quad + block.lane % 4;
      const uint32_t to = weights + static_cast<uint32_t>(slab_byte(head, 2 * row));
      const float from = tops[quad] == -INFINITY ? 0.0F : tops[quad] - kLift;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float rest = exp_two(scores[quad][i] - from);
#pragma unroll
        for (int piece = 0; piece < Shape::kPieces; ++piece) {
          const uint32_t bits = number_bits<typename Shape::Number>(rest);
          const float value = number_value<typename Shape::Number>(bits);
          rest -= value;
          if (head >= Shape::kHeads) continue;
          sums[quad] += value;
          // Row + 8 is in the next chunk, and rows begin at an even one.
          store_shared((to ^ static_cast<uint32_t>(16 * i)) + piece * Shape::kWeightBytes, bits);
        }
      }
    }
    order_shared_writes();
  }

  __device__ __forceinline__ void add_page(const RowBlock<Shape>& block, int rows_left) {
    float scores[kQuads][2];
    multiply(block, scores);
    exchange(block, scores);
    bool above = false;
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      if (row >= rows_left) scores[quad][0] = -INFINITY;
      if (row + 8 >= rows_left) scores[quad][1] = -INFINITY;
      above |= fmaxf(scores[quad][0], scores[quad][1]) > tops[quad] + kLag;
    }
    const int buffer = block.buffer();
    if (block.page >= kWeightBuffers) {
      wait_barrier(&block.shared.weights_free[buffer], block.buffer_phase() ^ 1);
    }
    const bool renewed = any_of_scorers(above);
    if (threadIdx.x == 0) block.shared.renewed[buffer] = renewed ? 1 : 0;
    if (renewed) renew(block, scores);
    weigh(block, scores);
    __syncwarp();
    if (block.lane == 0) arrive(&block.shared.weights_full[buffer]);
  }

  // What the segment leaves of each head: its maximum and sum or, if it is a whole query (the
  // `whole`-th here), one over the sum, for the groups that mix.
  __device__ __forceinline__ void finish(const RowBlock<Shape>& block, int slot, int whole) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    sync_threads<kGroupThreads, kScoresReady>();  // the maxima of the last page are read
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      float sum = sums[quad];
      for (int step = 4; step < 32; step *= 2) sum += __shfl_xor_sync(~0U, sum, step);
      if (block.lane < 4) block.shared.reduced[warp][4 * quad + block.lane] = sum;
    }
    sync_threads<kGroupThreads, kScoresReady>();
    if (threadIdx.x < 4) {
#pragma unroll
      for (int quad = 0; quad < kQuads; ++quad) {
        const int head = 4 * quad + block.lane;
        if (head >= Shape::kHeads) continue;
        const auto& all = block.shared.reduced;
        const float sum = (all[0][head] + all[1][head]) + (all[2][head] + all[3][head]);
        if (slot < 0) {
          block.shared.shares[whole % 2][head] = 1.0F / sum;
        } else if (block.rank == 0) {
          block.arguments.states[slot * Shape::kHeads + head] = {tops[quad], sum};
        }
      }
    }
    if (slot < 0) sync_threads<3 * kGroupThreads, kTotalsReady>();
  }
};

template <class Shape>
__device__ __forceinline__ void score_rows(RowBlock<Shape> block, RowWalk walk) {
  const int warp = static_cast<int>(threadIdx.x) / 32;
  RowScores<Shape> scores;
  scores.row = 16 * warp + block.lane / 4;
  int whole = 0;
  for (bool first = true; walk.next_segment(); first = false) {
    if (!first) {  // of the first, all warps have prepared the queries
      sync_threads<kGroupThreads, kScoresReady>();
      prepare_queries(block, walk.segment.token, warp, 4);
      sync_threads<kGroupThreads, kScoresReady>();
    }
    scores.begin(block);
    for (; walk.page < walk.segment.page_count; ++walk.page, block.advance()) {
      scores.add_page(block, walk.rows_left());
    }
    scores.finish(block, walk.segment.slot, whole);
    if (walk.segment.slot < 0) ++whole;
  }
}

}  // namespace slim::cuda
