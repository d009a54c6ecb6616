// The softmax warps of the one-read kernel (decode_sealed.cuh): a lane holds two tokens of a head.
#pragma once

#include "kernels/cuda/decode_sealed.cuh"

namespace slim::cuda {

// Eight neighbouring numbers of a token's spill columns, signed.
template <class Shape>
__device__ __forceinline__ void spill_numbers(const std::byte* numbers, int spill, int token,
                                              int column, float (&values)[8]) {
  const int at = token * spill + column;
  if constexpr (Shape::kBits == 16) {
    uint32_t words[4];
    *reinterpret_cast<uint4*>(words) = *reinterpret_cast<const uint4*>(numbers + 2 * at);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[2 * i] = static_cast<float>(words[i] & 0xFFFFU) - 32768.0F;
      values[2 * i + 1] = static_cast<float>(words[i] >> 16) - 32768.0F;
    }
  } else {
    uint32_t words[2];
    *reinterpret_cast<uint2*>(words) = *reinterpret_cast<const uint2*>(numbers + at);
    uint32_t fine = 0;
    if constexpr (Shape::kLow == 4) {
      fine = *reinterpret_cast<const uint32_t*>(numbers + kRows * spill + at / 2);
    } else if constexpr (Shape::kLow == 2) {
      fine = *reinterpret_cast<const uint16_t*>(numbers + kRows * spill + at / 4);
    }
    constexpr uint32_t kMask = (1U << Shape::kLow) - 1U;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t number =
          (words[i / 4] >> i % 4 * 8 & 255U) << Shape::kLow | (fine >> i * Shape::kLow & kMask);
      values[i] = static_cast<float>(static_cast<int>(number) - (1 << (Shape::kBits - 1)));
    }
  }
}

// One head of the block, over a segment's pages.
template <class Shape>
struct SoftmaxHead {
  int head;  // of the block
  float top = -INFINITY;
  // This lane's tokens' share of the spill columns. Indexed by variables, so that it lies in local
  // memory: registers are scarce, and it is read once a page.
  float spilled[kMostSpill] = {};

