// The one-read kernel over sealed keys, for sm_90: all heads' scores and the sum of whole rows that
// they weigh, from one read of a page. A cluster of blocks shares the columns, up to 512 a block,
// which are whole heads. In each block
//   up to eight warps score, each its share of every head's pairs of columns;
//     scores are f32 throughout, and rotation by the position within the page is part of them:
//       with z = x_a + i x_b a pair of a key and w = conj(q) e^(-i angle of the page),
//       score += Re(w z) cos(angle of the row) - Im(w z) sin(angle of the row)
//     (scales and middles of the page, gains and biases of keys go into w, once a page);
//   four warps, each for its heads, take the exponentials and send them to all blocks of the
//     cluster as f16 with 2^12 at the running maximum;
//   eight warps mix: 64 columns each, all heads, integers as exact f16 (two addends of a byte or
//     less), summed over a page in f32 by tensor cores and then scaled by the page's scales;
//   three warps mix the spill columns likewise, by the heads of the block;
//   one warp loads pages.
// No barrier holds all warps: the groups run pages ahead of one another as far as stages and
// buffers allow. Pages are chunked (tensor/row_format.h).
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda/cluster_memory.cuh"
#include "kernels/cuda/decode_sealed.h"

namespace slim::cuda {

constexpr int kRows = 64;  // of a page

// kPartial: rotations turn a part of a head's columns. (Else all or none.)
template <int kBits_, int kHeadWidth_, int kAllHeads_, bool kPartial_ = false>
struct DecodeShape {
  static constexpr int kBits = kBits_;
  static constexpr int kHeadWidth = kHeadWidth_;
  static constexpr int kAllHeads = kAllHeads_;
  static constexpr int kHeadTiles = (kAllHeads + 7) / 8;  // of products, which take heads by eights
  static constexpr bool kPartial = kPartial_;
  static constexpr int kHeads = block_heads(kHeadWidth);
  static constexpr int kColumns = kHeads * kHeadWidth;  // of a block
  static constexpr int kCluster = cluster_of(kHeadWidth, kAllHeads);
  static constexpr int kPairs = kHeadWidth / 2;
  static constexpr int kWarpPairs = 32 / kHeads;          // of a head, that a warp scores
  static constexpr int kPairWarps = kPairs / kWarpPairs;  // that score
  static constexpr int kHeadWarps =
      kHeads < kSoftmaxWarps ? kHeads : kSoftmaxWarps;  // that take exponentials
  // Registers of a lane that scores or mixes, 208 in all: forty heads have more sums, wide heads
  // more pairs a lane.
  static constexpr int kScoreRegisters = kHeadWidth == 256 ? 120 : kAllHeads > 32 ? 80 : 88;
  static constexpr int kMixRegisters = 208 - kScoreRegisters;
  static constexpr int kHigh = kBits == 16 ? 16 : 8;  // bits of the first plane
  static constexpr int kLow = kBits - kHigh;
  static constexpr bool kCentred = kBits < 16;
  // Of probabilities. (Of 16 bits a third one would leave room for two pages instead of three.)
  static constexpr int kBuffers = kBits == 16 ? 2 : 3;
  static constexpr int kHighBytes = kRows * kColumns * kHigh / 8;
  static constexpr int kLowBytes = kRows * kColumns * kLow / 8;
  static constexpr int kScaleBytes = kColumns * 2 * (kCentred ? 2 : 1);
};

// Of a page, as f16: eight tokens of a head are neighbours, as products read them. What there is
// beyond the heads stays zero.
template <class Shape>
using Probabilities = uint4[kRows / 8][8 * Shape::kHeadTiles];

// What is in shared memory beside the stages.
template <class Shape>
struct DecodeShared {
  alignas(128) Probabilities<Shape> p[Shape::kBuffers];
  alignas(16) float2
      states[Shape::kBuffers][8 * Shape::kHeadTiles];  // the running maximum, and the page's sum
  float4 products[Shape::kColumns / 2];                // w of each pair of columns; its warp's own
  float2 offsets[Shape::kColumns / 2];
  float parts[Shape::kPairWarps][Shape::kHeads][kRows];  // of scores
  Barrier p_full[Shape::kBuffers], p_free[Shape::kBuffers];
  Barrier parts_full, parts_free;
  Barrier full[kMostStages], free[kMostStages];
};
template <class Shape>
constexpr int kFixedBytes = (static_cast<int>(sizeof(DecodeShared<Shape>)) + 127) / 128 * 128;

// A page's part for one block, as it lies in shared memory.
template <class Shape>
struct Stage {
  std::byte* at;
  __device__ __forceinline__ const std::byte* high() const { return at; }
  __device__ __forceinline__ const std::byte* low() const { return at + Shape::kHighBytes; }
  __device__ __forceinline__ const __nv_bfloat16* scales() const {
    return reinterpret_cast<const __nv_bfloat16*>(at + Shape::kHighBytes + Shape::kLowBytes);
  }
  __device__ __forceinline__ std::byte* spill() const {
    return at + Shape::kHighBytes + Shape::kLowBytes + Shape::kScaleBytes;
  }
  // Scales and middles of the spill columns follow their numbers.
  static __host__ __device__ constexpr int bytes(int spill) {
    const int numbers = kRows * spill * Shape::kBits / 8;
    const int all = Shape::kHighBytes + Shape::kLowBytes + Shape::kScaleBytes + numbers + 4 * spill;
    return (all + 127) / 128 * 128;
  }
};

// Over the pages of a cluster's segments; the one it stands in is kept in registers.
struct PageWalk {
  const DecodeSegment* segment;
  const DecodeSegment* end;
  DecodeSegment now;
  int page = 0;

