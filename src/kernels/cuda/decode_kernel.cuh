// The kernel itself: who does what; and the table of its shapes for one number of bits.
#pragma once

#include "kernels/cuda/decode_mix.cuh"
#include "kernels/cuda/decode_scores.cuh"
#include "kernels/cuda/decode_softmax.cuh"
#include "kernels/cuda/earlier_work.cuh"

namespace slim::cuda {

// Registers of a lane: 80 each at the start, so that the six warps of a scheduler have 480.
constexpr int kScoreRegisters = 88;
constexpr int kMixRegisters = 120;
constexpr int kSoftmaxRegisters = 40;
constexpr int kLoadRegisters = 24;

template <class Shape>
__global__ void __launch_bounds__(kDecodeThreads, 1)
    decode_kernel(const __grid_constant__ DecodeArguments arguments, int stage_count) {
  wait_for_earlier();
  extern __shared__ __align__(128) std::byte memory[];
  DecodeBlock<Shape> block = decode_block<Shape>(arguments, memory, stage_count);
  init_barriers(block);
  const int cluster = blockIdx.x / Shape::kCluster;
  const PageWalk walk(arguments.segments + arguments.cluster_segments[cluster],
                      arguments.segments + arguments.cluster_segments[cluster + 1]);
  const int warp = threadIdx.x / 32;
  if (warp < kScoreWarps) {
    take_registers<kScoreRegisters>();
    score_pages(block, walk);
  } else if (warp < kScoreWarps + kMixWarps) {
    take_registers<kMixRegisters>();
    mix_pages(block, walk);
  } else if (warp < kScoreWarps + kMixWarps + kSoftmaxWarps) {
    give_registers<kSoftmaxRegisters>();
    soften_pages(block, walk);
  } else {
    give_registers<kLoadRegisters>();
    if (warp == kScoreWarps + kMixWarps + kSoftmaxWarps) load_pages(block, walk);
  }
  __syncwarp();
  sync_cluster();  // a block's shared memory is written by others until they are done
}

template <class Shape>
constexpr DecodeEntry decode_entry() {
  return {Shape::kHeadWidth, Shape::kHeadTiles,
          reinterpret_cast<const void*>(&decode_kernel<Shape>), &Stage<Shape>::bytes,
          kFixedBytes<Shape>};
}

template <int kBits>
const DecodeEntry* find_decode(int head_width, int head_tiles) {
  static const DecodeEntry entries[] = {
      decode_entry<DecodeShape<kBits, 128, 1>>(), decode_entry<DecodeShape<kBits, 128, 2>>(),
      decode_entry<DecodeShape<kBits, 128, 4>>(), decode_entry<DecodeShape<kBits, 64, 1>>(),
      decode_entry<DecodeShape<kBits, 64, 2>>(),  decode_entry<DecodeShape<kBits, 64, 4>>(),
  };
  for (const DecodeEntry& entry : entries) {
    if (entry.head_width == head_width && entry.head_tiles == head_tiles) return &entry;
  }
  return nullptr;
}

}  // namespace slim::cuda
