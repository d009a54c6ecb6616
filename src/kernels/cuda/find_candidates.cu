// The likeliest columns of rows of logits: of stretches of a row first, a block each, then of the
// row. A value and its column are one number whose order is theirs, so that of equal values the
// lowest column wins, whatever order threads come in. A list of K is K times the largest below the
// last one: only the thread that had it looks at its values again.
#include <algorithm>

#include "kernels/candidate_check.h"
#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/reductions.cuh"

namespace slim {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kLength = 2048;  // of a stretch, at least: eight values a thread

// Above it the value's bits in the order of values, below it the columns from the right. Zero, less
// than any: none. -infinity and NaN have no key.
using Key = uint64_t;

__device__ inline Key key_of(float value, int64_t column) {
  if (!(value > -INFINITY)) return 0;
  const uint32_t bits = __float_as_uint(value + 0.0F);  // of both zeros one
  const uint32_t rising = (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
  return Key{rising} << 32 | ~static_cast<uint32_t>(column);
}
__device__ inline float value_of(Key key) {
  if (key == 0) return -INFINITY;
  const auto rising = static_cast<uint32_t>(key >> 32);
  return __uint_as_float((rising & 0x80000000U) != 0 ? rising & 0x7FFFFFFFU : ~rising);
}
__device__ inline int32_t column_of(Key key) {
  return static_cast<int32_t>(~static_cast<uint32_t>(key));
}

struct Greatest {
  static constexpr Key kNeutral = 0;
  __device__ Key operator()(Key a, Key b) const { return a > b ? a : b; }
};

// Grid: what is forbidden. Threads stand side by side in a row as far as there are columns.
__global__ void __launch_bounds__(kThreads)
    fill_forbidden(float* x, int64_t stride, int64_t rows, const ForbiddenColumns* forbidden) {
  wait_for_earlier();
  const auto [row, begin, end] = forbidden[blockIdx.x];
  const int width = min(end - begin, kThreads);
  if (width <= 0) return;
  const int at_once = kThreads / width;
  const int own_row = static_cast<int>(threadIdx.x) / width;
  if (own_row >= at_once) return;
  const int64_t last = row < 0 ? rows : row + 1;
  for (int64_t t = max(row, 0) + own_row; t < last; t += at_once) {
    for (int i = begin + static_cast<int>(threadIdx.x) % width; i < end; i += width) {
      x[t * stride + i] = -INFINITY;
    }
  }
}

// A row in stretches of which none reaches from before the tail into it.
struct Stretches {
  int64_t columns;
  int64_t tail;
  int64_t length;  // of a stretch
  int others;      // before the tail
  int count;       // in all, up to a warp's lanes
};

struct CandidateRows {
  const float* x;
  int64_t stride;
  Stretches cut;
  int listed;            // of each stretch and row
  const int32_t* asked;  // [rows] or none
  float* sums;           // [rows, count]: of exp(x - largest) in a stretch
  Key* keys;             // [rows, count, listed], the greatest first
  Candidate* candidates;
};

// Grid: rows, stretches.
__global__ void __launch_bounds__(kThreads) list_stretches(const CandidateRows a) {
  wait_for_earlier();
  __shared__ float sums[kWarp];
  __shared__ Key keys[kWarp];
  const float* x = a.x + static_cast<int64_t>(blockIdx.x) * a.stride;
  const auto stretch = static_cast<int>(blockIdx.y);
  const bool in_tail = stretch >= a.cut.others;
  const int64_t first =
      in_tail ? a.cut.tail + (stretch - a.cut.others) * a.cut.length : stretch * a.cut.length;
  const int64_t begin = first + threadIdx.x;
  const int64_t end = min(first + a.cut.length, in_tail ? a.cut.columns : a.cut.tail);
  // The greatest of this thread that comes after a value and its column.
  const auto next = [&](float last, int64_t at) {
    float own = -INFINITY;  // which a NaN never exceeds
    int64_t column = 0;
#pragma unroll 8
    for (int64_t i = begin; i < end; i += kThreads) {
      const float value = x[i];
      const bool after = value < last || (value == last && i > at);
      if (after && value > own) {
        own = value;
        column = i;
      }
    }
    return key_of(own, column);
  };
  Key own = next(INFINITY, -1);
  Key greatest = reduce_block<kThreads>(own, keys, Greatest());
  // Where all is minus infinity the sum is zero, not NaN: other stretches may have more.
  const float shift = greatest == 0 ? 0.0F : value_of(greatest);
  float sum = 0.0F;  // a NaN, which the greatest passes over, enters here
#pragma unroll 4
  for (int64_t i = begin; i < end; i += kThreads) sum += expf(x[i] - shift);
  sum = reduce_block<kThreads>(sum, sums, Sum());
  const int64_t place = static_cast<int64_t>(blockIdx.x) * a.cut.count + stretch;
  if (threadIdx.x == 0) a.sums[place] = sum;
  for (int i = 0;; ++i) {
    if (threadIdx.x == 0) a.keys[place * a.listed + i] = greatest;
    if (i + 1 == a.listed) return;
    if (own == greatest && own != 0) own = next(value_of(own), column_of(own));
    greatest = reduce_block<kThreads>(own, keys, Greatest());
  }
}

// A part of a sum of exp(x - largest) under a larger one.
__device__ inline float share_of(float sum, float largest, float larger) {
  return largest == -INFINITY ? sum : sum * expf(largest - larger);
}

// A warp a row: a lane for each stretch, which holds the first of its list that is left.
__global__ void __launch_bounds__(kWarp) list_rows(const CandidateRows a) {
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.x;
  const int64_t place = row * a.cut.count + lane;
  const bool in_tail = lane >= a.cut.others;
  const Key* keys = a.keys + place * a.listed;
  Key own = lane < a.cut.count ? keys[0] : 0;
  const float sum = lane < a.cut.count ? a.sums[place] : 0.0F;

  const float largest = value_of(own);
  const float top_before = reduce_warp(in_tail ? -INFINITY : largest, Largest());
  const float top_tail = reduce_warp(in_tail ? largest : -INFINITY, Largest());
  const float before = reduce_warp(in_tail ? 0.0F : share_of(sum, largest, top_before), Sum());
  const float tail = reduce_warp(in_tail ? share_of(sum, largest, top_tail) : 0.0F, Sum());
  const int32_t asked = a.asked == nullptr ? -1 : a.asked[row];
  const bool settled = asked < 0 && !isnan(before) && top_tail - top_before + logf(tail) > 0.0F;
  const float top = settled ? top_tail : fmaxf(top_before, top_tail);
  const float all =
      settled ? tail : share_of(before, top_before, top) + share_of(tail, top_tail, top);
  const float logarithm = logf(all);

  int length = a.listed;
  if (settled && !in_tail) own = 0;
  if (asked >= 0) {
    own = lane == 0 ? key_of(a.x[row * a.stride + asked], asked) : 0;
    length = 1;
  }
  for (int i = 0, taken = 0; i < a.listed; ++i) {
    const Key greatest = reduce_warp(own, Greatest());
    Candidate candidate;
    if (isnan(all)) {
      candidate.log_probability = all;
    } else if (greatest != 0) {
      candidate = {column_of(greatest), value_of(greatest) - top - logarithm};
    }
    if (lane == 0) a.candidates[row * a.listed + i] = candidate;
    if (own == greatest && own != 0) own = ++taken < length ? keys[taken] : 0;
  }
}

Stretches cut(int64_t columns, int64_t tail) {
  // Beside a tail, two stretches may be short.
  const int64_t whole = tail < columns ? kWarp - 1 : kWarp;
  const int64_t length = std::max(kLength, (columns + whole - 1) / whole);
  const auto count = [&](int64_t part) { return static_cast<int>((part + length - 1) / length); };
  return {columns, tail, length, count(tail), count(tail) + count(columns - tail)};
}

constexpr const char* kAction = "find the likeliest columns";

}  // namespace

void CudaKernels::forbid(const Forbid& arguments) {
  check_forbid(arguments);
  const auto& [x, columns] = arguments;
  if (x.rows == 0 || columns.empty()) return;
  device_.select();
  device_.launch("forbid columns", fill_forbidden,
                 {static_cast<unsigned>(columns.size()), kThreads}, x.row<float>(0), x.stride,
                 x.rows, device_.upload(columns));
}

void CudaKernels::find_candidates(const FindCandidates& arguments) {
  check_candidates(arguments);
  const auto& [x, count, tail, asked, candidates] = arguments;
  if (x.rows == 0) return;
  device_.select();
  const Stretches stretches = cut(x.columns, std::min(tail, x.columns));
  const auto lists = static_cast<size_t>(x.rows * stretches.count);
  const auto sums = device_.allocate(lists * sizeof(float));
  const auto keys = device_.allocate(lists * static_cast<size_t>(count) * sizeof(Key));
  const auto found = device_.allocate(candidates.size_bytes());
  const CandidateRows rows{.x = x.row<float>(0),
                           .stride = x.stride,
                           .cut = stretches,
                           .listed = static_cast<int>(count),
                           .asked = asked.empty() ? nullptr : device_.upload(asked),
                           .sums = reinterpret_cast<float*>(sums->data()),
                           .keys = reinterpret_cast<Key*>(keys->data()),
                           .candidates = reinterpret_cast<Candidate*>(found->data())};
  const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>(stretches.count));
  device_.launch(kAction, list_stretches, {grid, kThreads}, rows);
  device_.launch(kAction, list_rows, {grid.x, kWarp}, rows);
  device_.copy(candidates.data(), found->data(), candidates.size_bytes());
}

}  // namespace slim