  __device__ __forceinline__ PageWalk(const DecodeSegment* first, const DecodeSegment* last)
      : segment(first), end(last) {
    if (!done()) now = *segment;
  }
  __device__ __forceinline__ bool done() const { return segment == end; }
  __device__ __forceinline__ bool last() const { return page + 1 == now.page_count; }
  __device__ __forceinline__ const std::byte* address(int64_t plane) const {
    return now.pages[page] + plane;
  }
  __device__ __forceinline__ int turn() const { return now.turn + page; }
  __device__ __forceinline__ int regime() const { return now.regime; }
  __device__ __forceinline__ void advance() {
    if (!last()) {
      ++page;
      return;
    }
    ++segment;
    page = 0;
    if (!done()) now = *segment;
  }
};

// Where one warp stands among the stages and the buffers.
template <class Shape>
struct DecodeBlock {
  const DecodeArguments& arguments;
  DecodeShared<Shape>& shared;
  std::byte* stages;
  int stage_bytes;
  int stage_count;
  int rank;
  int lane;
  int tile = 0;
  int stage_index = 0;
  int stage_phase = 0;

  __device__ __forceinline__ Stage<Shape> stage() const {
    return {stages + stage_index * stage_bytes};
  }
  __device__ __forceinline__ int buffer() const { return tile % Shape::kBuffers; }
  __device__ __forceinline__ int buffer_phase() const { return tile / Shape::kBuffers & 1; }
  __device__ __forceinline__ void wait_full() {
    wait_barrier(&shared.full[stage_index], stage_phase);
  }
  // By those who read columns. All else has been read when the page's probabilities are there.
  __device__ __forceinline__ void free_stage() { arrive(&shared.free[stage_index]); }
  __device__ __forceinline__ void advance() {
    ++tile;
    if (++stage_index < stage_count) return;
    stage_index = 0;
    stage_phase ^= 1;
  }
};

// A block's share of the page at `plane`: its columns with their scales, and the spill columns.
// What is largest is asked for first.
template <class Shape>
__device__ __forceinline__ void load_page(const DecodeBlock<Shape>& block, const std::byte* plane) {
  constexpr int kScales = Shape::kColumns * 2;
  const DecodeArguments& a = block.arguments;
  Barrier* const full = &block.shared.full[block.stage_index];
  const Stage<Shape> to = block.stage();
  const int64_t row_bits = int64_t{kRows} / 8 * a.width;
  const std::byte* low = plane + row_bits * Shape::kHigh;
  const std::byte* scales = plane + row_bits * Shape::kBits;
  const int rank = block.rank;
  copy_bulk(to.at, plane + rank * Shape::kHighBytes, Shape::kHighBytes, full);
  if constexpr (Shape::kLowBytes > 0) {
    copy_bulk(to.at + Shape::kHighBytes, low + rank * Shape::kLowBytes, Shape::kLowBytes, full);
  }
  std::byte* const scales_to = to.at + Shape::kHighBytes + Shape::kLowBytes;
  copy_bulk(scales_to, scales + rank * kScales, kScales, full);
  if constexpr (Shape::kCentred) {
    copy_bulk(scales_to + kScales, scales + 2 * a.width + rank * kScales, kScales, full);
  }
  if (a.spill == 0) return;
  const int keys = a.width - a.spill;
  const int spill_high = kRows * a.spill * Shape::kHigh / 8;
  const int spill_low = kRows * a.spill * Shape::kLow / 8;
  std::byte* spill_to = to.spill();
  copy_bulk(spill_to, plane + int64_t{kRows} / 8 * keys * Shape::kHigh, spill_high, full);
  if constexpr (Shape::kLow > 0) {
    copy_bulk(spill_to + spill_high, low + int64_t{kRows} / 8 * keys * Shape::kLow, spill_low,
              full);
  }
  spill_to += spill_high + spill_low;
  copy_bulk(spill_to, scales + 2 * keys, 2 * a.spill, full);
  if constexpr (Shape::kCentred) {
    copy_bulk(spill_to + 2 * a.spill, scales + 2 * a.width + 2 * keys, 2 * a.spill, full);
  }
}

// One lane's work.
template <class Shape>
__device__ __forceinline__ void load_pages(DecodeBlock<Shape> block, PageWalk walk) {
  if (block.lane != 0) return;
  const int spill = block.arguments.spill;
  const int bytes = Shape::kHighBytes + Shape::kLowBytes + Shape::kScaleBytes +
                    kRows * spill * Shape::kBits / 8 + 2 * spill * (Shape::kCentred ? 2 : 1);
  for (; !walk.done(); block.advance()) {
    const std::byte* const plane = walk.address(block.arguments.plane);
    if (block.tile >= block.stage_count) {
      wait_barrier(&block.shared.free[block.stage_index], block.stage_phase ^ 1);
    }
    expect_bytes(&block.shared.full[block.stage_index], bytes);
    load_page(block, plane);
    walk.advance();
  }
}

template <class Shape>
__device__ __forceinline__ DecodeBlock<Shape> decode_block(const DecodeArguments& arguments,
                                                           std::byte* memory, int stage_count) {
  int rank = 0;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  const int stage_bytes = Stage<Shape>::bytes(arguments.spill);
  return {arguments,
          *reinterpret_cast<DecodeShared<Shape>*>(memory),
          memory + kFixedBytes<Shape>,
          stage_bytes,
          stage_count,
          rank,
          static_cast<int>(threadIdx.x % 32)};
}

// All blocks of the cluster, this one too, send a buffer's probabilities.
template <class Shape>
__device__ __forceinline__ void expect_probabilities(const DecodeBlock<Shape>& block, int buffer) {
  if constexpr (Shape::kCluster > 1) {
    expect_bytes(&block.shared.p_full[buffer],
                 Shape::kAllHeads * (kRows * int{sizeof(__half)} + int{sizeof(float2)}));
  }
}

// Gives a buffer of probabilities back to all blocks that write into it.
template <class Shape>
__device__ __forceinline__ void free_buffer(const DecodeBlock<Shape>& block) {
  if constexpr (Shape::kCluster == 1) {
    arrive(&block.shared.p_free[block.buffer()]);
    return;
  }
  __syncwarp();
  if (block.lane < Shape::kCluster) {
    arrive_at(&block.shared.p_free[block.buffer()], block.lane);
  }
}

template <class Shape>
__device__ __forceinline__ void clear_beyond_heads(DecodeShared<Shape>& shared) {
  constexpr int kBeyond = 8 * Shape::kHeadTiles - Shape::kAllHeads;
  if constexpr (kBeyond > 0) {
    const int head = Shape::kAllHeads + static_cast<int>(threadIdx.x) % kBeyond;
    const int row = static_cast<int>(threadIdx.x) / kBeyond;
    if (row >= Shape::kBuffers * kRows / 8) return;
    shared.p[row % Shape::kBuffers][row / Shape::kBuffers][head] = {0, 0, 0, 0};
    if (row < Shape::kBuffers) shared.states[row][head] = {0.0F, 0.0F};
  }
}

template <class Shape>
__device__ __forceinline__ void init_shared(DecodeBlock<Shape>& block) {
  clear_beyond_heads(block.shared);
  // All lanes arrive where one could for its warp: racecheck follows no other order, and it costs
  // nothing that could be measured. (Other blocks' barriers take one arrival a warp.)
  if (threadIdx.x == 0) {
    for (int i = 0; i < block.stage_count; ++i) {
      init_barrier(&block.shared.full[i], 1);
      init_barrier(&block.shared.free[i], 32 * kColumnWarps);
    }
    for (int i = 0; i < Shape::kBuffers; ++i) {
      // A block alone writes its own buffers, head by head.
      init_barrier(&block.shared.p_full[i], Shape::kCluster == 1 ? 32 * Shape::kHeads : 1);
      init_barrier(&block.shared.p_free[i],
                   Shape::kCluster == 1 ? 32 * kColumnWarps : kColumnWarps * Shape::kCluster);
    }
    init_barrier(&block.shared.parts_full, 32 * Shape::kPairWarps);
    init_barrier(&block.shared.parts_free, 32 * Shape::kHeadWarps);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    for (int i = 0; i < Shape::kBuffers; ++i) expect_probabilities(block, i);
  }
  sync_cluster();
}

}  // namespace slim::cuda
