// The mixing warps of the one-read kernel (decode_sealed.cuh).
#pragma once

#include "kernels/cuda/decode_sealed.cuh"

namespace slim::cuda {

constexpr int kMixColumns = 64;  // of a warp
constexpr int kMixTiles = kMixColumns / 16;

// Sixteen columns by sixteen tokens of a warp as its share of a product's 64 columns, in one or two
// addends that are exact in f16: without shifts and sums, a byte or less under an exponent of its
// own. In units of 2^kLow of the last bit (16 bits: of 2^8).
template <class Shape>
constexpr bool kTwoAddends = Shape::kBits != 8;
template <class Shape>
using Columns = uint32_t[kTwoAddends<Shape> ? 2 : 1][4];

// What addends stand above a number without sign: 1024 under a byte, and under the rest 4 of 16
// bits, 64 of four and 256 of two. Keys of 16 bits, which have no middles to take it off with, have
// it taken off their first addend.
template <class Shape>
constexpr float kAbove = Shape::kBits == 8    ? 1024.0F
                         : Shape::kBits == 10 ? 1024.0F + 256.0F
                                              : 1024.0F + 64.0F;

// All columns of tile `m` of the warp that starts at `first`, token step by token step. Lanes of
// one row of the product (lane / 4) hold columns row and row + 8 (16 bits), or 2 row and 2 row + 1.
template <class Shape>
struct ColumnReader {
  const Stage<Shape>& stage;
  int first;  // column of the block
  int lane;
  // Exponents, as registers: an instruction takes one immediate number, which is the selector.
  uint32_t above = opaque(0x64646464U);
  uint32_t under = opaque(0x44444444U);
  Fragments raw = {};   // below 16 bits: of two steps
  Fragments fine = {};  // the second plane's

  // Tokens 16 step + [0, 16), steps in order.
  __device__ __forceinline__ void fetch(int m, int step, Columns<Shape>& to) {
    const int column = first + 16 * m;
    if constexpr (Shape::kBits == 16) {
      // Matrices: columns 0 to 7 then 8 to 15 of tokens 0 to 7, then of tokens 8 to 15.
      const int token = step * 16 + lane / 16 * 8 + lane % 8;
      raw = load_transposed(
          shared_address(stage.high() + (column / 8 + lane / 8 % 2) * 1024 + token * 16));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // -1156: the number's sign (128), and what stands above both bytes.
        to[0][i] = add_halves(__byte_perm(raw.part[i], above, 0x4341), 0xE484E484U);
        to[1][i] = __byte_perm(raw.part[i], under, 0x4240);
      }
      return;
    }
    // Of 4 and 2 bits a chunk holds the columns of two and four tiles.
    constexpr int kParts = Shape::kLow == 0 ? 1 : 8 / Shape::kLow;
    if (step % 2 == 0) {
      // Matrices: 16 columns of tokens 0 to 7, 8 to 15, ...
      const int at = (step / 2 * 32 + lane) * 16;
      raw = load_transposed(shared_address(stage.high() + column / 16 * 1024 + at));
      if constexpr (Shape::kLow > 0) {
        fine = load_transposed(shared_address(stage.low() + column / (16 * kParts) * 1024 + at));
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t bytes = raw.part[step % 2 * 2 + i];
      to[0][2 * i] = __byte_perm(bytes, above, 0x4240);
      to[0][2 * i + 1] = __byte_perm(bytes, above, 0x4341);
      if constexpr (Shape::kLow > 0) {
        constexpr uint32_t kUnder = Shape::kLow == 4 ? 0x54005400U : 0x5C005C00U;
        constexpr uint32_t kMask = ((1U << Shape::kLow) - 1U) * 0x00010001U;
        const uint32_t bits = fine.part[step % 2 * 2 + i] >> (m % kParts * 2 * Shape::kLow);
        to[1][2 * i] = (bits & kMask) | kUnder;
        to[1][2 * i + 1] = (bits >> Shape::kLow & kMask) | kUnder;
      }
    }
  }
};

// The columns a lane's accumulators are of, in the warp's tile m.
template <class Shape>
__device__ __forceinline__ int lane_column(int m, int lane, int which) {
  const int row = lane / 4;
  return 16 * m + (Shape::kBits == 16 ? row + 8 * which : 2 * row + which);
}

// Sums of rows for 64 columns and all heads, in the accumulators of the warp's lanes.
template <class Shape>
struct MixedColumns {
  float sums[kMixTiles][Shape::kHeadTiles][4];

