// The sum of a stretch of memory, which is read as fast as the card can: 16 bytes a load, eight of
// them in flight in each of as many threads as the card holds.
#include <algorithm>

#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/reductions.cuh"

namespace slim {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kBlocks = 8;  // a multiprocessor: the 2048 threads it holds

struct WordSum {
  static constexpr uint32_t kNeutral = 0;
  __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return a + b; }
};

__global__ void __launch_bounds__(kThreads) add_words(const SumWords a) {
  wait_for_earlier();
  __shared__ uint32_t scratch[kWarp];
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * kThreads;
  const auto* quads = reinterpret_cast<const uint4*>(a.words);
  uint32_t sum = 0;
#pragma unroll 8
  for (int64_t i = thread; i < a.count / 4; i += threads) {
    const uint4 words = __ldg(quads + i);
    sum += words.x + words.y + words.z + words.w;
  }
  if (thread < a.count % 4) sum += a.words[a.count - 1 - thread];
  sum = reduce_block<kThreads>(sum, scratch, WordSum());
  if (threadIdx.x == 0) atomicAdd(a.sum, sum);
}

}  // namespace

void CudaKernels::sum_words(const SumWords& arguments) {
  if (arguments.count == 0) return;
  device_.select();
  constexpr int64_t kWordsPerBlock = int64_t{4} * kThreads;
  const int64_t needed = (arguments.count + kWordsPerBlock - 1) / kWordsPerBlock;
  const auto blocks = static_cast<unsigned>(std::min(needed, kBlocks * device_.multiprocessors()));
  device_.launch("sum words", add_words, {blocks, kThreads}, arguments);
}

}  // namespace slim
