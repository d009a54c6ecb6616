// The mixing warpgroups of the one-read kernel over rows (decode_rows.cuh), and the kernel.
#pragma once

#include "kernels/cuda/decode_rows_scores.cuh"

namespace slim::cuda {

// Whether this page's weights are taken from other maxima than those before.
template <class Shape>
__device__ __forceinline__ bool is_renewed(const RowBlock<Shape>& block) {
  const int buffer = block.buffer();
  if constexpr (!Shape::kOwners) {
    return block.shared.renewed[buffer] != 0;
  } else {
    bool any = false;
#pragma unroll
    for (int j = 0; j < Shape::kMixHeads / 8; ++j) {
      const float2 by = *reinterpret_cast<const float2*>(block.shared.shrink[buffer] + 8 * j +
                                                         block.lane % 4 * 2);
      any |= by.x != 1.0F || by.y != 1.0F;
    }
    return __any_sync(~0U, any);
  }
}

// Gives the weights back to whom they came from. The first group's first thread says first what it
// awaits next.
template <bool kFirstGroup, class Shape>
__device__ __forceinline__ void free_weights(const RowBlock<Shape>& block) {
  Barrier* const free = &block.shared.weights_free[block.buffer()];
  if constexpr (!Shape::kOwners) {
    if (block.lane == 0) arrive(free);
  } else {
    if (kFirstGroup && threadIdx.x == kGroupThreads) expect_weights(block, block.buffer());
    __syncwarp();
    if (block.lane < Shape::kCluster) arrive_at(free, block.lane);
  }
}

// kTiles of the block's slabs from kFirst on: sums of 64 columns by all heads each.
template <class Shape, int kFirst, int kTiles>
struct MixedSlabs {
  static constexpr int kSums = Shape::kMixHeads / 2;
  float sums[kTiles][kSums];

  __device__ __forceinline__ void clear() {
    for (auto& tile : sums) {
      for (float& sum : tile) sum = 0.0F;
    }
  }

  __device__ __forceinline__ void rescale(const RowBlock<Shape>& block) {
    const float* const shrink = block.shared.shrink[block.buffer()];
#pragma unroll
    for (int j = 0; j < Shape::kMixHeads / 8; ++j) {
      const float2 by = *reinterpret_cast<const float2*>(shrink + 8 * j + block.lane % 4 * 2);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        sums[tile][4 * j] *= by.x;
        sums[tile][4 * j + 1] *= by.y;
        sums[tile][4 * j + 2] *= by.x;
        sums[tile][4 * j + 3] *= by.y;
      }
    }
  }

  // Rows that are not there weigh nothing, but what stands in their place may not be a number.
  __device__ __forceinline__ void clear_rows(const RowBlock<Shape>& block, int rows) const {
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
    for (int tile = 0; tile < kTiles; ++tile) {
      auto* const slab =
          reinterpret_cast<uint4*>(block.ring + block.place(kFirst + tile) * kSlabBytes);
      for (int i = rows * 8 + thread; i < kPageTokens * 8; i += kGroupThreads) slab[i] = {};
    }
    publish_to_products();
    sync_threads<kGroupThreads, kRowsCleared + (kFirst > 0 ? 1 : 0)>();
  }

  // Frees the slab of each group of products that is done.
  template <int kTile>
  __device__ __forceinline__ void free_slabs(const RowBlock<Shape>& block) const {
    if constexpr (kTile < kTiles) {
      wait_products<kTiles - 1 - kTile>();
      __syncwarp();
      if (block.lane == 0) arrive(&block.shared.free[block.place(kFirst + kTile)]);
      free_slabs<kTile + 1>(block);
    }
  }

  __device__ __forceinline__ void add_page(const RowBlock<Shape>& block, int rows_left) {
    const int buffer = block.buffer();
    await<Shape>(&block.shared.weights_full[buffer], block.buffer_phase(), 500);
    if (is_renewed(block)) rescale(block);
    if (rows_left < kPageTokens) clear_rows(block, rows_left);
    begin_products();
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint64_t rows = operand(block.address(kFirst + tile));
#pragma unroll
      for (int piece = 0; piece < Shape::kPieces; ++piece) {
        const uint64_t weights = operand(shared_address(block.shared.weights[buffer][piece]));
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          multiply_slabs<typename Shape::Number, true>(
              sums[tile], operand_after(rows, 16 * kSlabRowBytes * k),
              operand_after(weights, 32 * k), 1);
        }
      }
      commit_products();
    }
    free_slabs<0>(block);
    free_weights<kFirst == 0>(block);
  }

  __device__ __forceinline__ void write(const RowBlock<Shape>& block, int slot) const {
    const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
    const int column = block.rank * Shape::kColumns + kFirst * kSlabNumbers + 16 * warp +
                       block.lane / 4;
    const int heads = block.arguments.heads;
    float* const to =
        block.arguments.sums + static_cast<int64_t>(slot) * heads * Shape::kWidth + column;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const int head = i / 4 * 8 + block.lane % 4 * 2 + i % 2;
        if (head >= heads) continue;
        to[head * Shape::kWidth + tile * kSlabNumbers + i % 4 / 2 * 8] = sums[tile][i];
      }
    }
  }
};

