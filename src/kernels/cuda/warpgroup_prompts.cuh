// Attention of up to 128 queries of one head over tiles of 64 rows (prompt_rows.cuh), on sm_90: as
// prompt_tiles.cuh, with the products of whole warpgroups. Two warpgroups have 64 queries each, in
// shared memory; a warp of a third one brings pages, a bulk copy for keys and one for values, since
// their tiles lie in scratch memory as slabs (warpgroup_products.cuh). Scores come from slabs on
// both sides, mixtures from weights in registers and values whose rows run along K. While one
// warpgroup takes exponentials the other one multiplies.
#pragma once

#include "kernels/cuda/cluster_memory.cuh"
#include "kernels/cuda/decode_occupancy.h"
#include "kernels/cuda/prompt_softmax.cuh"
#include "kernels/cuda/warpgroup_products.cuh"

namespace slim::cuda {

constexpr int kGroupThreads = 3 * 128;  // of a block
constexpr int kMostPromptStages = 4;
constexpr int kTileSlab = static_cast<int>(kPageRows) * kSlabRowBytes;  // bytes

// d[64, 64] (= or +=) a[64, 16] b[64, 16]^T, both slabs whose rows run along M and N.
template <bool kFirst>
__device__ __forceinline__ void multiply_keys(float (&d)[8][4], uint64_t a, uint64_t b) {
  asm volatile(
      "{ .reg .pred add; setp.ne.b32 add, %34, 0; "
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, "
      "%7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "
      "%23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, add, 1, 1, 0, 0; }"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3])
      : "l"(a), "l"(b), "n"(kFirst ? 0 : 1));
}

