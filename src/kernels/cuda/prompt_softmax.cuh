// What attention of up to 128 queries of one head over tiles of 64 rows (prompt_rows.cuh) does
// between its two products, whichever instructions multiply (prompt_tiles.cuh,
// warpgroup_prompts.cuh): a warp has sixteen queries, a lane two of them with sixteen of a page's
// rows. Softmax as everywhere: f32 under a running maximum, the weights times 2^10 so that f16
// pairs hold small ones too.
#pragma once

#include <cuda_fp16.h>

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

// kColumns: of a head, filled up to 64, 96 or 128. kParts: f16 numbers that make one, 1 or 2.
// Scores and mixtures are as products leave them: blocks of eight columns n, of which a lane has
// columns lane % 4 * 2 + {0, 1} of rows lane / 4 ([n][0], [n][1]) and lane / 4 + 8.
template <int kColumns, int kParts>
class PromptSoftmax {
 protected:
  using Scores = float[8][4];
  using Mixed = float[kColumns / 8][4];
  using Halves = uint32_t[kParts][4];  // fragments of sixteen queries and rows

  __device__ PromptSoftmax(const PromptView& view, const PromptItem& item, int head)
      : view_(view),
        call_(view.call),
        item_(item),
        run_(view.runs[item.run]),
        head_(head),
        key_head_(head / call_.heads_per_key),
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

  // Turns this warp's sixteen queries and takes them apart: store(row of the block, column, parts).
  template <typename Store>
  __device__ void load_queries(Store store) {
    const CudaRotation rotation =
        call_.rotations == nullptr ? CudaRotation{} : call_.rotations[run_.regime];
    bool odd = false;
    // Of all sixteen, so that they are on their way together.
    float values[16][kColumns / 32];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int row = 16 * warp_ + i;
      const bool some = row < item_.count();
      const PromptQuery query(call_, item_, some ? row : 0);
      const float* const from = call_.queries + query.step_row() * call_.query_stride +
                                static_cast<int64_t>(head_) * call_.key_width;
#pragma unroll
      for (int j = 0; j < kColumns / 32; ++j) {
        const int column = lane_ + 32 * j;
        values[i][j] =
            some && column < call_.key_width
                ? turned_element(rotation, query.slice->position + query.token, from, column)
                : 0.0F;
      }
    }
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      float largest = 0.0F;
#pragma unroll
      for (const float value : values[i]) {
        odd = odd || !isfinite(value);
        if (isfinite(value)) largest = fmaxf(largest, fabsf(value));
      }
      const int exponent = pair_exponent(reduce_warp(largest, Largest()));
      const float unit = ldexpf(1.0F, -exponent);
      if (i == lane_ / 4) query_unit_[0] = unit;
      if (i == lane_ / 4 + 8) query_unit_[1] = unit;
#pragma unroll
      for (int j = 0; j < kColumns / 32; ++j) {
        uint16_t parts[2];
        take_halves(values[i][j] * ldexpf(1.0F, exponent), parts[0], parts[1]);
        store(16 * warp_ + i, lane_ + 32 * j, parts);
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

  __device__ int64_t tile(int page) const {
    return view_.tile(run_.place + page - run_.page_begin, key_head_);
  }

  // Where numbers are not finite, infinity times a low part of zero would be NaN. product(row of
  // the block's queries, row of the page) is called, so that registers are left to the rest.
  template <typename Product>
  __device__ __forceinline__ void score_singly(Product product, Scores& scores) const {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[n][i] = product(16 * warp_ + lane_ / 4 + i / 2 * 8, 8 * n + lane_ % 4 * 2 + i % 2);
      }
    }
  }
  // The number whose high part is at `high`, with `part` numbers to the next.
  __device__ static float whole(const uint16_t* high, int part) {
    const float value = __half2float(__ushort_as_half(high[0]));
    return kParts == 1 ? value : value + __half2float(__ushort_as_half(high[part]));
  }

  // Scores of the lane's two queries by its sixteen rows: queries i / 2 of block n, row 8 n + i
  // % 2.
  __device__ __forceinline__ void finish_scores(int page, Scores& scores) const {
    const float unit = call_.scale * view_.key_units[tile(page)];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] *= unit * query_unit_[i / 2];
    }
    const int first = page * static_cast<int>(kPageRows) + lane_ % 4 * 2;
    if (call_.factors >= 0 || call_.cap != 0.0F || call_.slopes != nullptr || biases_ != nullptr) {
      const std::byte* const rows = view_.page(run_, page) + max(call_.factors, int64_t{0});
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = first + 8 * n + i % 2;
          const float* const factor = reinterpret_cast<const float*>(rows) + row % kPageRows;
          scores[n][i] = refined(call_, scores[n][i], row < run_.rows ? factor : nullptr, slope_,
                                 biases_, distance_[i / 2] + row);
        }
      }
    }
    if (begin_[0] <= first && begin_[1] <= first && end_[0] >= first + 58 &&
        end_[1] >= first + 58) {  // 58: from its first row to behind its last
      return;
    }
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = first + 8 * n + i % 2;
        if (row < begin_[i / 2] || row >= end_[i / 2]) scores[n][i] = -CUDART_INF_F;
      }
    }
  }

  // What a key's norm, a cap, a slope and a bias make of a score. A function that is called, since
  // most models have none of them.
  __device__ __noinline__ static float refined(const AttendView& call, float score,
                                               const float* factor, float slope,
                                               const float* biases, int distance) {
    if (call.factors >= 0 && factor != nullptr) score *= *factor;
    if (call.cap != 0.0F) score = call.cap * tanhf(score / call.cap);
    if (call.slopes != nullptr) score = fmaf(slope, static_cast<float>(distance), score);
    return biases == nullptr ? score : score + bias_at(call.bias, biases, distance);
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

  // The weights of this lane's queries of sixteen rows, from 16 k on, as f16 numbers.
  __device__ static void take_weights(const Scores& weights, int k, Halves& halves) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float first = weights[2 * k + i / 2][i % 2 * 2] * kWeightUnit;
      float second = weights[2 * k + i / 2][i % 2 * 2 + 1] * kWeightUnit;
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const uint32_t word = cuda::pack_halves(first, second);
        halves[part][i] = word;
        first -= __half2float(__ushort_as_half(static_cast<unsigned short>(word)));
        second -= __half2float(__ushort_as_half(static_cast<unsigned short>(word >> 16)));
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

  // Of the lane's i-th number of a query's mixture.
  __device__ int column_of(int i) const { return i / 2 * 8 + lane_ % 4 * 2 + i % 2; }

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
    float values[kColumns / 4];
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) {
      const int column = column_of(i);
      values[i] = some ? mixed_[i / 2][2 * q + i % 2] * share : 0.0F;
      // All are read before any is written, so that reads do not wait for each other.
      if (merging.merged && column < call_.value_width) {
        values[i] = fmaf(merging.before, to[column], values[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) {
      if (column_of(i) < call_.value_width) to[column_of(i)] = values[i];
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
  Mixed mixed_ = {};
};

}  // namespace slim
