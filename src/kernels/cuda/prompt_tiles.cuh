// Attention of up to 128 queries of one head over tiles of 64 rows (prompt_rows.cuh), on tensor
// cores of any card (sm_80 and later; warpgroup_prompts.cuh is faster on sm_90). Eight warps have
// sixteen queries each; a page's tiles of keys and values come into shared memory while the page
// before is worked on. With every number a sum of two of f16,
//   scores = Q K^T and mixtures = P V,   a b = high high + high low + low high,
// which leaves out 2^-22 of a product and less; or of numbers rounded to one of f16, high high.
#pragma once

#include <cuda_pipeline.h>

#include "kernels/cuda/prompt_softmax.cuh"

namespace slim {

// Shared memory: queries, then as many stages of tiles. Rows are 16 bytes longer than they need be,
// so that those of a matrix lie in different banks.
template <int kColumns, int kParts>
struct PromptShape {
  static constexpr int kPitch = kColumns + 8;
  static constexpr int kQueries = kPromptQueries * kPitch;  // numbers of one part of the queries
  static constexpr int kPart = static_cast<int>(kPageRows) * kPitch;
  static constexpr int kKeys = kParts * kPart;
  static constexpr int kStage = 2 * kKeys;  // and values
  static constexpr int bytes(int stages) { return 2 * (kParts * kQueries + stages * kStage); }
};

template <int kColumns, int kParts>
class PromptBlock : PromptSoftmax<kColumns, kParts> {
  using Softmax = PromptSoftmax<kColumns, kParts>;
  using Softmax::item_;
  using Softmax::lane_;
  using Softmax::mixed_;
  using Softmax::view_;
  using Softmax::warp_;
  using typename Softmax::Halves;
  using typename Softmax::Scores;
  using Shape = PromptShape<kColumns, kParts>;

 public:
  __device__ PromptBlock(const PromptView& view, const PromptItem& item, int head, uint16_t* memory)
      : Softmax(view, item, head), queries_(memory), stages_(memory + kParts * Shape::kQueries) {}

  __device__ void run(int stages) {
    for (int i = 0; i < stages; ++i) ask_for(item_.page_begin + i, i);
    this->load_queries([&](int row, int column, const uint16_t(&parts)[2]) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        queries_[part * Shape::kQueries + row * Shape::kPitch + column] = parts[part];
      }
    });
    this->value_unit_ = this->value_unit();
    for (int page = item_.page_begin; page < item_.page_end; ++page) {
      const int stage = (page - item_.page_begin) % stages;
      if (stages > 1) {
        __pipeline_wait_prior(1);
      } else {
        __pipeline_wait_prior(0);
      }
      __syncthreads();
      if (16 * warp_ < item_.count()) attend(page, stages_ + stage * Shape::kStage);
      __syncthreads();
      ask_for(page + stages, stage);
    }
    __pipeline_wait_prior(0);
    this->store();
  }

 private:
  using Blocks = cuda::Fragments[kParts][2];  // four neighbouring blocks of eight columns

  // Asks for a page's tiles, if the item has that page, and closes a group of requests.
  __device__ void ask_for(int page, int stage) {
    if (page < item_.page_end) {
      constexpr int kChunks = kColumns / 8;  // of a row
      constexpr int kRows = 64 * kParts;
      const int64_t tile = this->tile(page) * view_.tile_numbers();
      uint16_t* const to = stages_ + stage * Shape::kStage;
#pragma unroll 4
      for (int i = static_cast<int>(threadIdx.x); i < 2 * kRows * kChunks; i += kPromptThreads) {
        const int row = i / kChunks;  // of keys' parts, then of values'
        const int chunk = i % kChunks;
        const uint16_t* const from = row < kRows ? view_.keys : view_.values;
        cuda::copy_chunk(to + row * Shape::kPitch + chunk * 8,
                         from + tile + row % kRows * kColumns + chunk * 8, 16);
      }
    }
    __pipeline_commit();
  }

  __device__ void attend(int page, const uint16_t* stage) {
    Scores scores = {};
    if (this->odd_queries_ || view_.odd_keys[this->tile(page)] != 0) {
      this->score_singly(
          [&](int query, int key) {
            return single_product(queries_ + query * Shape::kPitch, stage + key * Shape::kPitch);
          },
          scores);
    } else {
      multiply_keys(stage, scores);
    }
    this->finish_scores(page, scores);
    this->weigh(scores);
    mix(stage + Shape::kKeys, scores);
  }

  __device__ __noinline__ static float single_product(const uint16_t* query, const uint16_t* key) {
    float sum = 0.0F;
    for (int c = 0; c < kColumns; ++c) {
      sum = fmaf(Softmax::whole(query + c, Shape::kQueries), Softmax::whole(key + c, Shape::kPart),
                 sum);
    }
    return sum;
  }

  // c += a b of four neighbouring blocks, the smaller products first. Products that add to one sum
  // are four apart.
  __device__ static void multiply_parts(const Halves& a, const Blocks& b, float (*c)[4]) {
#pragma unroll
    for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
      for (int part = order; part >= 0; --part) {
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const cuda::Fragments& block = b[order - part][n / 2];
          cuda::multiply<false>(c[n], a[part], block.part[n % 2 * 2], block.part[n % 2 * 2 + 1]);
        }
      }
    }
  }

  __device__ void multiply_keys(const uint16_t* keys, Scores& scores) const {
    const uint16_t* const query =
        queries_ + (16 * warp_ + lane_ % 16) * Shape::kPitch + lane_ / 16 * 8;
    const uint16_t* const key =
        keys + (lane_ % 8 + lane_ / 16 * 8) * Shape::kPitch + lane_ / 8 % 2 * 8;
#pragma unroll 2
    for (int k = 0; k < kColumns; k += 16) {
      Halves a;
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const cuda::Fragments loaded = cuda::load_fragments(query + k + part * Shape::kQueries);
#pragma unroll
        for (int i = 0; i < 4; ++i) a[part][i] = loaded.part[i];
      }
#pragma unroll
      for (int n = 0; n < 8; n += 4) {
        Blocks b;
#pragma unroll
        for (int i = 0; i < 2 * kParts; ++i) {
          b[i / 2][i % 2] = cuda::load_fragments(key + i / 2 * Shape::kPart +
                                                 (8 * n + i % 2 * 16) * Shape::kPitch + k);
        }
        multiply_parts(a, b, scores + n);
      }
    }
  }

  __device__ void mix(const uint16_t* values, const Scores& weights) {
    const uint16_t* const value = values + lane_ % 16 * Shape::kPitch + lane_ / 16 * 8;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      Halves a;
      Softmax::take_weights(weights, k, a);
#pragma unroll
      for (int n = 0; n < kColumns / 8; n += 4) {
        Blocks b;
#pragma unroll
        for (int i = 0; i < 2 * kParts; ++i) {
          b[i / 2][i % 2] = cuda::load_transposed(value + i / 2 * Shape::kPart +
                                                  16 * k * Shape::kPitch + 8 * n + i % 2 * 16);
        }
        multiply_parts(a, b, mixed_ + n);
      }
    }
  }

  uint16_t* queries_;
  uint16_t* stages_;
};

}  // namespace slim
