// The softmax warps of the one-read kernel (decode_sealed.cuh): a lane holds two tokens of a head.
#pragma once

#include "kernels/cuda/decode_sealed.cuh"

namespace slim::cuda {

// One head of the block, over a segment's pages.
template <class Shape>
struct SoftmaxHead {
  int head;  // of the block
  float top = -INFINITY;

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
  __device__ __forceinline__ void exponentials(float (&scores)[2]) {
    float now = fmaxf(scores[0], scores[1]);
    for (int step = 1; step < 32; step *= 2) now = fmaxf(now, __shfl_xor_sync(~0U, now, step));
    if (now > top + kLag || top == -INFINITY) top = now;
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
    if (block.tile >= Shape::kBuffers) {
      wait_barrier(&block.shared.p_free[block.buffer()], block.buffer_phase() ^ 1);
    }
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      heads[pass].exponentials(scores[pass]);
      heads[pass].send(block, scores[pass]);
      if (walk.last()) heads[pass].top = -INFINITY;
    }
    walk.advance();
  }
}

}  // namespace slim::cuda
