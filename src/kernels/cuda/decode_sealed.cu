// Launches of the one-read kernel.
#include "kernels/cuda/decode_sealed.h"

#include <algorithm>
#include <mutex>

#include "base/check.h"

namespace slim::cuda {
namespace {

constexpr int kSharedBytes = 227 * 1024;  // of a block, on sm_90
constexpr int kMostStages = 8;
constexpr int kThreads = 640;

const DecodeEntry* find(int bits, int head_width, int head_tiles) {
  switch (bits) {
    case 16:
      return find_decode_16(head_width, head_tiles);
    case 12:
      return find_decode_12(head_width, head_tiles);
    case 10:
      return find_decode_10(head_width, head_tiles);
    case 8:
      return find_decode_8(head_width, head_tiles);
    default:
      return nullptr;
  }
}

struct Configuration {
  const DecodeEntry* entry;
  int stages;
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attribute{};

  Configuration(const DecodeLaunch& launch, int spill)
      : entry(find(launch.bits, launch.head_width, launch.head_tiles)) {
    check(entry != nullptr, "there is a kernel for this shape");
    const int stage_bytes = entry->stage_bytes(spill);
    stages = std::min(kMostStages, (kSharedBytes - entry->fixed_bytes) / stage_bytes);
    check(stages >= 2, "two pages fit into shared memory");
    const int cluster = cluster_of(launch.head_width, launch.head_tiles);
    config.gridDim = dim3(static_cast<unsigned>(launch.clusters * cluster));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = static_cast<size_t>(stages * stage_bytes + entry->fixed_bytes);
    config.stream = launch.stream;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
    config.attrs = &attribute;
    config.numAttrs = 1;
    check_cuda(cudaFuncSetAttribute(entry->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(config.dynamicSmemBytes)),
               "give a block shared memory");
  }
  Configuration(const Configuration&) = delete;
  Configuration& operator=(const Configuration&) = delete;
};

}  // namespace

bool has_decode(int bits, int head_width, int head_tiles) {
  return find(bits, head_width, head_tiles) != nullptr;
}

int resident_clusters(const DecodeLaunch& launch, int spill) {
  DecodeLaunch one = launch;
  one.clusters = 1;
  const Configuration configuration(one, spill);
  int clusters = 0;
  check_cuda(
      cudaOccupancyMaxActiveClusters(&clusters, configuration.entry->kernel, &configuration.config),
      "say how many clusters it runs");
  return std::max(1, clusters);
}

void decode_sealed(const DecodeLaunch& launch, const DecodeArguments& arguments) {
  const Configuration configuration(launch, arguments.spill);
  DecodeArguments copy = arguments;
  int stages = configuration.stages;
  void* parameters[] = {&copy, &stages};
  check_cuda(cudaLaunchKernelExC(&configuration.config, configuration.entry->kernel, parameters),
             "start reading keys");
}

}  // namespace slim::cuda