// d[64, N] += a[64, 16] b[16, N], a in registers, b slabs whose rows run along K.
__device__ __forceinline__ void mix_values(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, "
      "%7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "
      "%23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, 1, 1, "
      "1, 1;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void mix_values(float (&d)[12][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n96k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, "
      "%7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "
      "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, "
      "%39, %40, %41, %42, %43, %44, %45, %46, %47}, {%48, %49, %50, %51}, %52, 1, 1, "
      "1, 1;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]),
        "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]),
        "+f"(d[11][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void mix_values(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%0, %1, %2, %3, %4, %5, %6, "
      "%7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, "
      "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, "
      "%39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, "
      "%55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, 1, 1, "
      "1, 1;"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]),
        "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]),
        "+f"(d[11][3]), "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]),
        "+f"(d[13][0]), "+f"(d[13][1]), "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]),
        "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), "+f"(d[15][0]), "+f"(d[15][1]),
        "+f"(d[15][2]), "+f"(d[15][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Shared memory: queries [warpgroup][part][slab], stages of [keys, values][part][slab], barriers.
template <int kColumns, int kParts>
struct GroupShape {
  static constexpr int kSlabs = (kColumns + 63) / 64;
  static constexpr int kPart = kSlabs * kTileSlab;
  static constexpr int kTile = kParts * kPart;
  static constexpr int kStage = 2 * kTile;  // keys and values
  static constexpr int kQueries = 2 * kTile;
  static constexpr int kBarriers = 128;
  static constexpr int kStages =
      (kSharedBytes - kQueries - kBarriers - 1024) / kStage < kMostPromptStages
          ? (kSharedBytes - kQueries - kBarriers - 1024) / kStage
          : kMostPromptStages;
  static constexpr int kBytes = 1024 + kQueries + kStages * kStage + kBarriers;
  static_assert(kStages >= 2);
};

template <int kColumns, int kParts>
class PromptGroup : PromptSoftmax<kColumns, kParts> {
  using Softmax = PromptSoftmax<kColumns, kParts>;
  using Softmax::item_;
  using Softmax::mixed_;
  using Softmax::view_;
  using Softmax::warp_;
  using typename Softmax::Halves;
  using typename Softmax::Scores;
  using Shape = GroupShape<kColumns, kParts>;

 public:
  __device__ __forceinline__ PromptGroup(const PromptView& view, const PromptItem& item, int head,
                                         std::byte* memory)
      : Softmax(view, item, head),
        queries_(memory),
        stages_(memory + Shape::kQueries),
        full_(reinterpret_cast<Barrier*>(stages_ + Shape::kStages * Shape::kStage)),
        free_(full_ + Shape::kStages) {}

  // All threads.
  __device__ __forceinline__ void begin() {
    if (threadIdx.x == 0) {
      for (int i = 0; i < Shape::kStages; ++i) {
        init_barrier(&full_[i], 1);
        init_barrier(&free_[i], 8);  // warps
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
  }

  // One thread.
  __device__ __forceinline__ void load() {
    for (int i = 0; item_.page_begin + i < item_.page_end; ++i) {
      const int stage = i % Shape::kStages;
      if (i >= Shape::kStages) wait_barrier(&free_[stage], (i / Shape::kStages - 1) & 1);
      const int64_t at = this->tile(item_.page_begin + i) * view_.tile_numbers();
      std::byte* const to = stages_ + stage * Shape::kStage;
      expect_bytes(&full_[stage], Shape::kStage);
      copy_bulk(to, reinterpret_cast<const std::byte*>(view_.keys + at), Shape::kTile,
                &full_[stage]);
      copy_bulk(to + Shape::kTile, reinterpret_cast<const std::byte*>(view_.values + at),
                Shape::kTile, &full_[stage]);
    }
  }

  // Two warpgroups.
  __device__ __forceinline__ void attend() {
    this->load_queries([&](int row, int column, const uint16_t(&parts)[2]) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        std::byte* const to = queries_ + row / 64 * Shape::kTile + part * Shape::kPart;
        *reinterpret_cast<uint16_t*>(to + place(row % 64, column)) = parts[part];
      }
    });
    this->value_unit_ = this->value_unit();
    order_shared_writes();
    asm volatile("bar.sync %0, 128;" ::"r"(1 + warp_ / 4) : "memory");
    const bool some = 64 * (warp_ / 4) < item_.count();
    for (int page = item_.page_begin; page < item_.page_end; ++page) {
      const int i = page - item_.page_begin;
      const int stage = i % Shape::kStages;
      wait_barrier(&full_[stage], i / Shape::kStages & 1);
      if (some) attend_page(page, stages_ + stage * Shape::kStage);
      __syncwarp();
      if (this->lane_ == 0) arrive(&free_[stage]);
    }
    this->store();
  }

 private:
  // Bytes from the beginning of a part to a column of row `row` of 64.
  __device__ __forceinline__ static int place(int row, int column) {
    return column / 64 * kTileSlab + slab_byte(row, column % 64 * 2);
  }

  __device__ __noinline__ static float single_product(const std::byte* queries, int query,
                                                      const std::byte* keys, int key) {
    const auto number = [](const std::byte* from, int row, int column) {
      return Softmax::whole(reinterpret_cast<const uint16_t*>(from + place(row, column)),
                            Shape::kPart / 2);
    };
    float sum = 0.0F;
    for (int c = 0; c < kColumns; ++c) {
      sum = fmaf(number(queries, query, c), number(keys, key, c), sum);
    }
    return sum;
  }

  __device__ __forceinline__ void attend_page(int page, const std::byte* stage) {
    Scores scores;
    multiply(stage, scores);
    if (this->odd_queries_ || view_.odd_keys[this->tile(page)] != 0) {
      const std::byte* const queries = queries_ + warp_ / 4 * Shape::kTile;
      this->score_singly(
          [&](int query, int key) { return single_product(queries, query % 64, stage, key); },
          scores);
    }
    this->finish_scores(page, scores);
    this->weigh(scores);
    mix(stage + Shape::kTile, scores);
  }

  // The smaller products first.
  __device__ __forceinline__ void multiply(const std::byte* keys, Scores& scores) const {
    const uint64_t query = operand(shared_address(queries_) + warp_ / 4 * Shape::kTile);
    const uint64_t key = operand(shared_address(keys));
    order_registers();
#pragma unroll
    for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
      for (int part = order; part >= 0; --part) {
#pragma unroll
        for (int k = 0; k < kColumns; k += 16) {
          const int at = k / 64 * kTileSlab + k % 64 * 2;
          const uint64_t a = operand_after(query, part * Shape::kPart + at);
          const uint64_t b = operand_after(key, (order - part) * Shape::kPart + at);
          if (order == kParts - 1 && part == order && k == 0) {
            multiply_keys<true>(scores, a, b);
          } else {
            multiply_keys<false>(scores, a, b);
          }
        }
      }
    }
    commit_products();
    wait_products<0>();
  }

  __device__ __forceinline__ void mix(const std::byte* values, const Scores& weights) {
    Halves halves[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) Softmax::take_weights(weights, k, halves[k]);
    const uint64_t value = operand<kTileSlab>(shared_address(values));
    order_registers();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
        for (int part = order; part >= 0; --part) {
          mix_values(mixed_, halves[k][part],
                     operand_after(value, (order - part) * Shape::kPart + 16 * k * kSlabRowBytes));
        }
      }
    }
    commit_products();
    wait_products<0>();
  }

  std::byte* queries_;
  std::byte* stages_;
  Barrier* full_;
  Barrier* free_;
};

}  // namespace slim::cuda
