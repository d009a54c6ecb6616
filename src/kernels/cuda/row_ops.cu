// What works row by row: norms, gates, limits, rotation, embedding, the logarithm of a softmax.
#include <algorithm>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/reductions.cuh"
#include "kernels/cuda/weight_values.cuh"

namespace slim {
namespace {

// Rows of f32, as kernels take them.
template <typename Element>
struct Rows {
  Element* data = nullptr;
  int64_t stride = 0;

  __device__ Element* operator[](int64_t row) const { return data + row * stride; }
};
Rows<const float> rows_of(const ConstMatrix& matrix) {
  return {matrix.row<float>(0), matrix.stride};
}
Rows<float> rows_of(const Matrix& matrix) { return {matrix.row<float>(0), matrix.stride}; }

// Rows are the grid's first dimension, which may be of any length; `columns` are cut into blocks.
constexpr int kThreads = 256;
dim3 grid_of(int64_t rows, int64_t columns) {
  return {static_cast<unsigned>(rows), static_cast<unsigned>((columns + kThreads - 1) / kThreads)};
}
__device__ inline int64_t own_column() {
  return static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
}

struct NormRows {
  Rows<const float> x;
  Rows<float> y;
  const float* gain;
  const float* offset;
  float* inverse;
  int64_t width;  // of a part
  int groups;
  NormKind kind;
  float epsilon;
  bool accumulate;
};

// One block for one part of one row. Every thread reads and writes its own columns, so y may be x.
template <int kWide>
__global__ void __launch_bounds__(kWide) norm_rows(const NormRows a) {
  wait_for_earlier();
  __shared__ float scratch[kWarp];
  const int64_t row = blockIdx.x / a.groups;
  const int64_t first = blockIdx.x % a.groups * a.width;
  const float* x = a.x[row] + first;
  float* y = a.y[row] + first;
  const auto count = static_cast<float>(a.width);
  float mean = 0.0F;
  if (a.kind == NormKind::layer) {
    float sum = 0.0F;
    for (int64_t i = threadIdx.x; i < a.width; i += kWide) sum += x[i];
    mean = reduce_block<kWide>(sum, scratch, Sum()) / count;
  }
  // From the differences, not from the squares: those would cancel where the mean is large.
  float squares = 0.0F;
  for (int64_t i = threadIdx.x; i < a.width; i += kWide) {
    const float difference = x[i] - mean;
    squares = fmaf(difference, difference, squares);
  }
  squares = reduce_block<kWide>(squares, scratch, Sum());
  const float inverse = 1.0F / sqrtf(squares / count + a.epsilon);
  for (int64_t i = threadIdx.x; i < a.width; i += kWide) {
    float value = (x[i] - mean) * inverse;
    if (a.gain != nullptr) value *= a.gain[first + i];
    if (a.offset != nullptr) value += a.offset[first + i];
    if (a.accumulate) value += y[i];
    y[i] = value;
  }
  if (a.inverse != nullptr && threadIdx.x == 0) a.inverse[row] = inverse;
}

__global__ void __launch_bounds__(kThreads)
    gate_rows(Rows<const float> gate, Rows<const float> up, Rows<float> y, Activation activation,
              int64_t columns) {
  wait_for_earlier();
  const int64_t row = blockIdx.x;
  const int64_t i = own_column();
  if (i < columns) y[row][i] = activate(activation, gate[row][i]) * up[row][i];
}

__global__ void __launch_bounds__(kThreads)
    clamp_rows(Rows<float> x, float limit, int64_t columns) {
  wait_for_earlier();
  const int64_t i = own_column();
  if (i >= columns) return;
  const float value = x[blockIdx.x][i];
  if (fabsf(value) > limit) x[blockIdx.x][i] = copysignf(limit, value);  // NaN stays
}

struct RotateRows {
  Rows<const float> x;
  Rows<float> y;
  const int32_t* positions;
  CudaRotation rotation;
  int head_width;
  int64_t columns;
};

// A thread takes a pair of columns of a head, both of its values, or copies one of the rest: of a
// head's head_width - pairs items the first `pairs` are pairs. So y may be x.
__global__ void __launch_bounds__(kThreads) rotate_rows(const RotateRows a) {
  wait_for_earlier();
  const CudaRotation& rotation = a.rotation;
  const int pairs = rotation.pairs;
  const int items = a.head_width - pairs;
  const int64_t item = own_column();
  const int64_t head = item / items * a.head_width;
  if (head >= a.columns) return;
  const auto i = static_cast<int>(item % items);
  const float* x = a.x[blockIdx.x] + head;
  float* y = a.y[blockIdx.x] + head;
  if (i >= pairs) {
    if (x != y) y[i + pairs] = x[i + pairs];
    return;
  }
  const int position = a.positions[blockIdx.x];
  const int64_t width = 2 * pairs;
  const float* page = rotation.pages + position / static_cast<int>(kPageRows) * width;
  const float* row = rotation.rows + position % static_cast<int>(kPageRows) * width;
  const float cosine = page[i] * row[i] - page[pairs + i] * row[pairs + i];
  const float sine = page[pairs + i] * row[i] + page[i] * row[pairs + i];
  const int left = rotation.interleaved ? 2 * i : i;
  const int right = rotation.interleaved ? 2 * i + 1 : i + pairs;
  const float a_left = x[left];
  const float a_right = x[right];
  y[left] = rotation.magnitude * (a_left * cosine - a_right * sine);
  y[right] = rotation.magnitude * (a_left * sine + a_right * cosine);
}

struct EmbedRows {
  const int32_t* ids;
  const std::byte* table;
  int64_t table_bytes;  // from one row to the next
  float factor;
  const int32_t* places;
  const std::byte* positions;  // or none
  int64_t position_bytes;
  DType position_type;
  Rows<float> y;
  int64_t columns;
  bool wide;
};

__device__ inline float position_value(DType type, const std::byte* row, int64_t k) {
  switch (type) {
    case DType::f16:
      return WeightPieces<DType::f16>::element(row, k);
    case DType::bf16:
      return WeightPieces<DType::bf16>::element(row, k);
    default:
      return WeightPieces<DType::f32>::element(row, k);
  }
}

// Product and sum are rounded apart: nothing strays from the specification.
__device__ inline void store_embedded(const EmbedRows& a, float value, int64_t k) {
  const int64_t t = blockIdx.x;
  value = __fmul_rn(value, a.factor);
  if (a.positions != nullptr) {
    const std::byte* row = a.positions + a.places[t] * a.position_bytes;
    value = __fadd_rn(value, position_value(a.position_type, row, k));
  }
  a.y[t][k] = value;
}

// A thread takes one piece; the last columns of plain types are a piece cut off.
template <DType kType>
__global__ void __launch_bounds__(kThreads) embed_rows(const EmbedRows a) {
  wait_for_earlier();
  using Pieces = WeightPieces<kType>;
  const int64_t piece = own_column();
  if (piece * kPiece >= a.columns) return;
  const std::byte* row = a.table + a.ids[blockIdx.x] * a.table_bytes;
  if ((piece + 1) * kPiece > a.columns) {
    if constexpr (!is_block_type(kType)) {
      for (int64_t k = piece * kPiece; k < a.columns; ++k) {
        store_embedded(a, Pieces::element(row, k), k);
      }
    }
    return;
  }
  const PiecePlaces places = Pieces::places(piece, a.columns / kPiece);
  float values[kPiece];
  if (a.wide) {
    Pieces::template decode<true>(row, piece, places, values);
  } else {
    Pieces::template decode<false>(row, piece, places, values);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    store_embedded(a, values[i], places.first + i);
    store_embedded(a, values[i + 4], places.second + i);
  }
}

// One block a row, for short rows.
template <int kWide>
__global__ void __launch_bounds__(kWide)
    log_softmax_rows(Rows<const float> x, Rows<float> y, int64_t columns) {
  wait_for_earlier();
  __shared__ float scratch[kWarp];
  const float* from = x[blockIdx.x];
  float* to = y[blockIdx.x];
  float largest = Largest::kNeutral;
  for (int64_t i = threadIdx.x; i < columns; i += kWide) largest = fmaxf(largest, from[i]);
  largest = reduce_block<kWide>(largest, scratch, Largest());
  float sum = 0.0F;  // a NaN, which the maximum passes over, enters here
  for (int64_t i = threadIdx.x; i < columns; i += kWide) sum += expf(from[i] - largest);
  // Subtracted one after the other: largest + log(sum) would round away digits of the logarithm.
  const float logarithm = logf(reduce_block<kWide>(sum, scratch, Sum()));
  for (int64_t i = threadIdx.x; i < columns; i += kWide) to[i] = from[i] - largest - logarithm;
}

// Long rows, vocabularies, are cut into up to 32 stretches of whole blocks: one multiprocessor
// would need 80 us to read 256k columns three times.
struct Stretches {
  Rows<const float> x;
  Rows<float> y;
  float2* sums;  // [rows, count]: the largest value, and the sum of exp(x - largest)
  int64_t columns;
  int64_t length;
  int count;

