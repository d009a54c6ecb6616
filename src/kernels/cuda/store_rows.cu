// Rows into pages and out of them, to the bits of encode_row and decode_row.
#include <algorithm>

#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/row_codec.cuh"
#include "kernels/cuda/row_rounding.cuh"
#include "kernels/cuda/slices.cuh"

namespace slim {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 32;
constexpr unsigned kAll = 0xFFFFFFFFU;

struct StoredRow {
  std::byte* to = nullptr;
  int64_t from = 0;  // row of x
};

struct Source {
  const float* data;
  int64_t stride;
  int width;
};

__global__ void __launch_bounds__(kThreads)
    store_floats(Source x, DType type, const StoredRow* rows) {
  wait_for_earlier();
  const int column = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  if (column >= x.width) return;
  const StoredRow row = rows[blockIdx.x];
  const float value = x.data[row.from * x.stride + column];
  if (type == DType::f32) {
    reinterpret_cast<float*>(row.to)[column] = value;
  } else {
    reinterpret_cast<uint16_t*>(row.to)[column] =
        type == DType::f16 ? half_bits(value) : bfloat16_bits(value);
  }
}

// A warp a group, of 32 elements.
__global__ void __launch_bounds__(kThreads) store_groups(Source x, const StoredRow* rows) {
  wait_for_earlier();
  static_assert(kGroupSize == kLanes);
  const int column = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  if (column >= x.width) return;  // whole warps: the width is whole groups
  const StoredRow row = rows[blockIdx.x];
  const float value = x.data[row.from * x.stride + column];
  ValueRange range = ValueRange::of(value);
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    range.join({__shfl_xor_sync(kAll, range.lowest, offset),
                __shfl_xor_sync(kAll, range.highest, offset),
                __shfl_xor_sync(kAll, static_cast<int>(range.nan), offset) != 0});
  }
  const ScaleBits shared = group_scale_bits(range, 127);
  const int number =
      round_number(__fsub_rn(value, shared.middle_value()), shared.scale_value(), 127);
  reinterpret_cast<int8_t*>(row.to)[column] = static_cast<int8_t>(number);
  if (threadIdx.x % kLanes != 0) return;
  auto* scales = reinterpret_cast<uint16_t*>(row.to + x.width);
  scales[column / kLanes] = static_cast<uint16_t>(shared.scale);
  scales[x.width / kLanes + column / kLanes] = static_cast<uint16_t>(shared.middle);
}

struct LoadedRows {
  PlaneView plane;
  const std::byte* const* pages;  // from that of the first row on
  int first;                      // row of the first page
  float* y;
  int64_t stride;
};

// A thread an octet.
template <RowCode kCode>
__global__ void __launch_bounds__(kThreads) load_octets(LoadedRows rows) {
  wait_for_earlier();
  const int column = 8 * (static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x));
  if (column >= rows.plane.width) return;
  const int64_t row = rows.first + static_cast<int64_t>(blockIdx.x);
  const std::byte* page = rows.pages[row / kPageRows] + rows.plane.offset;
  const int count = min(8, rows.plane.width - column);
  float values[8];
  read_columns<kCode>(rows.plane, page, static_cast<int>(row % kPageRows), {column, count}, values);
  float* to = rows.y + static_cast<int64_t>(blockIdx.x) * rows.stride + column;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (i < count) to[i] = values[i];
  }
}

unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

}  // namespace

void CudaKernels::store_rows(const StoreRows& arguments) {
  const auto& [x, plane, slices] = arguments;
  const RowFormat& format = plane.format;
  check(format.valid() && !format.sealed() && x.columns == format.width,
        "stored rows have the width of their plane");
  device_.select();
  std::vector<StoredRow> rows;
  for (const Slice& slice : slices) {
    check(slice.count <= slice.rows, "stored rows are among those of their slice");
    for (int64_t i = 0; i < slice.count; ++i) {
      const int64_t row = slice.rows - slice.count + i;
      rows.push_back(
          {slice.pages[row / kPageRows] + plane.offset + row % kPageRows * format.bytes(),
           slice.first + i});
    }
  }
  if (rows.empty()) return;
  const StoredRow* list = device_.upload(std::span<const StoredRow>(rows));
  const Source source{x.row<float>(0), x.stride, static_cast<int>(format.width)};
  const dim3 grid(static_cast<unsigned>(rows.size()), blocks_for(format.width));
  if (format.type == DType::i8) {
    device_.launch("store rows", store_groups, {grid, kThreads}, source, list);
  } else {
    device_.launch("store rows", store_floats, {grid, kThreads}, source, format.type, list);
  }
}

void CudaKernels::load_rows(const LoadRows& arguments) {
  const auto& [plane, slice, begin, y] = arguments;
  check(begin >= 0 && begin + y.rows <= slice.rows, "only rows of the slice are loaded");
  check(y.columns == plane.format.width, "loaded rows have the width of their plane");
  device_.select();
  if (y.rows == 0) return;
  Slice part;
  part.pages = slice.pages + begin / kPageRows;
  part.rows = begin + y.rows - begin / kPageRows * kPageRows;
  const SliceTables tables({&part, 1});
  const LoadedRows rows{.plane = plane_view(plane, plane.format.width, tables.aligned),
                        .pages = device_.upload(std::span<std::byte* const>(tables.pages)),
                        .first = static_cast<int>(begin % kPageRows),
                        .y = y.row<float>(0),
                        .stride = y.stride};
  const dim3 grid(static_cast<unsigned>(y.rows), blocks_for((plane.format.width + 7) / 8));
  visit_row_code(plane.format, [&](auto tag) {
    device_.launch("load rows", load_octets<decltype(tag)::value>, {grid, kThreads}, rows);
  });
}

}  // namespace slim
