// The one-read kernel over rows for many queries of the same rows, such as beams (decode_rows.cuh
// is for one token's). A cluster shares the columns; its blocks share the queries as *owners*, in
// blocks of eight. In each block
//   a warpgroup scores all queries by its columns, and sends each owner what belongs to it;
//   three warps, each for its eight queries or sixteen, add up what came, take exponentials and
//   send them to all blocks;
//   a warp loads; two warpgroups mix, as for one token.
// Q' is one piece of f16: its rounding is that of the rows themselves.
#pragma once

#include "kernels/cuda/decode_rows_mix.cuh"

namespace slim::cuda {

template <typename T, int kSlabs_, int kHeads_, int kCluster_, bool kBounded_ = false>
struct WideShape {
  using Number = T;
  static constexpr int kSlabs = kSlabs_;
  static constexpr int kHeads = kHeads_;  // at most: of all tokens that share rows
  static constexpr int kCluster = kCluster_;
  static constexpr bool kBounded = kBounded_;
  static constexpr int kColumns = kSlabs * kSlabNumbers;
  static constexpr int kWidth = kColumns * kCluster;
  static constexpr int kBlocks = (kHeads + 7) / 8;  // of eight queries
  static constexpr int kMixHeads = 8 * kBlocks;
  static constexpr int kQuerySlab = kBlocks * 1024;
  static constexpr int kQueryPieces = 1;
  static constexpr int kPieces = 1;
  static constexpr int kWeightBytes = kMixHeads * kSlabRowBytes;
  static constexpr bool kOwners = true;
  static constexpr int kMostOwned = (kBlocks + kCluster - 1) / kCluster;
  __host__ __device__ static constexpr int first_block(int rank) {
    return kBlocks * rank / kCluster;
  }
  __host__ __device__ static constexpr int owned(int rank) {
    return first_block(rank + 1) - first_block(rank);
  }
  static_assert(std::is_same_v<T, __half> && kBlocks / kCluster >= 3 && kMostOwned <= 6);
};

constexpr int kOwnerWarps = 3;

template <class Shape>
struct RowShared<Shape, true> {
  alignas(1024) std::byte queries[Shape::kSlabs][Shape::kQuerySlab];
  alignas(1024) std::byte weights[kWeightBuffers][Shape::kPieces][Shape::kWeightBytes];
  // Sums of all blocks' columns for the queries owned here, by thread that scored.
  alignas(16) float4 parts[Shape::kCluster][Shape::kMostOwned][kGroupThreads];
  alignas(8) float shrink[kWeightBuffers][Shape::kMixHeads];
  alignas(8) float unscale[Shape::kMixHeads];
  Barrier weights_full[kWeightBuffers], weights_free[kWeightBuffers];
  Barrier parts_full, parts_free;
  Barrier full[kMostSlabs], free[kMostSlabs];
};

// What the other blocks send of a page's weights: 64 of f16 and a factor for each query.
template <class Shape>
__device__ __forceinline__ void expect_weights(const RowBlock<Shape>& block, int buffer) {
  const int others = Shape::kBlocks - Shape::owned(block.rank);
  expect_bytes(&block.shared.weights_full[buffer], others * (8 * kSlabRowBytes + 8 * 4));
}
template <class Shape>
__device__ __forceinline__ void expect_parts(const RowBlock<Shape>& block) {
  expect_bytes(&block.shared.parts_full, Shape::kCluster * Shape::owned(block.rank) *
                                             kGroupThreads * static_cast<int>(sizeof(float4)));
}

// Shared memory of this block to the same place in another's.
__device__ __forceinline__ void copy_to_block(const void* at, int bytes, Barrier* barrier,
                                              int rank) {
  asm volatile(
      "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(remote_address(at, rank)),
      "r"(shared_address(at)), "r"(bytes), "r"(remote_address(barrier, rank))
      : "memory");
}

// By a warpgroup: all queries by this block's columns, one page.
template <class Shape>
__device__ __forceinline__ void score_page(const RowBlock<Shape>& block) {
  float d[Shape::kMixHeads / 2];
  const uint64_t queries = operand(shared_address(block.shared.queries));
#pragma unroll 1
  for (int i = 0; i < Shape::kSlabs; ++i) {
    await<Shape>(&block.shared.full[block.place(i)], block.phase(i), 200 + i);
    const uint64_t rows = operand(block.address(i));
    begin_products();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      multiply_slabs<typename Shape::Number, false>(
          d, operand_after(rows, 32 * k), operand_after(queries, i * Shape::kQuerySlab + 32 * k),
          i + k);
    }
    commit_products();
  }
  wait_products<0>();
  if (block.page > 0) await<Shape>(&block.shared.parts_free, (block.page - 1) & 1, 310);
#pragma unroll
  for (int owner = 0; owner < Shape::kCluster; ++owner) {
    const uint32_t to = remote_address(block.shared.parts[block.rank][0] + threadIdx.x, owner);
    const uint32_t barrier = remote_address(&block.shared.parts_full, owner);
#pragma unroll
    for (int i = 0; i < Shape::owned(owner); ++i) {
      const int j = Shape::first_block(owner) + i;
      const float2 unscale = *reinterpret_cast<const float2*>(block.shared.unscale + 8 * j +
                                                              block.lane % 4 * 2);
      put_at(to + i * kGroupThreads * static_cast<uint32_t>(sizeof(float4)), barrier,
             float4{d[4 * j] * unscale.x, d[4 * j + 1] * unscale.y, d[4 * j + 2] * unscale.x,
                    d[4 * j + 3] * unscale.y});
    }
  }
}