  __device__ __forceinline__ void clear() {
    for (auto& tile : sums) {
      for (auto& heads : tile) {
        for (float& sum : heads) sum = 0.0F;
      }
    }
  }

  // by[i]: of head 8 n + lane % 4 * 2 + i.
  __device__ __forceinline__ void rescale(const float (&by)[Shape::kHeadTiles][2]) {
#pragma unroll
    for (int m = 0; m < kMixTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Shape::kHeadTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] *= by[n][i % 2];
      }
    }
  }

  using Page = float[Shape::kHeadTiles][4];                  // one tile's sums over a page
  static constexpr int kEight = 8 * Shape::kHeadTiles * 16;  // bytes of eight tokens
  using Weights = Operand<kEight, 128>;

  // Starts the products of 16 tokens; `columns` and `page` may not be touched until they are waited
  // for.
  template <bool kFirst>
  __device__ __forceinline__ static void start(Page& page, const Columns<Shape>& columns,
                                               Weights probabilities) {
    order_registers();
    multiply_group<kFirst>(page, columns[0], probabilities);
    if constexpr (kTwoAddends<Shape>) multiply_group<false>(page, columns[1], probabilities);
    commit_products();
  }

  // While 16 tokens are multiplied, the numbers of the next ones are taken apart.
  __device__ __forceinline__ void add_page(const Stage<Shape>& stage, const __nv_bfloat16* scales,
                                           const Probabilities<Shape>& p, const float2* states,
                                           int first, int lane) {
    constexpr int kSteps = kRows / 16;
    ColumnReader<Shape> reader{stage, first, lane};
    const Weights b(shared_address(p));
    Page page;
    Columns<Shape> columns[2];
#pragma unroll
    for (int m = 0; m < kMixTiles; ++m) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        if (m > 0 || step > 1) wait_products<1>();
        reader.fetch(m, step, columns[step % 2]);
        if (step > 0) {
          start<false>(page, columns[step % 2], b.advance(2 * kEight * step));
          continue;
        }
        if (m > 0) {
          wait_products<0>();
          scale_page(scales, page, states, m - 1, first, lane);
        }
        start<true>(page, columns[0], b);
      }
    }
    wait_products<0>();
    scale_page(scales, page, states, kMixTiles - 1, first, lane);
  }

  // Adds a page's sums of integers, times their channels' scales, and the middles' share.
  __device__ __forceinline__ void scale_page(const __nv_bfloat16* scales, Page& page,
                                             const float2* states, int m, int first, int lane) {
    constexpr float kUnit = Shape::kBits == 16 ? 256.0F : static_cast<float>(1 << Shape::kLow);
    float scale[2];
    float offset[2];
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const int column = first + lane_column<Shape>(m, lane, which);
      scale[which] = kUnit * __bfloat162float(scales[column]);
      if constexpr (Shape::kCentred) {
        offset[which] = fmaf(-128.0F - kAbove<Shape>, scale[which],
                             __bfloat162float(scales[Shape::kColumns + column]));
      }
    }
#pragma unroll
    for (int n = 0; n < Shape::kHeadTiles; ++n) {
      // Sums of the page's probabilities: maximum and sum of two neighbouring heads.
      float4 pair;
      if constexpr (Shape::kCentred) {
        pair = *reinterpret_cast<const float4*>(states + 8 * n + lane % 4 * 2);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& sum = sums[m][n][i];
        if constexpr (Shape::kCentred) {
          sum = fmaf(offset[i / 2], i % 2 == 0 ? pair.y : pair.w, sum);
        }
        sum = fmaf(scale[i / 2], page[n][i], sum);
      }
    }
  }

  __device__ __forceinline__ void write(const DecodeArguments& a, int slot, int first,
                                        int lane) const {
    float* const to = a.sums + static_cast<int64_t>(slot) * Shape::kAllHeads * a.width + first;
#pragma unroll
    for (int m = 0; m < kMixTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Shape::kHeadTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int head = 8 * n + lane % 4 * 2 + i % 2;
          if (head >= Shape::kAllHeads) continue;
          to[static_cast<int64_t>(head) * a.width + lane_column<Shape>(m, lane, i / 2)] =
              sums[m][n][i];
        }
      }
    }
  }
};

