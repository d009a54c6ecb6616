// Where rows of logits are largest: stretches of a row first, a block each, then the row. Of equal
// values the lowest column wins, whatever order threads come in.
#include <algorithm>

#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/reductions.cuh"

namespace slim {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kLength = 2048;  // of a stretch, at least: eight values a thread

// The largest value of a stretch, where it is, and the sum of exp(x - largest).
struct Stretch {
  float largest;
  float sum;
  int column;
};

// The column of those who have the largest value.
struct Lowest {
  static constexpr int kNeutral = 0x7FFFFFFF;
  __device__ int operator()(int a, int b) const { return a < b ? a : b; }
};

struct PeakRows {
  const float* x;
  int64_t stride;
  int64_t columns;
  int64_t length;      // of a stretch
  int count;           // of stretches, up to a warp's lanes
  Stretch* stretches;  // [rows, count]
  Peak* peaks;
};

// Grid: rows, stretches.
__global__ void __launch_bounds__(kThreads) find_in_stretches(const PeakRows a) {
  wait_for_earlier();
  __shared__ float scratch[kWarp];
  __shared__ int places[kWarp];
  const float* x = a.x + static_cast<int64_t>(blockIdx.x) * a.stride;
  const int64_t begin = blockIdx.y * a.length + threadIdx.x;
  const int64_t end = min(a.columns, (blockIdx.y + 1) * a.length);
  float own = -INFINITY;
  int place = Lowest::kNeutral;
#pragma unroll 8
  for (int64_t i = begin; i < end; i += kThreads) {
    const float value = x[i];
    if (value > own || place == Lowest::kNeutral) {
      own = value > own ? value : own;
      place = static_cast<int>(i);
    }
  }
  const float largest = reduce_block<kThreads>(own, scratch, Largest());
  const int column =
      reduce_block<kThreads>(own == largest ? place : Lowest::kNeutral, places, Lowest());
  // Where all is minus infinity the sum is zero, not NaN: other stretches may have more.
  const float shift = largest == -INFINITY ? 0.0F : largest;
  float sum = 0.0F;  // a NaN, which the maximum passes over, enters here
#pragma unroll 4
  for (int64_t i = begin; i < end; i += kThreads) sum += expf(x[i] - shift);
  sum = reduce_block<kThreads>(sum, scratch, Sum());
  if (threadIdx.x != 0) return;
  a.stretches[static_cast<int64_t>(blockIdx.x) * a.count + blockIdx.y] = {largest, sum, column};
}

// A warp a row.
__global__ void __launch_bounds__(kWarp) find_in_rows(const PeakRows a) {
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x);
  Stretch own = {Largest::kNeutral, 0.0F, Lowest::kNeutral};
  if (lane < a.count) own = a.stretches[static_cast<int64_t>(blockIdx.x) * a.count + lane];
  const float largest = reduce_warp(own.largest, Largest());
  const int column = reduce_warp(own.largest == largest ? own.column : Lowest::kNeutral, Lowest());
  // NaN where all is minus infinity, or plus infinity is among it.
  const float share = lane < a.count ? own.sum * expf(own.largest - largest) : 0.0F;
  const float sum = reduce_warp(share, Sum());
  if (lane == 0) a.peaks[blockIdx.x] = {column, -logf(sum)};
}

}  // namespace

void CudaKernels::find_peaks(const FindPeaks& arguments) {
  const auto& [x, peaks] = arguments;
  check(std::ssize(peaks) == x.rows && (x.rows == 0 || x.columns > 0), "every row has its peak");
  if (x.rows == 0) return;
  device_.select();
  const int64_t length = std::max(kLength, (x.columns + kWarp - 1) / kWarp);
  const auto count = static_cast<int>((x.columns + length - 1) / length);
  const auto stretches = device_.allocate(static_cast<size_t>(x.rows * count) * sizeof(Stretch));
  const auto found = device_.allocate(peaks.size_bytes());
  const PeakRows rows{.x = x.row<float>(0),
                      .stride = x.stride,
                      .columns = x.columns,
                      .length = length,
                      .count = count,
                      .stretches = reinterpret_cast<Stretch*>(stretches->data()),
                      .peaks = reinterpret_cast<Peak*>(found->data())};
  const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>(count));
  device_.launch("find the largest logits", find_in_stretches, {grid, kThreads}, rows);
  device_.launch("find the largest logits", find_in_rows, {grid.x, kWarp}, rows);
  device_.copy(peaks.data(), found->data(), peaks.size_bytes());
}

}  // namespace slim