template <class Shape>
__device__ __forceinline__ void score_wide(RowBlock<Shape> block, RowWalk walk) {
  for (bool first = true; walk.next_segment(); first = false) {
    if (!first) {
      sync_threads<kGroupThreads, kScoresReady>();
      prepare_queries(block, walk.segment.token, static_cast<int>(threadIdx.x) / 32, 4);
      sync_threads<kGroupThreads, kScoresReady>();
    }
    for (; walk.page < walk.segment.page_count; ++walk.page, block.advance()) score_page(block);
  }
}

// Eight queries, in the lanes of a warp: lane l has queries l % 4 * 2 and the next, and of tokens
// those that are l / 4 in each eight.
template <class Shape>
struct OwnedQueries {
  int block_of_eight;  // of all
  float tops[2];
  float sums[2];
  float scores[8][2];  // of eights of tokens

  __device__ __forceinline__ void begin() {
    for (int i = 0; i < 2; ++i) {
      tops[i] = -INFINITY;
      sums[i] = 0.0F;
    }
  }

  __device__ __forceinline__ void add_parts(const RowBlock<Shape>& block, int rows_left) {
    const int owned = block_of_eight - Shape::first_block(block.rank);
#pragma unroll
    for (int warp = 0; warp < 4; ++warp) {
      float4 sum = block.shared.parts[0][owned][32 * warp + block.lane];
#pragma unroll
      for (int source = 1; source < Shape::kCluster; ++source) {
        const float4 part = block.shared.parts[source][owned][32 * warp + block.lane];
        sum = {sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w};
      }
      const int row = 16 * warp + block.lane / 4;
      scores[2 * warp][0] = row < rows_left ? sum.x : -INFINITY;
      scores[2 * warp][1] = row < rows_left ? sum.y : -INFINITY;
      scores[2 * warp + 1][0] = row + 8 < rows_left ? sum.z : -INFINITY;
      scores[2 * warp + 1][1] = row + 8 < rows_left ? sum.w : -INFINITY;
    }
  }

  // Weights, into this block's buffer, and from there to the others.
  __device__ __forceinline__ void send_weights(const RowBlock<Shape>& block) {
    const int buffer = block.buffer();
    std::byte* const weights = block.shared.weights[buffer][0] + block_of_eight * 1024;
    const int query = block.lane % 4 * 2;
    float shrink[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float most = scores[0][i];
#pragma unroll
      for (int k = 1; k < 8; ++k) most = fmaxf(most, scores[k][i]);
      for (int step = 4; step < 32; step *= 2) {
        most = fmaxf(most, __shfl_xor_sync(~0U, most, step));
      }
      shrink[i] = 1.0F;
      if (most > tops[i] + kWeightLag) {
        shrink[i] = exp2f(tops[i] - most);
        tops[i] = most;
        sums[i] *= shrink[i];
      }
      const float from = tops[i] == -INFINITY ? 0.0F : tops[i] - kWeightLift;
      const uint32_t to = shared_address(weights) +
                          static_cast<uint32_t>(slab_byte(query + i, block.lane / 4 * 2));
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const uint32_t bits = number_bits<__half>(exp_two(scores[k][i] - from));
        sums[i] += number_value<__half>(bits);
        store_shared(to ^ static_cast<uint32_t>(16 * k), bits);  // the k-th chunk
      }
    }
    publish_to_products();
    Barrier* const full = &block.shared.weights_full[buffer];
    float* const factors = block.shared.shrink[buffer] + 8 * block_of_eight + query;
    if (block.lane < 4) {
      *reinterpret_cast<float2*>(factors) = {shrink[0], shrink[1]};
#pragma unroll
      for (int other = 1; other < Shape::kCluster; ++other) {
        put(factors, full, (block.rank + other) % Shape::kCluster, float2{shrink[0], shrink[1]});
      }
    }
    __syncwarp();
    if (block.lane == 0) {
#pragma unroll
      for (int other = 1; other < Shape::kCluster; ++other) {
        copy_to_block(weights, 8 * kSlabRowBytes, full, (block.rank + other) % Shape::kCluster);
      }
      arrive(full);
    }
  }

  __device__ __forceinline__ void finish(const RowBlock<Shape>& block, int slot) {
    const int heads = block.arguments.heads;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float sum = sums[i];
      for (int step = 4; step < 32; step *= 2) sum += __shfl_xor_sync(~0U, sum, step);
      const int query = 8 * block_of_eight + block.lane % 4 * 2 + i;
      if (block.lane < 4 && query < heads) {
        block.arguments.states[slot * heads + query] = {tops[i], sum};
      }
    }
  }
};

