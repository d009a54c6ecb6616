// Adding up segments: weights are taken from each segment's own maximum, so that the largest of
// these gives each its share.
#include "kernels/cuda/merge_segments.h"

#include <cmath>

#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/decode_sealed.h"

namespace slim::cuda {
namespace {

constexpr int kMergeThreads = 128;
constexpr int kMergeColumns = 4 * kMergeThreads;  // of a block
constexpr int kMergeSlots = 64;                   // whose shares are held at a time

// What segments' sums, and what is there already, weigh in the whole.
struct Shares {
  float before = 0.0F;
  float scale = 0.0F;  // times exp2(maximum of a segment - top)
  float top = 0.0F;
  float lse = -INFINITY;
};

__device__ Shares shares_of(const Merge& a, int head, int begin, int end, const float* logarithm) {
  Shares shares;
  float top = -INFINITY;
  for (int i = begin; i < end; ++i) top = fmaxf(top, a.states[i * a.heads + head].x);
  shares.top = top == -INFINITY ? 0.0F : top;
  float sum = 0.0F;
  for (int i = begin; i < end; ++i) {
    const float2 state = a.states[i * a.heads + head];
    if (state.y != 0.0F) sum += state.y * exp2f(state.x - shares.top);
  }
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

// Grid: heads, queries, strips of columns. Adds up the segments of one query by log-sum-exp. The
// logarithms are written by write_lse(), when all strips have read them.
__global__ void __launch_bounds__(kMergeThreads) add_segments(Merge a) {
  __shared__ float share[kMergeSlots];
  const int head = blockIdx.x;
  const int begin = a.first_slot[blockIdx.y];
  const int end = a.first_slot[blockIdx.y + 1];
  const int64_t token = a.tokens[blockIdx.y];
  const float* logarithm = a.lse == nullptr ? nullptr : a.lse + token * a.lse_stride + head;
  const Shares shares = shares_of(a, head, begin, end, logarithm);
  float mixed[4] = {};
  const int first = static_cast<int>(blockIdx.z) * kMergeColumns + static_cast<int>(threadIdx.x);
  for (int slots = begin; slots < end; slots += kMergeSlots) {
    const int count = min(kMergeSlots, end - slots);
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < count) {
      const float2 state = a.states[(slots + static_cast<int>(threadIdx.x)) * a.heads + head];
      share[threadIdx.x] = state.y == 0.0F ? 0.0F : exp2f(state.x - shares.top);
    }
    __syncthreads();
    for (int slot = 0; slot < count; ++slot) {
      if (share[slot] == 0.0F) continue;
      const float* from = a.sums + (static_cast<int64_t>(slots + slot) * a.heads + head) * a.width;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int column = first + i * kMergeThreads;
        if (column < a.width) mixed[i] = fmaf(from[column], share[slot], mixed[i]);
      }
    }
  }
  float* const to = a.mixed + token * a.mixed_stride + static_cast<int64_t>(head) * a.width;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int column = first + i * kMergeThreads;
    if (column >= a.width) break;
    const float old = shares.before == 0.0F ? 0.0F : shares.before * to[column];
    to[column] = fmaf(mixed[i], shares.scale, old);
  }
}

__global__ void write_lse(Merge a) {
  const int head = threadIdx.x;
  float* const logarithm = a.lse + static_cast<int64_t>(a.tokens[blockIdx.x]) * a.lse_stride + head;
  *logarithm =
      shares_of(a, head, a.first_slot[blockIdx.x], a.first_slot[blockIdx.x + 1], logarithm).lse;
}

}  // namespace

void merge_segments(CudaDevice& device, const Merge& merge, int64_t tokens) {
  if (tokens == 0) return;
  const auto queries = static_cast<unsigned>(tokens);
  const auto strips = static_cast<unsigned>((merge.width + kMergeColumns - 1) / kMergeColumns);
  device.launch("merge sums", add_segments,
                {{static_cast<unsigned>(merge.heads), queries, strips}, kMergeThreads}, merge);
  if (merge.lse == nullptr) return;
  device.launch("merge logarithms", write_lse, {queries, static_cast<unsigned>(merge.heads)},
                merge);
}

}  // namespace slim::cuda
