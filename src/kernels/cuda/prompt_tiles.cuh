// Attention of up to 128 queries of one head over tiles of 64 rows (prompt_rows.cuh), on tensor
// cores. Eight warps have sixteen queries each; a page's tiles of keys and values come into shared
// memory while the page before is worked on. With every number a sum of two of f16,
//   scores = Q K^T and mixtures = P V,   a b = high high + high low + low high,
// which leaves out 2^-22 of a product and less. Softmax as everywhere: f32 under a running maximum,
// the weights times 2^10 so that f16 pairs hold small ones too.
#pragma once

#include <cuda_fp16.h>
#include <cuda_pipeline.h>

#include "kernels/cuda/attend_state.cuh"
#include "kernels/cuda/distance_bias.cuh"
#include "kernels/cuda/prompt_rows.cuh"
#include "kernels/cuda/reductions.cuh"
#include "kernels/cuda/turned_queries.cuh"
#include "kernels/cuda/warp_products.cuh"

namespace slim {

constexpr int kPromptQueries = 128;
constexpr float kWeightUnit = 1024.0F;

// What a block does with each head.
struct PromptItem {
  int32_t slice = 0;
  int32_t token = 0, tokens = 0;  // within the slice
  int32_t next = 0;               // first tokens of the slice after it, which reads the same rows
  int32_t run = 0;
  int32_t page_begin = 0, page_end = 0;  // that some of its tokens see
  bool merge = false;                    // mixtures and lse hold the result over other rows

  __host__ __device__ int count() const { return tokens + next; }
};

// A query of an item, of count() there are.
struct PromptQuery {
  const DeviceSlice* slice;
  int token;  // within the slice

  __device__ PromptQuery(const AttendView& call, const PromptItem& item, int query)
      : slice(call.slices + item.slice + (query < item.tokens ? 0 : 1)),
        token(query < item.tokens ? item.token + query : query - item.tokens) {}

  __device__ int64_t step_row() const { return slice->first + token; }
};

// Shared memory: queries, then as many stages of tiles. Rows are 16 bytes longer than they need be,
// so that those of a matrix lie in different banks.
template <int kColumns>
struct PromptShape {
  static constexpr int kPitch = kColumns + 8;
  static constexpr int kQueries = kPromptQueries * kPitch;  // numbers of the high, or low, queries
  static constexpr int kPart = static_cast<int>(kPageRows) * kPitch;
  static constexpr int kStage = 4 * kPart;  // keys and values, high and low
  static constexpr int bytes(int stages) { return 2 * (2 * kQueries + stages * kStage); }
};

template <int kColumns>
class PromptBlock {
 public:
  using Shape = PromptShape<kColumns>;