template <class Shape>
__device__ __forceinline__ void soften_wide(RowBlock<Shape> block, RowWalk walk, int warp) {
  constexpr int kPasses = (Shape::kMostOwned + kOwnerWarps - 1) / kOwnerWarps;
  OwnedQueries<Shape> owned[kPasses];
  const int count = Shape::owned(block.rank);
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    owned[pass].block_of_eight = Shape::first_block(block.rank) + kOwnerWarps * pass + warp;
  }
  while (walk.next_segment()) {
#pragma unroll
    for (auto& queries : owned) queries.begin();
    for (; walk.page < walk.segment.page_count; ++walk.page, block.advance()) {
      await<Shape>(&block.shared.parts_full, block.page & 1, 300);
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (kOwnerWarps * pass + warp < count) owned[pass].add_parts(block, walk.rows_left());
      }
      if (warp == 0 && block.lane == 0) expect_parts(block);
      __syncwarp();
      if (block.lane < Shape::kCluster) arrive_at(&block.shared.parts_free, block.lane);
      if (block.page >= kWeightBuffers) {
        await<Shape>(&block.shared.weights_free[block.buffer()], block.buffer_phase() ^ 1, 400);
      }
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (kOwnerWarps * pass + warp < count) owned[pass].send_weights(block);
      }
    }
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      if (kOwnerWarps * pass + warp < count) owned[pass].finish(block, walk.segment.slot);
    }
  }
}

template <class Shape>
__device__ __forceinline__ void init_wide(const RowBlock<Shape>& block) {
  RowShared<Shape>& shared = block.shared;
  auto* const queries = reinterpret_cast<uint32_t*>(shared.queries);
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(shared.queries) / 4); i += kRowThreads) {
    queries[i] = 0;
  }
  if (threadIdx.x < Shape::kMixHeads) shared.unscale[threadIdx.x] = 1.0F;
  publish_to_products();
  if (threadIdx.x == 0) {
    for (int i = 0; i < block.ring_slabs; ++i) {
      init_barrier(&shared.full[i], 1);
      init_barrier(&shared.free[i], 4);
    }
    for (int i = 0; i < kWeightBuffers; ++i) {
      init_barrier(&shared.weights_full[i], Shape::owned(block.rank) + 1);
      init_barrier(&shared.weights_free[i], 8 * Shape::kCluster);
    }
    init_barrier(&shared.parts_full, 1);
    init_barrier(&shared.parts_free, kOwnerWarps * Shape::kCluster);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    for (int i = 0; i < kWeightBuffers; ++i) expect_weights(block, i);
    expect_parts(block);
  }
  sync_cluster();
}

template <class Shape>
__global__ void __launch_bounds__(kRowThreads, 1)
    decode_rows_wide(const __grid_constant__ CUtensorMap map,
                     const __grid_constant__ RowArguments arguments, int ring_slabs) {
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<RowShared<Shape>*>(memory + ring_slabs * kSlabBytes);
  const int rank = static_cast<int>(blockIdx.x) % Shape::kCluster;
  const int group = __shfl_sync(~0U, static_cast<int>(threadIdx.x) / kGroupThreads, 0);
  const int warp = __shfl_sync(~0U, static_cast<int>(threadIdx.x) / 32, 0);
  RowBlock<Shape> block{arguments, shared, memory, ring_slabs, rank,
                        static_cast<int>(threadIdx.x) % 32};
  const RowWalk walk(arguments, static_cast<int>(blockIdx.x) / Shape::kCluster);
  init_wide(block);
  if (group == 3) {
    give_registers<72>();
    if (warp < 12 + kOwnerWarps) {
      soften_wide(block, walk, warp - 12);
    } else if (block.lane == 0) {
      load_slabs(block, walk, map);
    }
  } else {
    if (walk.next != walk.end) prepare_queries(block, walk.next->token, warp, 12);
    sync_threads<3 * kGroupThreads, kQueriesReady>();
    constexpr int kHalf = (Shape::kSlabs + 1) / 2;
    if (group == 0) {
      give_registers<96>();
      score_wide(block, walk);
    } else if (group == 1) {
      take_registers<200>();
      mix_rows<Shape, 0, kHalf>(block, walk);
    } else {
      take_registers<144>();
      mix_rows<Shape, kHalf, Shape::kSlabs - kHalf>(block, walk);
    }
  }
  sync_cluster();
}

}  // namespace slim::cuda
