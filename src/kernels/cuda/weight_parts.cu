// What surrounds the products of many rows: numbers are taken apart into parts of 16 bits, whose
// products the tensor cores compute exactly, and sums are finished into outputs.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/half_pairs.cuh"
#include "kernels/cuda/products.h"
#include "kernels/cuda/reductions.cuh"
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
// three bf16 parts leave nothing. What is not finite is all in its first part, the rest being zero.
struct BfloatParts {
  __device__ static uint16_t take(float& value) {
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
};
// Of numbers that f16 can hold, rounded.
struct HalfParts {
  __device__ static uint16_t take(float& value) {
    const __half nearest = __float2half_rn(value);
    value = isfinite(value) ? value - __half2float(nearest) : 0.0F;
    return __half_as_ushort(nearest);
  }
};

// Four neighbours, all parts. `to` lies on a multiple of 8 bytes.
template <typename Part, int kParts>
__device__ inline void store_quad(const float* values, uint16_t* to, int64_t part) {
  float rest[4] = {values[0], values[1], values[2], values[3]};
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const uint32_t a = Part::take(rest[0]);
    const uint32_t b = Part::take(rest[1]);
    const uint32_t c = Part::take(rest[2]);
    const uint32_t d = Part::take(rest[3]);
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
  using Part = std::conditional_t<Pieces::kHalves, HalfParts, BfloatParts>;
  store_quad<Part, Pieces::kParts>(values, to + places.first, a.part);
  store_quad<Part, Pieces::kParts>(values + 4, to + places.second, a.part);
}

constexpr int kSplitThreads = 128;

template <DType kType>
__global__ void __launch_bounds__(kSplitThreads) split(const Split a) {
  wait_for_earlier();
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

// A block takes a stretch of f32 numbers apart, in units of its largest.
template <bool kWide, int kParts>
__global__ void __launch_bounds__(kSplitThreads) split_in_units(const Split a, float* units) {
  wait_for_earlier();
  using Pieces = WeightPieces<DType::f32>;
  __shared__ float scratch[kSplitThreads / kWarp];
  const int64_t row = blockIdx.x / a.groups;
  const int64_t group = blockIdx.x % a.groups;
  const std::byte* const from = a.from + row * a.from_bytes + group * a.step_bytes;
  float largest = 0.0F;
  for (int64_t k = threadIdx.x; k < a.columns; k += kSplitThreads) {
    const float value = fabsf(Pieces::element(from, k));
    if (isfinite(value)) largest = fmaxf(largest, value);
  }
  largest = reduce_block<kSplitThreads>(largest, scratch, Largest());
  const int exponent = pair_exponent(largest);
  const float factor = ldexpf(1.0F, exponent);
  if (threadIdx.x == 0) units[blockIdx.x] = ldexpf(1.0F, -exponent);
  uint16_t* const to = a.to + (row * a.groups + group) * a.width;
  for (int64_t piece = threadIdx.x; piece * kPiece < a.width; piece += kSplitThreads) {
    float values[kPiece] = {};
    const int64_t pieces = a.columns / kPiece;
    if (piece < pieces) {
      Pieces::decode<kWide>(from, piece, {piece * kPiece, piece * kPiece + 4}, values);
    } else {
#pragma unroll
      for (int i = 0; i < kPiece; ++i) {
        const int64_t k = piece * kPiece + i;
        if (k < a.columns) values[i] = Pieces::element(from, k);
      }
    }
#pragma unroll
    for (float& value : values) value *= factor;
    store_quad<HalfParts, kParts>(values, to + piece * kPiece, a.part);
    store_quad<HalfParts, kParts>(values + 4, to + piece * kPiece + 4, a.part);
  }
}

struct FinishRows {
  Finish finish;
  float* y;
  int64_t y_stride;
};

constexpr int kFinishThreads = 256;

__global__ void __launch_bounds__(kFinishThreads) finish_rows(const FinishRows a) {
  wait_for_earlier();
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
  if (finish.units != nullptr) sum *= finish.units[row * finish.unit_stride + group];
  if (finish.scale != nullptr) sum *= finish.scale[output];
  if (finish.bias != nullptr) sum += finish.bias[output];
  float* to = a.y + row * a.y_stride + output;
  const float value = activate(finish.activation, sum);
  *to = finish.accumulate ? value + *to : value;
}

}  // namespace

DType part_type(DType type) {
  DType part = DType::bf16;
  visit_weight(type, [&](auto is) {
    if (WeightPieces<decltype(is)::value>::kHalves) part = DType::f16;
  });
  return part;
}

int64_t parts_of(DType type) {
  int64_t parts = 0;
  visit_weight(type, [&](auto is) { parts = WeightPieces<decltype(is)::value>::kParts; });
  return parts;
}

namespace {

template <DType kType>
Split split_of(const ConstMatrix& from, int64_t step, const Parts& to) {
  const int64_t step_bytes = to.groups == 1 ? 0 : bytes_of(kType, step);
  const bool wide = rows_aligned(from, WeightPieces<kType>::kWideBytes) &&
                    step_bytes % WeightPieces<kType>::kWideBytes == 0;
  return {.from = from.data,
          .from_bytes = bytes_of(kType, from.stride),
          .step_bytes = step_bytes,
          .columns = from.columns,
          .to = reinterpret_cast<uint16_t*>(to.data),
          .part = to.rows * to.stride(),
          .width = to.width,
          .groups = static_cast<int>(to.groups),
          .wide = wide};
}

}  // namespace

void split_parts(CudaDevice& device, const ConstMatrix& from, int64_t step, const Parts& to) {
  if (to.rows == 0 || to.width == 0) return;
  const int64_t pieces = to.width / kPiece;
  const dim3 grid(static_cast<unsigned>(to.rows * to.groups),
                  static_cast<unsigned>((pieces + kSplitThreads - 1) / kSplitThreads));
  visit_weight(from.type, [&](auto type) {
    constexpr DType kType = decltype(type)::value;
    device.launch("take numbers apart", split<kType>, {grid, kSplitThreads},
                  split_of<kType>(from, step, to));
  });
}

void split_rows(CudaDevice& device, const ConstMatrix& from, int64_t step, const Parts& to) {
  if (to.units == nullptr) return split_parts(device, from, step, to);
  if (to.rows == 0 || to.width == 0) return;
  const Split a = split_of<DType::f32>(from, step, to);
  const auto kernel = to.count == 1 ? (a.wide ? split_in_units<true, 1> : split_in_units<false, 1>)
                                    : (a.wide ? split_in_units<true, 2> : split_in_units<false, 2>);
  device.launch("take numbers apart", kernel,
                {dim3(static_cast<unsigned>(to.rows * to.groups)), kSplitThreads}, a, to.units);
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
