// What the one-read kernels ask of a card before they run: their shared memory, and how much of
// them it runs at once, since work is cut into as many runs.
#pragma once

#include <algorithm>

#include "kernels/cuda/cuda_device.h"

namespace slim::cuda {

constexpr int kSharedBytes = 227 * 1024;  // of a block, on sm_90

// Lets blocks of the kernel have their shared memory. Returns how many clusters the current card
// runs at once; `one` is the grid of one cluster. (CUDA says of clusters of one block that none
// fits, since a grid without clusters has no such attribute.)
inline int fit_kernel(const void* kernel, const Grid& one) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(one.shared_bytes)),
             "give a block shared memory");
  int count = 0;
  if (one.cluster > 8) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
               "allow clusters of more than eight blocks");
  }
  if (one.cluster > 1) {
    const LaunchConfiguration configuration(one, nullptr);
    check_cuda(cudaOccupancyMaxActiveClusters(&count, kernel, &configuration.config),
               "say how many clusters it runs");
    return std::max(1, count);
  }
  int device = 0;
  int multiprocessors = 0;
  check_cuda(cudaGetDevice(&device), "be selected");
  check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
             "say how many multiprocessors it has");
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                 &count, kernel, static_cast<int>(one.threads.x), one.shared_bytes),
             "say how many blocks it runs");
  return std::max(1, count * multiprocessors);
}

}  // namespace slim::cuda
