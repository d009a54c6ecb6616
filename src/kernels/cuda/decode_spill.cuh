// The warps of the one-read kernel that mix the spill columns (decode_sealed.cuh), which each block
// does for its own heads: products of eight columns and 16 tokens, numbers as exact f16, summed
// over a page in f32 and then scaled, as those of the other columns are. A warp has eight columns
// of every 24.
#pragma once

#include "kernels/cuda/decode_sealed.cuh"

namespace slim::cuda {

// A column's numbers of two tokens, as f16: without their middle (2^(bits - 1)), and of 16 bits in
// two addends.
template <class Shape>
struct SpillPair {
  uint32_t first;
  uint32_t second = 0;

  __device__ __forceinline__ SpillPair(const std::byte* numbers, int spill, int token, int column) {
    const int a = read(numbers, spill, token * spill + column);
    const int b = read(numbers, spill, (token + 1) * spill + column);
    constexpr int kMiddle = 1 << (Shape::kBits - 1);
    constexpr int kFine = Shape::kBits == 16 ? 255 : 0;
    first = pack_halves(static_cast<float>((a & ~kFine) - kMiddle),
                        static_cast<float>((b & ~kFine) - kMiddle));
    if constexpr (kFine > 0) {
      second = pack_halves(static_cast<float>(a & kFine), static_cast<float>(b & kFine));
    }
  }

 private:
  __device__ __forceinline__ static int read(const std::byte* numbers, int spill, int at) {
    if constexpr (Shape::kBits == 16) return reinterpret_cast<const uint16_t*>(numbers)[at];
    const int high = static_cast<int>(numbers[at]);
    if constexpr (Shape::kLow == 0) return high;
    constexpr int kParts = 8 / (Shape::kLow > 0 ? Shape::kLow : 8);
    const int low =
        static_cast<int>(numbers[kRows * spill + at / kParts]) >> at % kParts * Shape::kLow;
    return high << Shape::kLow | (low & ((1 << Shape::kLow) - 1));
  }
};

template <class Shape>
struct SpillColumns {
  static constexpr int kGroups = (kMostSpill / 8 + kSpillWarps - 1) / kSpillWarps;  // of a warp
  int warp;
  float top[2];            // of heads lane % 4 * 2 + i of the block
  float sums[kGroups][2];  // of column lane / 4 of a group, by the same heads

  __device__ __forceinline__ explicit SpillColumns(int of) : warp(of) { clear(); }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      top[i] = -INFINITY;
#pragma unroll
      for (int group = 0; group < kGroups; ++group) sums[group][i] = 0.0F;
    }
  }
  // What there is not counts as the last.
  __device__ __forceinline__ int head(const DecodeBlock<Shape>& block, int of_block) const {
    return block.rank * Shape::kHeads + min(of_block, Shape::kHeads - 1);
  }
  __device__ __forceinline__ int column(int group, int lane) const {
    return 8 * (warp + kSpillWarps * group) + lane / 4;
  }

  __device__ __forceinline__ void add_page(const DecodeBlock<Shape>& block) {
    const int spill = block.arguments.spill;
    const int buffer = block.buffer();
    const int lane = block.lane;
    const std::byte* const numbers = block.stage().spill();
    const auto* const scales =
        reinterpret_cast<const __nv_bfloat16*>(numbers + kRows * spill * Shape::kBits / 8);
    float2 states[2];
    float shrink[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      states[i] = block.shared.states[buffer][head(block, lane % 4 * 2 + i)];
      shrink[i] = top[i] == -INFINITY ? 1.0F : exp2f(top[i] - states[i].x);
      top[i] = states[i].x;
    }
    const int of = head(block, lane / 4);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const int at = column(group, lane);
      if (at - lane / 4 >= spill) continue;
      float page[4] = {};
#pragma unroll
      for (int step = 0; step < kRows / 16; ++step) {
        const int token = 16 * step + lane % 4 * 2;
        const SpillPair<Shape> early(numbers, spill, token, at);
        const SpillPair<Shape> late(numbers, spill, token + 8, at);
        const auto pair = [&](int piece) {
          return reinterpret_cast<const uint32_t*>(
              &block.shared.p[buffer][2 * step + piece][of])[lane % 4];
        };
        const uint32_t b0 = pair(0);
        const uint32_t b1 = pair(1);
        multiply<false>(page, {early.first, 0U, late.first, 0U}, b0, b1);
        if constexpr (Shape::kBits == 16) {
          multiply<false>(page, {early.second, 0U, late.second, 0U}, b0, b1);
        }
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& sum = sums[group][i];
        sum = fmaf(__bfloat162float(scales[at]), page[i], sum * shrink[i]);
        if constexpr (Shape::kCentred) {
          sum = fmaf(__bfloat162float(scales[spill + at]), states[i].y, sum);
        }
      }
    }
  }

  __device__ __forceinline__ void write(const DecodeBlock<Shape>& block, int slot) const {
    const DecodeArguments& a = block.arguments;
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const int at = column(group, block.lane);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int of_block = block.lane % 4 * 2 + i;
        if (at >= a.spill || of_block >= Shape::kHeads) continue;
        const int64_t row = static_cast<int64_t>(slot) * Shape::kAllHeads + head(block, of_block);
        a.sums[row * a.width + a.width - a.spill + at] = sums[group][i];
      }
    }
  }
};

template <class Shape>
__device__ __forceinline__ void mix_spill(DecodeBlock<Shape> block, PageWalk walk, int warp) {
  int left = walk.done() ? 0 : walk.now.page_count;  // pages of this segment
  const DecodeSegment* segment = walk.segment;
  SpillColumns<Shape> columns(warp);
  for (; segment != walk.end; block.advance()) {
    block.wait_full();
    wait_barrier(&block.shared.p_full[block.buffer()], block.buffer_phase());
    columns.add_page(block);
    free_buffer(block);
    block.free_stage();
    if (--left > 0) continue;
    columns.write(block, segment->slot);
    columns.clear();
    if (++segment != walk.end) left = segment->page_count;
  }
}

}  // namespace slim::cuda
