// Launches of the one-read kernel over rows.
#include "kernels/cuda/decode_rows.h"

#include <cuda.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>

#include "base/check.h"
#include "kernels/cuda/decode_occupancy.h"

namespace slim::cuda {
namespace {

constexpr int kSlabBytes = kPageRows * 128;

const RowEntry* find(DType type, int64_t width) {
  if (type == DType::f16) return find_rows_f16(width);
  return type == DType::bf16 ? find_rows_bf16(width) : nullptr;
}

Grid grid_of(const RowEntry& entry, int64_t clusters, int shared_bytes) {
  const auto cluster = static_cast<unsigned>(entry.cluster);
  return {static_cast<unsigned>(clusters) * cluster, kRowThreads, static_cast<size_t>(shared_bytes),
          cluster};
}

// What a card makes of a shape: asked for once, since the answers take longer than a launch.
struct Fitted {
  const RowEntry* entry = nullptr;
  int ring_slabs = 0;
  int shared_bytes = 0;
  int clusters = 0;  // that run at once
};

// A ring of two pages keeps memory busy; longer ones make the first page wait for what nobody needs
// yet (measured: 15 slabs of 8 a page 31.9 us, 25 slabs 34.7).
Fitted fit(const RowLaunch& launch) {
  Fitted fitted;
  fitted.entry = find(launch.type, launch.width);
  check(fitted.entry != nullptr, "there is a kernel for this shape");
  const RowEntry& entry = *fitted.entry;
  fitted.ring_slabs = std::min(2 * entry.slabs, (kSharedBytes - entry.fixed_bytes) / kSlabBytes);
  check(fitted.ring_slabs >= entry.slabs, "a page fits into shared memory");
  fitted.shared_bytes = fitted.ring_slabs * kSlabBytes + entry.fixed_bytes;
  fitted.clusters = fit_kernel(entry.kernel, grid_of(entry, 1, fitted.shared_bytes));
  return fitted;
}

Fitted fitted(const RowLaunch& launch) {
  static std::mutex mutex;
  static std::map<std::array<int64_t, 3>, Fitted> known;
  int device = 0;
  check_cuda(cudaGetDevice(&device), "be selected");
  const std::array<int64_t, 3> key = {device, static_cast<int64_t>(launch.type), launch.width};
  const std::lock_guard lock(mutex);
  const auto found = known.find(key);
  return found != known.end() ? found->second : known[key] = fit(launch);
}

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's, so that nothing has to be linked against it.
EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                                cudaEnableDefault, &result),
               "name its driver's functions");
    check(entry != nullptr, "the driver knows tensor maps");
    return reinterpret_cast<EncodeTiled>(entry);
  }();
  return function;
}

// Columns, rows of a page, places; a box is a slab.
CUtensorMap tensor_map(const RowLaunch& launch, const RowPlaces& places, int64_t offset) {
  const std::array<cuuint64_t, 3> sizes = {static_cast<cuuint64_t>(launch.width), kPageRows,
                                           static_cast<cuuint64_t>(places.largest) + 1};
  const std::array<cuuint64_t, 2> strides = {static_cast<cuuint64_t>(2 * launch.width),
                                             static_cast<cuuint64_t>(places.unit)};
  const std::array<cuuint32_t, 3> box = {64, kPageRows, 1};
  const std::array<cuuint32_t, 3> steps = {1, 1, 1};
  CUtensorMap map;
  const CUresult made = encode_tiled()(
      &map,
      launch.type == DType::f16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
      3, const_cast<std::byte*>(places.base + offset), sizes.data(), strides.data(), box.data(),
      steps.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(made == CUDA_SUCCESS, "the driver maps rows");
  return map;
}

}  // namespace

RowPlaces::RowPlaces(std::span<const std::byte* const> pages) {
  if (pages.empty()) return;
  base = *std::min_element(pages.begin(), pages.end());
  for (const std::byte* page : pages) unit = std::gcd(unit, static_cast<int64_t>(page - base));
  if (unit == 0) unit = kPageRows;  // there is one page: any will do
  numbers.reserve(pages.size());
  for (const std::byte* page : pages) {
    largest = std::max(largest, (page - base) / unit);
    numbers.push_back(static_cast<int32_t>((page - base) / unit));
  }
}

bool RowPlaces::fit() const {
  return reinterpret_cast<uintptr_t>(base) % 16 == 0 && unit % 16 == 0 &&
         largest <= std::numeric_limits<int32_t>::max();
}

bool has_rows(DType type, int64_t width, int64_t heads) {
  return find(type, width) != nullptr && heads * kHeadColumns == width;
}

int64_t resident_row_clusters(const RowLaunch& launch) { return fitted(launch).clusters; }

void decode_rows(CudaDevice& device, const RowLaunch& launch, const RowPlaces& places,
                 int64_t offset, const RowArguments& arguments) {
  const Fitted shape = fitted(launch);
  const CUtensorMap map = tensor_map(launch, places, offset);
  const Parameter parameters[] = {{&map, sizeof(map)},
                                  {&arguments, sizeof(arguments)},
                                  {&shape.ring_slabs, sizeof(shape.ring_slabs)}};
  device.launch("read rows", shape.entry->kernel,
                grid_of(*shape.entry, launch.clusters, shape.shared_bytes), parameters);
}

}  // namespace slim::cuda
