// The mixing warps of the one-read kernel (decode_sealed.cuh).
#pragma once

#include "kernels/cuda/decode_sealed.cuh"

namespace slim::cuda {

constexpr int kMixColumns = kDecodeColumns / kMixWarps;  // 64: of a warp
constexpr int kMixTiles = kMixColumns / 16;

// Sixteen columns by sixteen tokens, as what stands left in a product; of 16 bits also what is left
// of the numbers beside it. In units of 2^kLow of the last bit (16 bits: of 2^8).
struct Columns {
  uint32_t all[4];
  uint32_t rest[4];
};

// A byte of each half of a word under the exponent of 1024: 1024 + byte, less `bias`.
__device__ __forceinline__ uint32_t spread_bytes(uint32_t word, uint32_t selector, uint32_t bias) {
  return add_halves(__byte_perm(word, 0x64646464U, selector), bias);
}

// All columns of tile `m` of the warp that starts at `first`, token step by token step. Lanes of
// one row of the product (lane / 4) hold columns row and row + 8 (16 bits), or 2 row and 2 row + 1.
template <class Shape>
struct ColumnReader {
  const Stage<Shape>& stage;
  int first;  // column of the block
  int lane;
  Fragments fine[2] = {};  // the second plane's, tokens 0 to 31 and 32 to 63

  // Of 4 and 2 bits a chunk holds the columns of two and four tiles.
  __device__ __forceinline__ void fetch_fine(int m) {
    if constexpr (Shape::kLow > 0) {
      constexpr int kParts = 8 / Shape::kLow;
      if (m % kParts != 0) return;
      const int chunk = (first + 16 * m) / (16 * kParts);
      const std::byte* at = stage.low() + chunk * 1024 + lane * 16;
      fine[0] = load_transposed(shared_address(at));
      fine[1] = load_transposed(shared_address(at + 512));
    }
  }