  __device__ int64_t begin() const { return blockIdx.y * length + threadIdx.x; }
  __device__ int64_t end() const { return min(columns, (blockIdx.y + 1) * length); }
};
constexpr int64_t kShortRow = 4096;
constexpr const char* kLogSoftmax = "take the logarithm of a softmax";

__global__ void __launch_bounds__(kThreads) sum_stretches(const Stretches a) {
  wait_for_earlier();
  __shared__ float scratch[kWarp];
  const float* from = a.x[blockIdx.x];
  float largest = Largest::kNeutral;
#pragma unroll 8
  for (int64_t i = a.begin(); i < a.end(); i += kThreads) largest = fmaxf(largest, from[i]);
  largest = reduce_block<kThreads>(largest, scratch, Largest());
  // Where all is minus infinity the sum is zero, not NaN: other stretches may have more.
  const float shift = largest == -INFINITY ? 0.0F : largest;
  float sum = 0.0F;
#pragma unroll 4
  for (int64_t i = a.begin(); i < a.end(); i += kThreads) sum += expf(from[i] - shift);
  sum = reduce_block<kThreads>(sum, scratch, Sum());
  if (threadIdx.x == 0) a.sums[blockIdx.x * a.count + blockIdx.y] = {largest, sum};
}

__global__ void __launch_bounds__(kThreads) subtract_sums(const Stretches a) {
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float2 own = {Largest::kNeutral, 0.0F};
  if (lane < a.count) own = a.sums[blockIdx.x * a.count + lane];
  const float largest = reduce_warp(own.x, Largest());
  const float share = lane < a.count ? own.y * expf(own.x - largest) : 0.0F;
  const float logarithm = logf(reduce_warp(share, Sum()));
  const float* from = a.x[blockIdx.x];
  float* to = a.y[blockIdx.x];
#pragma unroll 4
  for (int64_t i = a.begin(); i < a.end(); i += kThreads) to[i] = from[i] - largest - logarithm;
}

void long_log_softmax(CudaDevice& device, const LogSoftmax& arguments) {
  const ConstMatrix& x = arguments.x;
  const int64_t least = (x.columns + kWarp - 1) / kWarp;
  const int64_t length = std::max(kShortRow, (least + kThreads - 1) / kThreads * kThreads);
  const auto count = static_cast<int>((x.columns + length - 1) / length);
  const auto scratch = device.allocate(static_cast<size_t>(x.rows * count) * sizeof(float2));
  const Stretches a{.x = rows_of(x),
                    .y = rows_of(arguments.y),
                    .sums = reinterpret_cast<float2*>(scratch->data()),
                    .columns = x.columns,
                    .length = length,
                    .count = count};
  const dim3 grid(static_cast<unsigned>(x.rows), static_cast<unsigned>(count));
  device.launch(kLogSoftmax, sum_stretches, {grid, kThreads}, a);
  device.launch(kLogSoftmax, subtract_sums, {grid, kThreads}, a);
}

}  // namespace

void CudaKernels::norm(const Norm& arguments) {
  const Norm& a = arguments;
  if (a.x.rows == 0 || a.x.columns == 0) return;
  device_.select();
  const NormRows rows{.x = rows_of(a.x),
                      .y = rows_of(a.y),
                      .gain = a.gain,
                      .offset = a.offset,
                      .inverse = a.inverse,
                      .width = a.x.columns / a.groups,
                      .groups = static_cast<int>(a.groups),
                      .kind = a.kind,
                      .epsilon = a.epsilon,
                      .accumulate = a.accumulate};
  const auto blocks = static_cast<unsigned>(a.x.rows * a.groups);
  // About four columns a thread: a step of decoding waits for one block to finish.
  if (rows.width <= 256) {
    device_.launch("normalise rows", norm_rows<kWarp>, {blocks, kWarp}, rows);
  } else if (rows.width <= 1024) {
    device_.launch("normalise rows", norm_rows<256>, {blocks, 256}, rows);
  } else {
    device_.launch("normalise rows", norm_rows<1024>, {blocks, 1024}, rows);
  }
}

void CudaKernels::gate(const Gate& arguments) {
  const Matrix& y = arguments.y;
  if (y.rows == 0 || y.columns == 0) return;
  device_.select();
  device_.launch("gate rows", gate_rows, {grid_of(y.rows, y.columns), kThreads},
                 rows_of(arguments.gate), rows_of(arguments.up), rows_of(y), arguments.activation,
                 y.columns);
}

void CudaKernels::clamp(const Clamp& arguments) {
  const Matrix& x = arguments.x;
  if (x.rows == 0 || x.columns == 0) return;
  device_.select();
  device_.launch("limit rows", clamp_rows, {grid_of(x.rows, x.columns), kThreads}, rows_of(x),
                 arguments.limit, x.columns);
}

void CudaKernels::rotate(const Rotate& arguments) {
  const Rotate& a = arguments;
  if (a.x.rows == 0 || a.x.columns == 0) return;
  device_.select();
  const RotateRows rows{.x = rows_of(a.x),
                        .y = rows_of(a.y),
                        .positions = device_.upload(a.positions),
                        .rotation = rotation(*a.rotation),
                        .head_width = static_cast<int>(a.head_width),
                        .columns = a.x.columns};
  const int64_t items = a.x.columns / a.head_width * (a.head_width - a.rotation->pairs());
  device_.launch("rotate rows", rotate_rows, {grid_of(a.x.rows, items), kThreads}, rows);
}

void CudaKernels::embed(const Embed& arguments) {
  const Embed& a = arguments;
  if (a.y.rows == 0 || a.y.columns == 0) return;
  device_.select();
  const bool placed = a.positions.rows > 0;
  visit_weight(a.table.type, [&](auto type) {
    constexpr DType kType = decltype(type)::value;
    const EmbedRows rows{
        .ids = device_.upload(a.ids),
        .table = a.table.data,
        .table_bytes = bytes_of(kType, a.table.stride),
        .factor = a.factor,
        .places = placed ? device_.upload(a.places) : nullptr,
        .positions = placed ? a.positions.data : nullptr,
        .position_bytes = placed ? bytes_of(a.positions.type, a.positions.stride) : 0,
        .position_type = a.positions.type,
        .y = rows_of(a.y),
        .columns = a.y.columns,
        .wide = rows_aligned(a.table, WeightPieces<kType>::kWideBytes)};
    const int64_t pieces = (a.y.columns + kPiece - 1) / kPiece;
    device_.launch("embed tokens", embed_rows<kType>, {grid_of(a.y.rows, pieces), kThreads}, rows);
  });
}

void CudaKernels::log_softmax(const LogSoftmax& arguments) {
  const ConstMatrix& x = arguments.x;
  if (x.rows == 0 || x.columns == 0) return;
  device_.select();
  const auto blocks = static_cast<unsigned>(x.rows);
  if (x.columns <= 1024) {
    device_.launch(kLogSoftmax, log_softmax_rows<kWarp>, {blocks, kWarp}, rows_of(x),
                   rows_of(arguments.y), x.columns);
  } else if (x.columns <= kShortRow) {
    device_.launch(kLogSoftmax, log_softmax_rows<1024>, {blocks, 1024}, rows_of(x),
                   rows_of(arguments.y), x.columns);
  } else {
    long_log_softmax(device_, arguments);
  }
}

}  // namespace slim
