// The kernel itself: who does what; and the table of its shapes for one number of bits.
#pragma once

#include "kernels/cuda/decode_mix.cuh"
#include "kernels/cuda/decode_scores.cuh"
#include "kernels/cuda/decode_softmax.cuh"
#include "kernels/cuda/decode_spill.cuh"
#include "kernels/cuda/earlier_work.cuh"

namespace slim::cuda {

// Registers of a lane: 80 each at the start, so that the six warps of a scheduler have 480.
constexpr int kSoftmaxRegisters = 32;
constexpr int kSpillRegisters = 32;  // and the one's that loads

template <class Shape>
__global__ void __launch_bounds__(kDecodeThreads, 1)
    decode_kernel(const __grid_constant__ DecodeArguments arguments, int stage_count) {
  wait_for_earlier();
  extern __shared__ __align__(128) std::byte memory[];
  DecodeBlock<Shape> block = decode_block<Shape>(arguments, memory, stage_count);
  init_shared(block);
  const int cluster = blockIdx.x / Shape::kCluster;
  const PageWalk walk(arguments.segments + arguments.cluster_segments[cluster],
                      arguments.segments + arguments.cluster_segments[cluster + 1]);
  const int warp = threadIdx.x / 32;
  if (warp < kScoreWarps) {
    take_registers<Shape::kScoreRegisters>();
    if (warp < Shape::kPairWarps) score_pages(block, walk);
  } else if (warp < kScoreWarps + kMixWarps) {
    take_registers<Shape::kMixRegisters>();
    mix_pages(block, walk);
  } else if (warp < kScoreWarps + kMixWarps + kSoftmaxWarps) {
    give_registers<kSoftmaxRegisters>();
    if (warp < kScoreWarps + kMixWarps + Shape::kHeadWarps) soften_pages(block, walk);
  } else {
    give_registers<kSpillRegisters>();
    const int of = warp - (kScoreWarps + kMixWarps + kSoftmaxWarps);
    if (of < kSpillWarps) {
      mix_spill(block, walk, of);
    } else {
      load_pages(block, walk);
    }
  }
  __syncwarp();
  sync_cluster();  // a block's shared memory is written by others until they are done
}

template <class Shape>
constexpr DecodeEntry decode_entry() {
  return {Shape::kHeadWidth,    Shape::kAllHeads,
          Shape::kPartial,      reinterpret_cast<const void*>(&decode_kernel<Shape>),
          &Stage<Shape>::bytes, kFixedBytes<Shape>};
}

template <int kBits>
const DecodeEntry* find_decode(const DecodeLaunch& launch) {
  static const DecodeEntry entries[] = {
      decode_entry<DecodeShape<kBits, 64, 8>>(),
      decode_entry<DecodeShape<kBits, 64, 16>>(),
      decode_entry<DecodeShape<kBits, 64, 16, true>>(),
      decode_entry<DecodeShape<kBits, 64, 32>>(),
      decode_entry<DecodeShape<kBits, 64, 32, true>>(),
      decode_entry<DecodeShape<kBits, 80, 32>>(),
      decode_entry<DecodeShape<kBits, 80, 32, true>>(),
      decode_entry<DecodeShape<kBits, 96, 32>>(),
      decode_entry<DecodeShape<kBits, 128, 8>>(),
      decode_entry<DecodeShape<kBits, 128, 16>>(),
      decode_entry<DecodeShape<kBits, 128, 16, true>>(),
      decode_entry<DecodeShape<kBits, 128, 20>>(),
      decode_entry<DecodeShape<kBits, 128, 32>>(),
      decode_entry<DecodeShape<kBits, 128, 32, true>>(),
      decode_entry<DecodeShape<kBits, 128, 40>>(),
      decode_entry<DecodeShape<kBits, 128, 40, true>>(),
      decode_entry<DecodeShape<kBits, 256, 16>>(),
  };
  for (const DecodeEntry& entry : entries) {
    if (entry.head_width == launch.head_width && entry.heads == launch.heads &&
        entry.partial == launch.partial) {
      return &entry;
    }
  }
  return nullptr;
}

}  // namespace slim::cuda
