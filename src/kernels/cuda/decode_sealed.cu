// Launches of the one-read kernel.
#include "kernels/cuda/decode_sealed.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

#include "base/check.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/decode_occupancy.h"

namespace slim::cuda {
namespace {

const DecodeEntry* find(const DecodeLaunch& launch) {
  switch (launch.bits) {
    case 16:
      return find_decode_16(launch);
    case 12:
      return find_decode_12(launch);
    case 10:
      return find_decode_10(launch);
    case 8:
      return find_decode_8(launch);
    default:
      return nullptr;
  }
}

Grid grid_of(const DecodeLaunch& launch, int clusters, size_t shared_bytes) {
  const auto cluster = static_cast<unsigned>(cluster_of(launch.head_width, launch.heads));
  return {static_cast<unsigned>(clusters) * cluster, kDecodeThreads, shared_bytes, cluster};
}

// What a card makes of a shape: asked for once, since the answers take longer than a launch.
struct Fitted {
  const void* kernel = nullptr;
  int stages = 0;
  size_t shared_bytes = 0;
  int clusters = 0;  // that run at once
};

Fitted fit(const DecodeLaunch& launch, int spill) {
  const DecodeEntry* const entry = find(launch);
  check(entry != nullptr, "there is a kernel for this shape");
  const int stage_bytes = entry->stage_bytes(spill);
  Fitted fitted;
  fitted.kernel = entry->kernel;
  fitted.stages = std::min(kMostStages, (kSharedBytes - entry->fixed_bytes) / stage_bytes);
  check(fitted.stages >= 2, "two pages fit into shared memory");
  fitted.shared_bytes = static_cast<size_t>(fitted.stages * stage_bytes + entry->fixed_bytes);
  fitted.clusters = fit_kernel(fitted.kernel, grid_of(launch, 1, fitted.shared_bytes));
  return fitted;
}

Fitted fitted(const DecodeLaunch& launch, int spill) {
  static std::mutex mutex;
  static std::map<std::array<int, 6>, Fitted> known;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "be selected");
  const std::array key = {
      device, launch.bits, launch.head_width, launch.heads, static_cast<int>(launch.partial),
      spill};
  const std::lock_guard lock(mutex);
  const auto found = known.find(key);
  return found != known.end() ? found->second : known[key] = fit(launch, spill);
}

}  // namespace

bool has_decode(const DecodeLaunch& launch) { return find(launch) != nullptr; }

int resident_clusters(const DecodeLaunch& launch, int spill) {
  return fitted(launch, spill).clusters;
}

void decode_sealed(CudaDevice& device, const DecodeLaunch& launch,
                   const DecodeArguments& arguments) {
  const Fitted shape = fitted(launch, arguments.spill);
  const Parameter parameters[] = {{&arguments, sizeof(arguments)},
                                  {&shape.stages, sizeof(shape.stages)}};
  device.launch("read keys", shape.kernel, grid_of(launch, launch.clusters, shape.shared_bytes),
                parameters);
}

}  // namespace slim::cuda