template <class Shape, int kFirst, int kTiles>
__device__ __forceinline__ void mix_rows(RowBlock<Shape> block, RowWalk walk) {
  MixedSlabs<Shape, kFirst, kTiles> mixed;
  while (walk.next_segment()) {
    mixed.clear();
    for (; walk.page < walk.segment.page_count; ++walk.page, block.advance()) {
      mixed.add_page(block, walk.rows_left());
    }
    mixed.write(block, walk.segment.slot);
  }
}

template <class Shape>
__device__ __forceinline__ void init_rows(const RowBlock<Shape>& block) {
  RowShared<Shape>& shared = block.shared;
  // Heads that pad the products.
  auto* const weights = reinterpret_cast<uint32_t*>(shared.weights);
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.weights) / 4); i += kRowThreads) {
    weights[i] = 0;
  }
  if constexpr (Shape::kHeads % 4 != 0) {
    auto* const queries = reinterpret_cast<uint32_t*>(shared.queries);
    for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.queries) / 4); i += kRowThreads) {
      queries[i] = 0;
    }
  }
  if (threadIdx.x < Shape::kQuads * 4) shared.unscale[threadIdx.x] = 1.0F;
  if (threadIdx.x < 2 * Shape::kMixHeads) shared.shrink[0][threadIdx.x] = 1.0F;
  publish_to_products();
  if (threadIdx.x == 0) {
    for (int i = 0; i < block.ring_slabs; ++i) {
      init_barrier(&shared.full[i], 1);
      init_barrier(&shared.free[i], 4);
    }
    for (int i = 0; i < 2; ++i) {
      init_barrier(&shared.weights_full[i], 4);
      init_barrier(&shared.weights_free[i], 8);
      init_barrier(&shared.parts_full[i], 1);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    if constexpr (Shape::kCluster > 1) {
      for (Barrier& full : shared.parts_full) {
        expect_bytes(&full, static_cast<int>(sizeof(shared.parts[0])));
      }
    }
  }
  if constexpr (Shape::kCluster > 1) {
    sync_cluster();
  } else {
    __syncthreads();
  }
}

template <class Shape>
__global__ void __launch_bounds__(kRowThreads, 1)
    decode_rows(const __grid_constant__ CUtensorMap map,
                const __grid_constant__ RowArguments arguments, int ring_slabs) {
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<RowShared<Shape>*>(memory + ring_slabs * kSlabBytes);
  const int rank = static_cast<int>(blockIdx.x) % Shape::kCluster;
  const int group = __shfl_sync(~0U, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  RowBlock<Shape> block{arguments, shared, memory, ring_slabs, rank,
                        static_cast<int>(threadIdx.x) % 32};
  const RowWalk walk(arguments, static_cast<int>(blockIdx.x) / Shape::kCluster);
  if constexpr (Shape::kBounded) {
    if (threadIdx.x == 0 && shared_address(memory) % 1024 != 0) __trap();
  }
  init_rows(block);
  if (group == 3) {
    if (block.lane == 0) load_slabs(block, walk, map);
  } else {
    if (walk.next != walk.end) {
      prepare_queries(block, walk.next->token, static_cast<int>(threadIdx.x) / 32, 12);
    }
    sync_threads<3 * kGroupThreads, kQueriesReady>();
    if (group == 0) {
      score_rows(block, walk);
    } else if (group == 1) {
      mix_rows<Shape, 0, Shape::kSlabs / 2>(block, walk);
    } else {
      mix_rows<Shape, Shape::kSlabs / 2, Shape::kSlabs / 2>(block, walk);
    }
  }
  // The other block may still send to this one's shared memory until it has all scores.
  if constexpr (Shape::kCluster > 1) sync_cluster();
}

}  // namespace slim::cuda