  __device__ PromptBlock(const PromptView& view, const PromptItem& item, int head, uint16_t* memory)
      : view_(view),
        call_(view.call),
        item_(item),
        run_(view.runs[item.run]),
        head_(head),
        key_head_(head / call_.heads_per_key),
        queries_(memory),
        stages_(memory + 2 * Shape::kQueries),
        warp_(static_cast<int>(threadIdx.x) / 32),
        lane_(static_cast<int>(threadIdx.x) % 32) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (!asked(i)) continue;
      const PromptQuery query = query_of_lane(i);
      const longlong2 seen = call_.visible(*query.slice, query.token);
      begin_[i] = static_cast<int>(seen.x);
      end_[i] = static_cast<int>(seen.y);
      distance_[i] = static_cast<int>(query.slice->base - query.slice->position - query.token);
    }
    if (call_.slopes != nullptr) slope_ = call_.slopes[head];
    if (call_.bias.values != nullptr) biases_ = biases_of(call_.bias, head);
  }

  __device__ void run(int stages) {
    for (int i = 0; i < stages; ++i) ask_for(item_.page_begin + i, i);
    load_queries();
    value_unit_ = value_unit();
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
    store();
  }

 private:
  // Asks for a page's tiles, if the item has that page, and closes a group of requests.
  __device__ void ask_for(int page, int stage) {
    if (page < item_.page_end) {
      const int64_t tile = view_.tile(run_.place + page - run_.page_begin, key_head_);
      constexpr int kChunks = kColumns / 8;  // of a row
      const uint16_t* const keys = view_.keys + tile * view_.tile_numbers();
      const uint16_t* const values = view_.values + tile * view_.tile_numbers();
      uint16_t* const to = stages_ + stage * Shape::kStage;
#pragma unroll 4
      for (int i = static_cast<int>(threadIdx.x); i < 4 * 64 * kChunks; i += kPromptThreads) {
        const int row = i / kChunks;  // of keys high and low, then values high and low
        const int chunk = i % kChunks;
        cuda::copy_chunk(to + row * Shape::kPitch + chunk * 8,
                         (row < 128 ? keys : values) + (row % 128) * kColumns + chunk * 8, 16);
      }
    }
    __pipeline_commit();
  }

  // A warp turns and takes apart its own sixteen queries.
  __device__ void load_queries() {
    const CudaRotation rotation =
        call_.rotations == nullptr ? CudaRotation{} : call_.rotations[run_.regime];
    bool odd = false;
    for (int i = 0; i < 16; ++i) {
      const int row = 16 * warp_ + i;
      const bool some = row < item_.count();
      const PromptQuery query(call_, item_, some ? row : 0);
      const float* const from = call_.queries + query.step_row() * call_.query_stride +
                                static_cast<int64_t>(head_) * call_.key_width;
      float values[kColumns / 32] = {};
      float largest = 0.0F;
#pragma unroll
      for (int j = 0; j < kColumns / 32; ++j) {
        const int column = lane_ + 32 * j;
        if (!some || column >= call_.key_width) continue;
        values[j] = turned_element(rotation, query.slice->position + query.token, from, column);
        odd = odd || !isfinite(values[j]);
        if (isfinite(values[j])) largest = fmaxf(largest, fabsf(values[j]));
      }
      const int exponent = pair_exponent(reduce_warp(largest, Largest()));
      const float unit = ldexpf(1.0F, -exponent);
      if (i == lane_ / 4) query_unit_[0] = unit;
      if (i == lane_ / 4 + 8) query_unit_[1] = unit;
#pragma unroll
      for (int j = 0; j < kColumns / 32; ++j) {
        uint16_t high;
        uint16_t low;
        take_halves(values[j] * ldexpf(1.0F, exponent), high, low);
        uint16_t* const to = queries_ + row * Shape::kPitch + lane_ + 32 * j;
        to[0] = high;
        to[Shape::kQueries] = low;
      }
    }
    odd_queries_ = reduce_warp(odd ? 1.0F : 0.0F, Largest()) > 0.0F;
    __syncwarp();
  }

  // 2^-e of this head's values in the whole run.
  __device__ float value_unit() const {
    float largest = 0.0F;
    for (int i = lane_; i < run_.page_end - run_.page_begin; i += 32) {
      largest = fmaxf(largest, view_.value_tops[view_.tile(run_.place + i, key_head_)]);
    }
    return ldexpf(1.0F, -pair_exponent(reduce_warp(largest, Largest())));
  }

  __device__ void attend(int page, const uint16_t* stage) {
    float scores[8][4] = {};
    const int64_t tile = view_.tile(run_.place + page - run_.page_begin, key_head_);
    if (odd_queries_ || view_.odd_keys[tile] != 0) {
      multiply_singly(stage, scores);
    } else {
      multiply_keys(stage, scores);
    }
    finish_scores(page, scores);
    weigh(scores);
    mix(stage + 2 * Shape::kPart, scores);
  }

  // Of four neighbouring blocks of eight columns c += (a_high + a_low) (b_high + b_low), but for
  // the product of the low ones. Products that add to one sum are four apart.
  __device__ static void multiply_pairs(const uint32_t (&high)[4], const uint32_t (&low)[4],
                                        const cuda::Fragments (&b_high)[2],
                                        const cuda::Fragments (&b_low)[2], float (*c)[4]) {
#pragma unroll
    for (int n = 0; n < 4; ++n) multiply_block(low, b_high[n / 2], n % 2, c[n]);
#pragma unroll
    for (int n = 0; n < 4; ++n) multiply_block(high, b_low[n / 2], n % 2, c[n]);
#pragma unroll
    for (int n = 0; n < 4; ++n) multiply_block(high, b_high[n / 2], n % 2, c[n]);
  }
  __device__ static void multiply_block(const uint32_t (&a)[4], const cuda::Fragments& b, int block,
                                        float (&c)[4]) {
    cuda::multiply<false>(c, a, b.part[2 * block], b.part[2 * block + 1]);
  }

  __device__ void multiply_keys(const uint16_t* keys, float (&scores)[8][4]) const {
    const uint16_t* const query =
        queries_ + (16 * warp_ + lane_ % 16) * Shape::kPitch + lane_ / 16 * 8;
    const uint16_t* const key =
        keys + (lane_ % 8 + lane_ / 16 * 8) * Shape::kPitch + lane_ / 8 % 2 * 8;
#pragma unroll 2
    for (int k = 0; k < kColumns; k += 16) {
      const cuda::Fragments high = cuda::load_fragments(query + k);
      const cuda::Fragments low = cuda::load_fragments(query + k + Shape::kQueries);
#pragma unroll
      for (int n = 0; n < 8; n += 4) {
        const uint16_t* const from = key + 8 * n * Shape::kPitch + k;
        const uint16_t* const next = from + 16 * Shape::kPitch;
        const cuda::Fragments b_high[2] = {cuda::load_fragments(from), cuda::load_fragments(next)};
        const cuda::Fragments b_low[2] = {cuda::load_fragments(from + Shape::kPart),
                                          cuda::load_fragments(next + Shape::kPart)};
        multiply_pairs(high.part, low.part, b_high, b_low, scores + n);
      }
    }
  }

  // Where numbers are not finite, infinity times a low part of zero would be NaN.
  __device__ void multiply_singly(const uint16_t* keys, float (&scores)[8][4]) const {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int query = 16 * warp_ + lane_ / 4 + i / 2 * 8;
        const int row = 8 * n + lane_ % 4 * 2 + i % 2;
        scores[n][i] = single_product(queries_ + query * Shape::kPitch, keys + row * Shape::kPitch);
      }
    }
  }
  __device__ __noinline__ static float single_product(const uint16_t* query, const uint16_t* key) {
    const auto value = [](const uint16_t* high, int low) {
      return __half2float(__ushort_as_half(high[0])) + __half2float(__ushort_as_half(high[low]));
    };
    float sum = 0.0F;
    for (int c = 0; c < kColumns; ++c) {
      sum = fmaf(value(query + c, Shape::kQueries), value(key + c, Shape::kPart), sum);
    }
    return sum;
  }

  // Scores of the lane's two queries by its sixteen rows: queries i / 2 of block n, row 8 n + i
  // % 2.
  __device__ void finish_scores(int page, float (&scores)[8][4]) const {
    const float unit = view_.key_units[view_.tile(run_.place + page - run_.page_begin, key_head_)];
    const int first = page * static_cast<int>(kPageRows) + lane_ % 4 * 2;
    const bool plain =
        call_.factors < 0 && call_.cap == 0.0F && call_.slopes == nullptr && biases_ == nullptr;
    const bool whole = begin_[0] <= first && begin_[1] <= first && end_[0] >= first + 58 &&
                       end_[1] >= first + 58;  // 58: from its first row to behind its last
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = first + 8 * n + i % 2;
        float score = call_.scale * (scores[n][i] * unit * query_unit_[i / 2]);
        if (!plain) score = refined(score, page, row, i / 2);
        if (!whole && (row < begin_[i / 2] || row >= end_[i / 2])) score = -CUDART_INF_F;
        scores[n][i] = score;
      }
    }
  }

  // What a key's norm, a cap, a slope and a bias make of a score.
  __device__ float refined(float score, int page, int row, int query) const {
    if (call_.factors >= 0 && row < run_.rows) {
      score *= load_at<float>(view_.page(run_, page) + call_.factors + 4 * (row % kPageRows));
    }
    if (call_.cap != 0.0F) score = call_.cap * tanhf(score / call_.cap);
    if (call_.slopes != nullptr) {
      score = fmaf(slope_, static_cast<float>(distance_[query] + row), score);
    }
    if (biases_ == nullptr) return score;
    return score + bias_at(call_.bias, biases_, distance_[query] + row);
  }

  // Turns scores into weights, and what was mixed before to the new maximum.
  __device__ void weigh(float (&scores)[8][4]) {
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      float largest = states_[q].maximum;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        largest = fmaxf(largest, fmaxf(scores[n][2 * q], scores[n][2 * q + 1]));
      }
      largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFU, largest, 2));
      const AttendState now{largest, 0.0F};
      const float origin = now.origin();
      if (largest > states_[q].maximum) {
        const float share = states_[q].share(origin);
        states_[q].sum *= share;
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
          mixed_[n][2 * q] *= share;
          mixed_[n][2 * q + 1] *= share;
        }
        states_[q].maximum = largest;
      }
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int i = 2 * q; i < 2 * q + 2; ++i) {
          scores[n][i] = attend_weight(scores[n][i], origin);
          states_[q].sum += scores[n][i];
        }
      }
    }
  }

  // Two weights as f16 pairs.
  __device__ static void take_weights(float first, float second, uint32_t& high, uint32_t& low) {
    first *= kWeightUnit;
    second *= kWeightUnit;
    high = cuda::pack_halves(first, second);
    low = cuda::pack_halves(
        first - __half2float(__ushort_as_half(static_cast<unsigned short>(high))),
        second - __half2float(__ushort_as_half(static_cast<unsigned short>(high >> 16))));
  }

  __device__ void mix(const uint16_t* values, const float (&weights)[8][4]) {
    const uint16_t* const value = values + lane_ % 16 * Shape::kPitch + lane_ / 16 * 8;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t high[4];
      uint32_t low[4];
      take_weights(weights[2 * k][0], weights[2 * k][1], high[0], low[0]);
      take_weights(weights[2 * k][2], weights[2 * k][3], high[1], low[1]);
      take_weights(weights[2 * k + 1][0], weights[2 * k + 1][1], high[2], low[2]);
      take_weights(weights[2 * k + 1][2], weights[2 * k + 1][3], high[3], low[3]);
#pragma unroll
      for (int n = 0; n < kColumns / 8; n += 4) {
        const uint16_t* const from = value + 16 * k * Shape::kPitch + 8 * n;
        const cuda::Fragments b_high[2] = {cuda::load_transposed(from),
                                           cuda::load_transposed(from + 16)};
        const cuda::Fragments b_low[2] = {cuda::load_transposed(from + Shape::kPart),
                                          cuda::load_transposed(from + Shape::kPart + 16)};
        multiply_pairs(high, low, b_high, b_low, mixed_ + n);
      }
    }
  }

  // The lane's first or second query, and whether there is one.
  __device__ PromptQuery query_of_lane(int which) const {
    return {call_, item_, 16 * warp_ + lane_ / 4 + 8 * which};
  }
  __device__ bool asked(int which) const {
    return 16 * warp_ + lane_ / 4 + 8 * which < item_.count();
  }

  __device__ void store() {
    float before[2] = {-CUDART_INF_F, -CUDART_INF_F};  // lse over other rows
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      states_[q].sum += __shfl_xor_sync(0xFFFFFFFFU, states_[q].sum, 1);
      states_[q].sum += __shfl_xor_sync(0xFFFFFFFFU, states_[q].sum, 2);
      if (item_.merge && asked(q)) {
        before[q] = call_.lse[query_of_lane(q).step_row() * call_.lse_stride + head_];
      }
    }
    __syncwarp();  // all have read what one of them writes
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      if (asked(q)) store_query(q, before[q]);
    }
  }

  __device__ __forceinline__ void store_query(int q, float before) {
    const bool some = begin_[q] < end_[q] && begin_[q] < item_.page_end * kPageRows &&
                      end_[q] > item_.page_begin * kPageRows;
    if (!some && item_.merge) return;
    Merging merging(some ? states_[q].logarithm() : -CUDART_INF_F);
    if (item_.merge) merging.with(before);
    const float share = merging.now * value_unit_ / kWeightUnit / states_[q].sum;
    const int64_t row = query_of_lane(q).step_row();
    float* const to =
        call_.mixed + row * call_.mixed_stride + static_cast<int64_t>(head_) * call_.value_width;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * n + lane_ % 4 * 2 + i;
        if (column >= call_.value_width) continue;
        const float value = some ? mixed_[n][2 * q + i] * share : 0.0F;
        to[column] = merging.merged ? fmaf(merging.before, to[column], value) : value;
      }
    }
    if (lane_ % 4 == 0 && call_.lse != nullptr) {
      call_.lse[row * call_.lse_stride + head_] = merging.lse;
    }
  }

  const PromptView& view_;
  const AttendView& call_;
  const PromptItem item_;
  const PromptRun run_;
  int head_, key_head_;
  uint16_t* queries_;
  uint16_t* stages_;
  int warp_, lane_;
  // Of the lane's two queries: rows they see, and the distance from their position to that of row
  // 0.
  int begin_[2] = {}, end_[2] = {}, distance_[2] = {};
  float slope_ = 0.0F;
  const float* biases_ = nullptr;  // of distance 0, or none
  float query_unit_[2] = {1.0F, 1.0F};
  bool odd_queries_ = false;  // of the warp
  float value_unit_ = 1.0F;
  AttendState states_[2] = {AttendState::empty(), AttendState::empty()};
  float mixed_[kColumns / 8][4] = {};
};

}  // namespace slim