  // Two steps of 16 tokens: 32 half + [0, 32).
  __device__ __forceinline__ void fetch(int m, int half, Columns (&columns)[2]) {
    const int column = first + 16 * m;
    if constexpr (Shape::kBits == 16) {
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        // Matrices: columns 0 to 7 then 8 to 15 of tokens 0 to 7, then of tokens 8 to 15.
        const int token = half * 32 + step * 16 + lane / 16 * 8 + lane % 8;
        const Fragments raw = load_transposed(
            shared_address(stage.high() + (column / 8 + lane / 8 % 2) * 1024 + token * 16));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          // High bytes: 1024 + 128 + number; low ones under the exponent of 4: 4 + byte / 256.
          columns[step].all[i] = spread_bytes(raw.part[i], 0x4341, 0xE480E480U);
          columns[step].rest[i] = __byte_perm(raw.part[i], 0x44444444U, 0x4240);
        }
      }
    } else {
      // Matrices: 16 columns of tokens 0 to 7, 8 to 15, ...
      const Fragments raw = load_transposed(
          shared_address(stage.high() + column / 16 * 1024 + (half * 32 + lane) * 16));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint32_t(&to)[4] = columns[i / 2].all;
        const int at = i % 2 * 2;
        if constexpr (Shape::kLow == 0) {
          to[at] = spread_bytes(raw.part[i], 0x4240, 0xE480E480U);  // -1152
          to[at + 1] = spread_bytes(raw.part[i], 0x4341, 0xE480E480U);
        } else {
          constexpr int kParts = 8 / Shape::kLow;
          // The fine bits under an exponent where their last bit is 2^-kLow: 64 or 256 + bits.
          constexpr uint32_t kUnder = Shape::kLow == 4 ? 0x54005400U : 0x5C005C00U;
          constexpr uint32_t kBias = Shape::kLow == 4 ? 0xE4C0E4C0U : 0xE580E580U;  // -1216, -1408
          constexpr uint32_t kMask = ((1U << Shape::kLow) - 1U) * 0x00010001U;
          const uint32_t bits = fine[half].part[i] >> (m % kParts * 2 * Shape::kLow);
          to[at] = add_halves(spread_bytes(raw.part[i], 0x4240, kBias), (bits & kMask) | kUnder);
          to[at + 1] = add_halves(spread_bytes(raw.part[i], 0x4341, kBias),
                                  (bits >> Shape::kLow & kMask) | kUnder);
        }
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

  // Of two steps of sixteen tokens. They are read again for each tile, which costs reads of shared
  // memory and saves 32 registers.
  using Probabilities = uint32_t[2][Shape::kHeadTiles][2];

  // Matrices: tokens 0 to 7, 8 to 15, ... of eight heads.
  __device__ __forceinline__ static void fetch(const __half* p, int lane,
                                               Probabilities& probabilities) {
#pragma unroll
    for (int n = 0; n < Shape::kHeadTiles; ++n) {
      const Fragments f =
          load_fragments(shared_address(p + (8 * n + lane % 8) * kPitch + lane / 8 * 8));
#pragma unroll
      for (int i = 0; i < 4; ++i) probabilities[i / 2][n][i % 2] = f.part[i];
    }
  }

  // Matrices: tokens 0 to 7 and 8 to 15 of eight heads, then of the next eight: one step, half as
  // many registers. For numbers of 16 bits, which take the others themselves.
  __device__ __forceinline__ static void fetch_step(
      const __half* p, int lane, uint32_t (&probabilities)[Shape::kHeadTiles][2]) {
#pragma unroll
    for (int n = 0; n + 1 < Shape::kHeadTiles; n += 2) {
      const int head = 8 * n + lane / 16 * 8 + lane % 8;
      const Fragments f = load_fragments(shared_address(p + head * kPitch + lane / 8 % 2 * 8));
#pragma unroll
      for (int i = 0; i < 4; ++i) probabilities[n + i / 2][i % 2] = f.part[i];
    }
  }

  // Products that follow one another add to different sums.
  __device__ __forceinline__ static void multiply_step(
      float (&page)[Shape::kHeadTiles][4], const Columns& columns,
      const uint32_t (&probabilities)[Shape::kHeadTiles][2]) {
#pragma unroll
    for (int n = 0; n < Shape::kHeadTiles; ++n) {
      multiply(page[n], columns.all, probabilities[n][0], probabilities[n][1]);
    }
    if constexpr (Shape::kBits == 16) {
#pragma unroll
      for (int n = 0; n < Shape::kHeadTiles; ++n) {
        multiply(page[n], columns.rest, probabilities[n][0], probabilities[n][1]);
      }
    }
  }

  __device__ __forceinline__ void add_page(const Stage<Shape>& stage, const __half* p,
                                           const float2* states, int first, int lane) {
    ColumnReader<Shape> reader{stage, first, lane};
#pragma unroll
    for (int m = 0; m < kMixTiles; ++m) {
      reader.fetch_fine(m);
      float page[Shape::kHeadTiles][4] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Probabilities probabilities;
        Columns columns[2];
        constexpr bool kByStep = Shape::kBits != 8 && Shape::kHeadTiles > 1;
        if constexpr (!kByStep) fetch(p + half * 32, lane, probabilities);
        reader.fetch(m, half, columns);
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          if constexpr (kByStep) fetch_step(p + half * 32 + step * 16, lane, probabilities[step]);
          multiply_step(page, columns[step], probabilities[step]);
        }
      }
      scale_page(stage, page, states, m, first, lane);
    }
  }

  // Adds a page's sums of integers, times their channels' scales, and the middles' share.
  __device__ __forceinline__ void scale_page(const Stage<Shape>& stage,
                                             const float (&page)[Shape::kHeadTiles][4],
                                             const float2* states, int m, int first, int lane) {
    constexpr float kUnit = Shape::kBits == 16 ? 256.0F : static_cast<float>(1 << Shape::kLow);
    float scale[2];
    float offset[2];
#pragma unroll
    for (int which = 0; which < 2; ++which) {
      const int column = first + lane_column<Shape>(m, lane, which);
      scale[which] = kUnit * __bfloat162float(stage.scales()[column]);
      // Of 16 bits: the 4 under which the low bytes stand.
      offset[which] = Shape::kCentred ? __bfloat162float(stage.scales()[kDecodeColumns + column])
                                      : -4.0F * scale[which];
    }
#pragma unroll
    for (int n = 0; n < Shape::kHeadTiles; ++n) {
      // Sums of the page's probabilities: maximum and sum of two neighbouring heads.
      const float4 pair = *reinterpret_cast<const float4*>(states + 8 * n + lane % 4 * 2);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& sum = sums[m][n][i];
        sum =
            fmaf(scale[i / 2], page[n][i], fmaf(offset[i / 2], i % 2 == 0 ? pair.y : pair.w, sum));
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
          to[static_cast<int64_t>(head) * a.width + lane_column<Shape>(m, lane, i / 2)] =
              sums[m][n][i];
        }
      }
    }
  }
};