  // The whole score of one token, in log2; what a layer adds to plain products is done here.
  __device__ __forceinline__ float score(const DecodeBlock<Shape>& block, const PageWalk& walk,
                                         int token) const {
    const DecodeArguments& a = block.arguments;
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < Shape::kPairWarps; ++i) sum += block.shared.parts[i][head][token];
    if (a.factors >= 0) sum *= reinterpret_cast<const float*>(walk.address(a.factors))[token];
    if (a.cap != 0.0F) sum = a.cap / kLogTwo * tanhf(sum * kLogTwo / a.cap);
    const int distance = walk.turn() * kRows + token - walk.now.position;  // not above 0
    if (a.slopes != nullptr) {
      sum += a.slopes[block.rank * Shape::kHeads + head] * static_cast<float>(distance) / kLogTwo;
    }
    return a.window > 0 && distance <= -a.window ? -INFINITY : sum;
  }

  // scores: of tokens lane and lane + 32. They become probabilities, lifted.
  __device__ __forceinline__ void exponentials(float (&scores)[2], int spill) {
    float now = fmaxf(scores[0], scores[1]);
    for (int step = 1; step < 32; step *= 2) now = fmaxf(now, __shfl_xor_sync(~0U, now, step));
    if (now > top + kLag || top == -INFINITY) {
      const float shrink = top == -INFINITY ? 0.0F : exp2f(top - now);
#pragma unroll 1
      for (int i = 0; i < spill; ++i) spilled[i] *= shrink;
      top = now;
    }
    const float from = top == -INFINITY ? 0.0F : top - kLift;
    scores[0] = exp2f(scores[0] - from);
    scores[1] = exp2f(scores[1] - from);
  }

  // To every block: the page's probabilities as f16, their sum and the maximum.
  __device__ __forceinline__ void send(const DecodeBlock<Shape>& block,
                                       const float (&probabilities)[2]) const {
    const int lane = block.lane;
    const uint32_t low = __half_as_ushort(__float2half_rn(probabilities[0]));
    const uint32_t high = __half_as_ushort(__float2half_rn(probabilities[1]));
    float sum = __half2float(__ushort_as_half(low)) + __half2float(__ushort_as_half(high));
    for (int step = 1; step < 32; step *= 2) sum += __shfl_xor_sync(~0U, sum, step);
    // Even lanes: two tokens in a word. Then eight tokens for each of eight blocks at a time.
    const uint32_t low_word = low | __shfl_down_sync(~0U, low, 1) << 16;
    const uint32_t high_word = high | __shfl_down_sync(~0U, high, 1) << 16;
    const int piece = lane % 4;
    const auto gather = [&](uint32_t word) {
      uint4 all;
      all.x = __shfl_sync(~0U, word, 8 * piece);
      all.y = __shfl_sync(~0U, word, 8 * piece + 2);
      all.z = __shfl_sync(~0U, word, 8 * piece + 4);
      all.w = __shfl_sync(~0U, word, 8 * piece + 6);
      return all;
    };
    const uint4 first = gather(low_word);
    const uint4 second = gather(high_word);
    const int buffer = block.buffer();
    const int of_all = block.rank * Shape::kHeads + head;
    Barrier* const full = &block.shared.p_full[buffer];
    if constexpr (Shape::kCluster == 1) {
      if (lane < 4) {
        block.shared.p[buffer][piece][of_all] = first;
        block.shared.p[buffer][4 + piece][of_all] = second;
        if (piece == 0) block.shared.states[buffer][of_all] = {top, sum};
      }
      __syncwarp();
      arrive(full);
    } else {
#pragma unroll
      for (int to = lane / 4; to < Shape::kCluster; to += 8) {
        put(&block.shared.p[buffer][piece][of_all], full, to, first);
        put(&block.shared.p[buffer][4 + piece][of_all], full, to, second);
        if (piece == 0) put(&block.shared.states[buffer][of_all], full, to, float2{top, sum});
      }
    }
  }

  __device__ __forceinline__ void mix_spill(const DecodeBlock<Shape>& block,
                                            const float (&probabilities)[2]) {
    const int spill = block.arguments.spill;
    const std::byte* numbers = block.stage().spill();
    const auto* scales =
        reinterpret_cast<const __nv_bfloat16*>(numbers + kRows * spill * Shape::kBits / 8);
#pragma unroll 1
    for (int column = 0; column < spill; column += 8) {
      float first[8];
      float second[8];
      spill_numbers<Shape>(numbers, spill, block.lane, column, first);
      spill_numbers<Shape>(numbers, spill, block.lane + 32, column, second);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float& sum = spilled[column + i];
        sum = fmaf(__bfloat162float(scales[column + i]),
                   fmaf(probabilities[0], first[i], probabilities[1] * second[i]), sum);
        if constexpr (Shape::kCentred) {
          sum = fmaf(__bfloat162float(scales[spill + column + i]),
                     probabilities[0] + probabilities[1], sum);
        }
      }
    }
  }

  // Of all lanes' tokens; and starts anew.
  __device__ __forceinline__ void finish(const DecodeBlock<Shape>& block, int slot) {
    const DecodeArguments& a = block.arguments;
    const int64_t row =
        static_cast<int64_t>(slot) * Shape::kAllHeads + block.rank * Shape::kHeads + head;
#pragma unroll 1
    for (int i = 0; i < a.spill; ++i) {
      float sum = spilled[i];
      spilled[i] = 0.0F;
      for (int step = 1; step < 32; step *= 2) sum += __shfl_xor_sync(~0U, sum, step);
      if (block.lane == 0) a.sums[row * a.width + a.width - a.spill + i] = sum;
    }
    top = -INFINITY;
  }
};

// A warp takes its heads one after another.
template <class Shape>
__device__ __forceinline__ void soften_pages(DecodeBlock<Shape> block, PageWalk walk) {
  constexpr int kPasses = Shape::kHeads / Shape::kHeadWarps;
  const int warp = threadIdx.x / 32 - kScoreWarps - kMixWarps;
  SoftmaxHead<Shape> heads[kPasses];
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) heads[pass].head = pass * Shape::kHeadWarps + warp;
  for (; !walk.done(); block.advance()) {
    wait_barrier(&block.shared.parts_full, block.tile & 1);
    float scores[kPasses][2];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      scores[pass][0] = heads[pass].score(block, walk, block.lane);
      scores[pass][1] = heads[pass].score(block, walk, block.lane + 32);
    }
    __syncwarp();
    arrive(&block.shared.parts_free);
    if (block.tile >= kBuffers) {
      wait_barrier(&block.shared.p_free[block.buffer()], block.buffer_phase() ^ 1);
    }
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      heads[pass].exponentials(scores[pass], block.arguments.spill);
      heads[pass].send(block, scores[pass]);
      heads[pass].mix_spill(block, scores[pass]);
    }
    block.free_stage();
    if (walk.last()) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) heads[pass].finish(block, walk.now.slot);
    }
    walk.advance();
  }
}

}  // namespace slim::cuda
