// The mixing warpgroups of the one-read kernel over rows (decode_rows.cuh), and the kernel.
#pragma once

#include "kernels/cuda/decode_rows_scores.cuh"
#include "kernels/cuda/earlier_work.cuh"

namespace slim::cuda {

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

  // Rows that are not there weigh nothing, but what stands in their place may not be a number.
  __device__ __forceinline__ void clear_rows(const RowBlock<Shape>& block, int rows) const {
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
    for (int tile = 0; tile < kTiles; ++tile) {
      auto* const slab =
          reinterpret_cast<uint4*>(block.ring + block.place(kFirst + tile) * kSlabBytes);
      for (int i = rows * 8 + thread; i < kPageTokens * 8; i += kGroupThreads) slab[i] = {};
    }
    order_shared_writes();
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
    wait_barrier(&block.shared.weights_full[buffer], block.buffer_phase());
    if (block.shared.renewed[buffer] != 0) scale(block, block.shared.shrink[buffer]);
    if (rows_left < kPageTokens) clear_rows(block, rows_left);
    order_registers();
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint64_t rows = operand(block.address(kFirst + tile));
#pragma unroll
      for (int piece = 0; piece < Shape::kPieces; ++piece) {
        const uint64_t weights = operand(block.shared.weights_of(buffer, piece));
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          multiply_slabs<typename Shape::Number, true>(sums[tile],
                                                       operand_after(rows, 16 * kSlabRowBytes * k),
                                                       operand_after(weights, 32 * k), 1);
        }
      }
      commit_products();
    }
    free_slabs<0>(block);
    if (block.lane == 0) arrive(&block.shared.weights_free[buffer]);
  }

  __device__ __forceinline__ void write(const RowBlock<Shape>& block, float* rows) const {
    const int warp = static_cast<int>(threadIdx.x) / 32 % 4;
    const int column =
        block.rank * Shape::kColumns + kFirst * kSlabNumbers + 16 * warp + block.lane / 4;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < kSums; ++i) {
        const int head = i / 4 * 8 + block.lane % 4 * 2 + i % 2;
        if (head >= Shape::kHeads) continue;
        rows[head * Shape::kWidth + column + tile * kSlabNumbers + i % 4 / 2 * 8] = sums[tile][i];
      }
    }
  }

  // Multiplies the sums with a number for each head.
  __device__ __forceinline__ void scale(const RowBlock<Shape>& block, const float* by_head) {
#pragma unroll
    for (int j = 0; j < Shape::kMixHeads / 8; ++j) {
      const float2 by = *reinterpret_cast<const float2*>(by_head + 8 * j + block.lane % 4 * 2);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        sums[tile][4 * j] *= by.x;
        sums[tile][4 * j + 1] *= by.y;
        sums[tile][4 * j + 2] *= by.x;
        sums[tile][4 * j + 3] *= by.y;
      }
    }
  }
};

// By a warpgroup: a part of the block's slabs. Of a whole query it waits for the sums of weights;
// the buffers of these change over, so that scoring may go on meanwhile.
template <class Shape, int kFirst, int kTiles>
__device__ __forceinline__ void mix_rows(RowBlock<Shape> block, RowWalk walk) {
  const RowArguments& a = block.arguments;
  MixedSlabs<Shape, kFirst, kTiles> mixed;
  int whole = 0;
  while (walk.next_segment()) {
    mixed.clear();
    for (; walk.page < walk.segment.page_count; ++walk.page, block.advance()) {
      mixed.add_page(block, walk.rows_left());
    }
    if (walk.segment.slot < 0) {
      sync_threads<3 * kGroupThreads, kTotalsReady>();
      mixed.scale(block, block.shared.shares[whole++ % 2]);
      mixed.write(block, a.mixed + walk.segment.token * a.mixed_stride);
    } else {
      mixed.write(block,
                  a.sums + static_cast<int64_t>(walk.segment.slot) * Shape::kHeads * Shape::kWidth);
    }
  }
}

template <class Shape>
__device__ __forceinline__ void init_rows(const RowBlock<Shape>& block) {
  RowShared<Shape>& shared = block.shared;
  if constexpr (Shape::kHeads % 4 != 0) {  // heads that pad the products
    auto* const queries = reinterpret_cast<uint32_t*>(shared.queries);
    for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.queries) / 4); i += kRowThreads) {
      queries[i] = 0;
    }
  }
  if (threadIdx.x < Shape::kQuads * 4) shared.unscale[threadIdx.x] = 1.0F;
  if (threadIdx.x < 2 * Shape::kMixHeads) {
    shared.shrink[0][threadIdx.x] = 1.0F;
    shared.shares[0][threadIdx.x] = 1.0F;
  }
  order_shared_writes();
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
    read_rows(const __grid_constant__ CUtensorMap map,
              const __grid_constant__ RowArguments arguments, int ring_slabs) {
  wait_for_earlier();
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<RowShared<Shape>*>(memory + ring_slabs * kSlabBytes);
  const int rank = static_cast<int>(blockIdx.x) % Shape::kCluster;
  const int group = __shfl_sync(~0U, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  RowBlock<Shape> block{arguments,  shared, memory,
                        ring_slabs, rank,   static_cast<int>(threadIdx.x) % 32};
  const RowWalk walk(arguments, static_cast<int>(blockIdx.x) / Shape::kCluster);
  init_rows(block);
  if (group == 3) {
    if (threadIdx.x == 3 * kGroupThreads) load_slabs(block, walk, map);
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

template <class Shape>
RowEntry row_entry() {
  return {Shape::kWidth, Shape::kCluster, Shape::kSlabs,
          reinterpret_cast<const void*>(&read_rows<Shape>), RowShared<Shape>::bytes()};
}

// Whisper's widths, tiny to large.
template <typename T>
const RowEntry* find_rows(int64_t width) {
  static const RowEntry entries[] = {
      row_entry<RowShape<T, 6, 1>>(),  row_entry<RowShape<T, 8, 1>>(),
      row_entry<RowShape<T, 12, 1>>(), row_entry<RowShape<T, 8, 2>>(),
      row_entry<RowShape<T, 10, 2>>(),
  };
  for (const RowEntry& entry : entries) {
    if (entry.width == width) return &entry;
  }
  return nullptr;
}

}  // namespace slim::cuda
