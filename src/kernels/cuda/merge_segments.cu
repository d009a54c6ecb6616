// Adding up segments: weights are taken from each segment's own maximum, so that the largest of
// these gives each its share.
#include "kernels/cuda/merge_segments.h"

#include <cmath>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/decode_sealed.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/reductions.cuh"

namespace slim::cuda {
namespace {

constexpr int kMergeThreads = 128;
constexpr int64_t kMergeBlocks = 2048;  // that occupy a card
constexpr int kMergeSlots = 64;         // whose shares are held at a time

// What segments' sums, and what is there already, weigh in the whole.
struct Shares {
  float before = 0.0F;
  float scale = 0.0F;  // times exp2(maximum of a segment - top)
  float top = 0.0F;
  float lse = -INFINITY;
};

// A warp's work, a lane a segment. All its lanes get the result.
__device__ Shares shares_of(const Merge& a, int head, int begin, int end, const float* logarithm) {
  const int first = begin + static_cast<int>(threadIdx.x) % kWarp;
  Shares shares;
  float top = -INFINITY;
  for (int i = first; i < end; i += kWarp) top = fmaxf(top, a.states[i * a.heads + head].x);
  top = reduce_warp(top, Largest());
  shares.top = top == -INFINITY ? 0.0F : top;
  float sum = 0.0F;
  for (int i = first; i < end; i += kWarp) {
    const float2 state = a.states[i * a.heads + head];
    if (state.y != 0.0F) sum += state.y * exp2f(state.x - shares.top);
  }
  sum = reduce_warp(sum, Sum());
  const float here = (shares.top - kLift) * kLogTwo + logf(sum);
  shares.lse = here;
  float now = 1.0F;
  if (a.merge && *logarithm != -INFINITY) {
    const float old = *logarithm;
    const float most = fmaxf(old, here);
    const float both = expf(old - most) + expf(here - most);
    shares.before = expf(old - most) / both;
    now = expf(here - most) / both;
    shares.lse = most + logf(both);
  }
  shares.scale = sum == 0.0F ? 0.0F : now / sum;
  return shares;
}

// Grid: heads, queries, strips of columns. Adds up the segments of one query by log-sum-exp.
// Logarithms that are merged with are written by write_lse(), when all strips have read them. A
// thread has kColumns columns, and so many segments under way that sixteen sums are.
template <int kColumns>
__global__ void __launch_bounds__(kMergeThreads) add_segments(Merge a) {
  wait_for_earlier();
  __shared__ float share[kMergeSlots];
  const int head = blockIdx.x;
  const int begin = a.first_slot[blockIdx.y];
  const int end = a.first_slot[blockIdx.y + 1];
  const int64_t token = a.tokens[blockIdx.y];
  const float* logarithm = a.lse == nullptr ? nullptr : a.lse + token * a.lse_stride + head;
  const Shares shares = shares_of(a, head, begin, end, logarithm);
  float mixed[kColumns] = {};
  const int first =
      static_cast<int>(blockIdx.z) * kColumns * kMergeThreads + static_cast<int>(threadIdx.x);
  for (int slots = begin; slots < end; slots += kMergeSlots) {
    const int count = min(kMergeSlots, end - slots);
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < count) {
      const float2 state = a.states[(slots + static_cast<int>(threadIdx.x)) * a.heads + head];
      share[threadIdx.x] = state.y == 0.0F ? 0.0F : exp2f(state.x - shares.top);
    }
    __syncthreads();
#pragma unroll(16 / kColumns)
    for (int slot = 0; slot < count; ++slot) {
      const float* from = a.sums + (static_cast<int64_t>(slots + slot) * a.heads + head) * a.width;
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        const float sum = from[min(first + i * kMergeThreads, a.width - 1)];
        // A segment without a share may hold anything.
        mixed[i] = share[slot] == 0.0F ? mixed[i] : fmaf(sum, share[slot], mixed[i]);
      }
    }
  }
  float* const to = a.mixed + token * a.mixed_stride + static_cast<int64_t>(head) * a.width;
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    const int column = first + i * kMergeThreads;
    if (column >= a.width) break;
    const float old = shares.before == 0.0F ? 0.0F : shares.before * to[column];
    to[column] = fmaf(mixed[i], shares.scale, old);
  }
  if (!a.merge && a.lse != nullptr && blockIdx.z == 0 && threadIdx.x == 0) {
    a.lse[token * a.lse_stride + head] = shares.lse;
  }
}

// Grid: heads, queries; a warp each.
__global__ void write_lse(Merge a) {
  wait_for_earlier();
  const int head = blockIdx.x;
  const int begin = a.first_slot[blockIdx.y];
  const int end = a.first_slot[blockIdx.y + 1];
  float* const logarithm = a.lse + static_cast<int64_t>(a.tokens[blockIdx.y]) * a.lse_stride + head;
  const Shares shares = shares_of(a, head, begin, end, logarithm);
  if (threadIdx.x == 0) *logarithm = shares.lse;
}

}  // namespace

void merge_segments(CudaDevice& device, const Merge& merge, int64_t tokens) {
  if (tokens == 0) return;
  const auto queries = static_cast<unsigned>(tokens);
  const auto heads = static_cast<unsigned>(merge.heads);
  const auto run = [&](auto kernel, int columns) {
    const int strip = columns * kMergeThreads;
    const auto strips = static_cast<unsigned>((merge.width + strip - 1) / strip);
    device.launch("merge sums", kernel, {{heads, queries, strips}, kMergeThreads}, merge);
  };
  const int64_t blocks = tokens * merge.heads * (merge.width / kMergeThreads);
  blocks <= kMergeBlocks ? run(add_segments<1>, 1) : run(add_segments<4>, 4);
  if (!merge.merge || !merge.keep_lse) return;
  device.launch("merge logarithms", write_lse, {{heads, queries}, kWarp}, merge);
}

}  // namespace slim::cuda
