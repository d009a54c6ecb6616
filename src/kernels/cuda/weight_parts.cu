// What surrounds the products of many rows: numbers are taken apart into bf16 parts, whose products
// the tensor cores compute exactly, and sums are finished into outputs.
#include <cuda_bf16.h>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/products.h"
#include "kernels/cuda/weight_values.cuh"

namespace slim {
namespace {

struct Split {
  const std::byte* from;
  int64_t from_bytes;  // from one row to the next
  int64_t step_bytes;  // from one stretch to the next
  int64_t columns;
  uint16_t* to;
  int64_t part;  // elements from one part to the next
  int64_t width;
  int groups;
  bool wide;
};

// The next part of a number, which loses it. Both the part and the rest are exact; with 24 bits,
// three parts leave nothing. What is not finite is all in its first part, the rest being zero.
__device__ inline uint16_t take_part(float& value) {
  const __nv_bfloat16 nearest = __float2bfloat16_rn(value);
  uint16_t bits = __bfloat16_as_ushort(nearest);
  // The largest numbers round to infinity: they are cut off instead.
  if (__hisinf(nearest) != 0 && isfinite(value)) {
    bits = static_cast<uint16_t>(__float_as_uint(value) >> 16);
  }
  const float part = __uint_as_float(static_cast<uint32_t>(bits) << 16);
  value = isfinite(value) ? value - part : 0.0F;
  return bits;
}

// Four neighbours, all parts. `to` lies on a multiple of 8 bytes.
template <int kParts>
__device__ inline void store_quad(const float* values, uint16_t* to, int64_t part) {
  float rest[4] = {values[0], values[1], values[2], values[3]};
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const uint32_t a = take_part(rest[0]);
    const uint32_t b = take_part(rest[1]);
    const uint32_t c = take_part(rest[2]);
    const uint32_t d = take_part(rest[3]);
    *reinterpret_cast<uint2*>(to + p * part) = {a | (b << 16), c | (d << 16)};
  }
}

// A thread takes one piece of one stretch; the last may be cut off or whole zeros.
template <DType kType, bool kWide>
__device__ inline void split_piece(const Split& a, const std::byte* row, uint16_t* to,
                                   int64_t piece) {
  using Pieces = WeightPieces<kType>;
  const int64_t pieces = a.columns / kPiece;
  float values[kPiece] = {};
  PiecePlaces places = {piece * kPiece, piece * kPiece + 4};
  if (piece < pieces) {
    places = Pieces::places(piece, pieces);
    Pieces::template decode<kWide>(row, piece, places, values);
  } else if constexpr (!is_block_type(kType)) {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) {
      const int64_t k = piece * kPiece + i;
      if (k < a.columns) values[i] = Pieces::element(row, k);
    }
  }
  store_quad<Pieces::kParts>(values, to + places.first, a.part);
  store_quad<Pieces::kParts>(values + 4, to + places.second, a.part);
}

constexpr int kSplitThreads = 128;

template <DType kType>
__global__ void __launch_bounds__(kSplitThreads) split(const Split a) {
  const int64_t row = blockIdx.x / a.groups;
  const int64_t group = blockIdx.x % a.groups;
  const int64_t piece = static_cast<int64_t>(blockIdx.y) * kSplitThreads + threadIdx.x;
  if (piece * kPiece >= a.width) return;
  const std::byte* from = a.from + row * a.from_bytes + group * a.step_bytes;
  uint16_t* to = a.to + (row * a.groups + group) * a.width;
  if (a.wide) {
    split_piece<kType, true>(a, from, to, piece);
  } else {
    split_piece<kType, false>(a, from, to, piece);
  }
}

struct FinishRows {
  Finish finish;
  float* y;
  int64_t y_stride;
};

constexpr int kFinishThreads = 256;

__global__ void __launch_bounds__(kFinishThreads) finish_rows(const FinishRows a) {
  const Finish& finish = a.finish;
  const int64_t row = blockIdx.x;
  const int64_t output = static_cast<int64_t>(blockIdx.y) * kFinishThreads + threadIdx.x;
  if (output >= finish.groups * finish.outputs) return;
  const int64_t group = output / finish.outputs;
  const int64_t place = output % finish.outputs;
  float sum = finish.high[row * finish.high_stride + group * finish.high_pitch + place];
  // Infinite weights and activations have no rest: it would be infinity times zero.
  if (finish.rest != nullptr && isfinite(sum)) {
    sum += finish.rest[row * finish.rest_stride + group * finish.rest_pitch + place];
  }
  if (finish.scale != nullptr) sum *= finish.scale[output];
  if (finish.bias != nullptr) sum += finish.bias[output];
  float* to = a.y + row * a.y_stride + output;
  const float value = activate(finish.activation, sum);
  *to = finish.accumulate ? value + *to : value;
}

}  // namespace

int64_t parts_of(DType type) {
  int64_t parts = 0;
  visit_weight(type, [&](auto is) { parts = WeightPieces<decltype(is)::value>::kParts; });
  return parts;
}

void split_parts(CudaDevice& device, const ConstMatrix& from, int64_t step, const Parts& to) {
  if (to.rows == 0 || to.width == 0) return;
  const int64_t pieces = to.width / kPiece;
  const dim3 grid(static_cast<unsigned>(to.rows * to.groups),
                  static_cast<unsigned>((pieces + kSplitThreads - 1) / kSplitThreads));
  visit_weight(from.type, [&](auto type) {
    constexpr DType kType = decltype(type)::value;
    const int64_t step_bytes = to.groups == 1 ? 0 : bytes_of(kType, step);
    const bool wide = rows_aligned(from, WeightPieces<kType>::kWideBytes) &&
                      step_bytes % WeightPieces<kType>::kWideBytes == 0;
    const Split a{.from = from.data,
                  .from_bytes = bytes_of(kType, from.stride),
                  .step_bytes = step_bytes,
                  .columns = from.columns,
                  .to = reinterpret_cast<uint16_t*>(to.data),
                  .part = to.rows * to.stride(),
                  .width = to.width,
                  .groups = static_cast<int>(to.groups),
                  .wide = wide};
    device.launch("take numbers apart", split<kType>, {grid, kSplitThreads}, a);
  });
}

void finish_product(CudaDevice& device, const Finish& finish) {
  const int64_t columns = finish.groups * finish.outputs;
  if (finish.y.rows == 0 || columns == 0) return;
  const dim3 grid(static_cast<unsigned>(finish.y.rows),
                  static_cast<unsigned>((columns + kFinishThreads - 1) / kFinishThreads));
  const FinishRows a{.finish = finish, .y = finish.y.row<float>(0), .y_stride = finish.y.stride};
  device.launch("finish a product", finish_rows, {grid, kFinishThreads}, a);
}

}  // namespace slim