// The running softmax, a lane a head.
template <class Shape>
struct HeadStates {
  float top = -INFINITY;
  float sum = 0.0F;
  float shrink = 1.0F;  // of what was summed before this page

  __device__ __forceinline__ void add_page(const DecodeShared<Shape>& shared, int buffer,
                                           int lane) {
    const float2 state = shared.states[buffer][lane % Shape::kAllHeads];
    shrink = top == state.x || top == -INFINITY ? 1.0F : exp2f(top - state.x);
    top = state.x;
    sum = fmaf(sum, shrink, state.y);
  }
};

template <class Shape>
__device__ __forceinline__ void spread(float value, int lane,
                                       float (&values)[Shape::kHeadTiles][2]) {
#pragma unroll
  for (int n = 0; n < Shape::kHeadTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) values[n][i] = __shfl_sync(~0U, value, 8 * n + lane % 4 * 2 + i);
  }
}

// Gives a buffer of probabilities back to all blocks that write into it.
template <class Shape>
__device__ __forceinline__ void free_buffer(const DecodeBlock<Shape>& block) {
  __syncwarp();
  if constexpr (Shape::kCluster == 1) {
    if (block.lane == 0) arrive(&block.shared.p_free[block.buffer()]);
  } else if (block.lane < Shape::kCluster) {
    arrive_at(&block.shared.p_free[block.buffer()], block.lane);
  }
}

template <class Shape>
__device__ __forceinline__ void mix_pages(DecodeBlock<Shape> block, PageWalk walk) {
  const int warp = threadIdx.x / 32 - kScoreWarps;
  const int lane = block.lane;
  const int first = warp * kMixColumns;
  if (lane == 0) {
    block.shared.next[warp] = {walk.segment, walk.end, 0};
    for (int stage = 0; stage < block.stage_count; ++stage) {
      load_next(block, stage, warp, next_address(block, warp));
    }
  }
  __syncwarp();
  int left = walk.done() ? 0 : walk.now.page_count;  // pages of this segment
  const DecodeSegment* segment = walk.segment;
  MixedColumns<Shape> mixed;
  mixed.clear();
  HeadStates<Shape> heads;
  for (; segment != walk.end; block.advance()) {
    const int buffer = block.buffer();
    // Asked for now, so that it is there when the page is done.
    const std::byte* const next = lane == 0 ? next_address(block, warp) : nullptr;
    block.wait_full();
    wait_barrier(&block.shared.p_full[buffer], block.buffer_phase());
    heads.add_page(block.shared, buffer, lane);
    if (__any_sync(~0U, heads.shrink != 1.0F)) {
      float by[Shape::kHeadTiles][2];
      spread<Shape>(heads.shrink, lane, by);
      mixed.rescale(by);
    }
    mixed.add_page(block.stage(), &block.shared.p[buffer][0][0], block.shared.states[buffer], first,
                   lane);
    if (warp == 0 && lane == 0) expect_probabilities(block, buffer);
    free_buffer(block);
    if (--left == 0) {
      const int slot = segment->slot;
      mixed.write(block.arguments, slot, block.rank * kDecodeColumns + first, lane);
      if (block.rank == 0 && warp == 0 && lane < Shape::kAllHeads) {
        block.arguments.states[slot * Shape::kAllHeads + lane] = {heads.top, heads.sum};
      }
      mixed.clear();
      heads = HeadStates<Shape>();
      if (++segment != walk.end) left = segment->page_count;
    }
    if (lane == 0) {
      if (warp == 0) wait_barrier(&block.shared.free[block.stage_index], block.stage_phase);
      load_next(block, block.stage_index, warp, next);
    }
    __syncwarp();
  }
}

}  // namespace slim::cuda
