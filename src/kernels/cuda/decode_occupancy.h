// How much of a one-read kernel a card runs at once: work is cut into as many runs.
#pragma once

#include <algorithm>

#include "kernels/cuda/cuda_device.h"

namespace slim::cuda {

// Clusters of the current card; `one` is the grid of one cluster. (CUDA says of clusters of one
// block that none fits, since a grid without clusters has no such attribute.)
inline int resident_clusters(const void* kernel, const Grid& one) {
  int count = 0;
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