// The running softmax, a lane a head, or two: heads lane and lane + 32.
template <class Shape>
struct HeadStates {
  static constexpr int kCount = (Shape::kAllHeads + 31) / 32;
  float top[kCount];
  float sum[kCount] = {};
  float shrink[kCount];  // of what was summed before this page

  __device__ __forceinline__ HeadStates() {
    for (float& value : top) value = -INFINITY;
  }
  // Returns whether any of all lanes' sums shrinks.
  __device__ __forceinline__ bool add_page(const DecodeShared<Shape>& shared, int buffer,
                                           int lane) {
    bool any = false;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float2 state = shared.states[buffer][(lane + 32 * i) % Shape::kAllHeads];
      shrink[i] = top[i] == state.x || top[i] == -INFINITY ? 1.0F : exp2f(top[i] - state.x);
      top[i] = state.x;
      sum[i] = fmaf(sum[i], shrink[i], state.y);
      any |= shrink[i] != 1.0F;
    }
    return __any_sync(~0U, any);
  }
  // by[n][i]: of head 8 n + lane % 4 * 2 + i.
  __device__ __forceinline__ void spread_shrink(int lane, float (&by)[Shape::kHeadTiles][2]) const {
#pragma unroll
    for (int n = 0; n < Shape::kHeadTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        by[n][i] = __shfl_sync(~0U, shrink[n / 4], n % 4 * 8 + lane % 4 * 2 + i);
      }
    }
  }
  __device__ __forceinline__ void write(float2* states, int lane) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (lane + 32 * i < Shape::kAllHeads) states[lane + 32 * i] = {top[i], sum[i]};
    }
  }
};

template <class Shape>
__device__ __forceinline__ void mix_pages(DecodeBlock<Shape> block, PageWalk walk) {
  const int warp = threadIdx.x / 32 - kScoreWarps;
  const int lane = block.lane;
  // A block of fewer columns has warps without any: products take four warps, so these do as the
  // last one, for nothing.
  const int first = min(warp * kMixColumns, Shape::kColumns - kMixColumns);
  int left = walk.done() ? 0 : walk.now.page_count;  // pages of this segment
  const DecodeSegment* segment = walk.segment;
  MixedColumns<Shape> mixed;
  mixed.clear();
  HeadStates<Shape> heads;
  for (; segment != walk.end; block.advance()) {
    const int buffer = block.buffer();
    block.wait_full();
    wait_barrier(&block.shared.p_full[buffer], block.buffer_phase());
    order_shared_writes();
    if (heads.add_page(block.shared, buffer, lane)) {
      float by[Shape::kHeadTiles][2];
      heads.spread_shrink(lane, by);
      mixed.rescale(by);
    }
    // Operands of products are addressed by uniform registers: the buffer has to be a constant.
    const auto add_page = [&](int constant) {
      mixed.add_page(block.stage(), block.stage().scales(), block.shared.p[constant],
                     block.shared.states[constant], first, lane);
    };
    if (buffer == 0) {
      add_page(0);
    } else if (buffer == 1) {
      add_page(1);
    } else if constexpr (Shape::kBuffers > 2) {
      add_page(2);
    }
    if (warp == 0 && lane == 0) expect_probabilities(block, buffer);
    free_buffer(block);
    block.free_stage();
    if (--left == 0) {
      const int slot = segment->slot;
      if (warp * kMixColumns < Shape::kColumns) {
        mixed.write(block.arguments, slot, block.rank * Shape::kColumns + first, lane);
      }
      if (block.rank == 0 && warp == 0) {
        heads.write(block.arguments.states + slot * Shape::kAllHeads, lane);
      }
      mixed.clear();
      heads = HeadStates<Shape>();
      if (++segment != walk.end) left = segment->page_count;
    }
  }
}

}  // namespace slim::cuda
