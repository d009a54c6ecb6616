// Products with few rows of activations: a decoding step. What they cost is the reading of the
// weights, so every weight is read once for eight rows, decoded in registers and never stored.
//
// A warp computes kOutputs neighbouring outputs of up to eight rows; its lanes walk along K by
// pieces. Where outputs are few, up to eight warps of a block share the same outputs, each taking
// every eighth stretch of 32 pieces, and their sums are added in a fixed order.
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/products.h"
#include "kernels/cuda/reductions.cuh"
#include "kernels/cuda/weight_values.cuh"

namespace slim {
namespace {

constexpr int kWarps = 8;    // of a block
constexpr int kOutputs = 4;  // of a warp: each x that is read serves as many weights
constexpr int kMostRows = 8;

struct FewRows {
  const std::byte* weight;
  const float* x;
  const float* scale;
  const float* bias;
  float* y;
  int64_t weight_bytes;  // from one row to the next
  int64_t x_stride, y_stride;
  int64_t x_step;  // from one group's x to the next's
  int64_t inputs;
  int64_t outputs;  // of a group
  int tiles;        // of kOutputs, of a group
  int all_tiles;
  int rows;
  int row_tiles;
  int split;  // warps that share outputs: 1, 2, 4 or 8
  bool wide;  // vectors of x and weights are aligned
  bool accumulate;
  Activation activation;
};

// Four neighbours of a row of x.
template <bool kWide>
__device__ inline float4 load_quad(const float* at) {
  if constexpr (kWide) return *reinterpret_cast<const float4*>(at);
  return {at[0], at[1], at[2], at[3]};
}

__device__ inline float dot_quad(const float* weights, const float4& x, float sum) {
  sum = fmaf(weights[0], x.x, sum);
  sum = fmaf(weights[1], x.y, sum);
  sum = fmaf(weights[2], x.z, sum);
  return fmaf(weights[3], x.w, sum);
}

// What a warp works on. Rows and outputs past the end repeat the last one, and are not stored.
template <int kRows>
struct Work {
  const std::byte* weight[kOutputs];
  const float* x[kRows];
};

// The sums of one lane over the pieces start, start + step, ...
template <DType kType, int kRows, bool kWide>
__device__ inline void walk(const Work<kRows>& work, int64_t pieces, int64_t start, int64_t step,
                            float (&sums)[kRows][kOutputs]) {
  using Pieces = WeightPieces<kType>;
  // With few rows there are registers to have the loads of two pieces under way.
#pragma unroll(kRows <= 2 ? 2 : 1)
  for (int64_t piece = start; piece < pieces; piece += step) {
    const PiecePlaces places = Pieces::places(piece, pieces);
    float weights[kOutputs][kPiece];
#pragma unroll
    for (int n = 0; n < kOutputs; ++n) {
      Pieces::template decode<kWide>(work.weight[n], piece, places, weights[n]);
    }
#pragma unroll
    for (int t = 0; t < kRows; ++t) {
      const float4 first = load_quad<kWide>(work.x[t] + places.first);
      const float4 second = load_quad<kWide>(work.x[t] + places.second);
#pragma unroll
      for (int n = 0; n < kOutputs; ++n) {
        sums[t][n] = dot_quad(weights[n], first, sums[t][n]);
        sums[t][n] = dot_quad(weights[n] + 4, second, sums[t][n]);
      }
    }
  }
}

// The columns after the last whole piece: fewer than eight, one for each lane. Blocks leave none.
template <DType kType, int kRows>
__device__ inline void walk_rest(const Work<kRows>& work, int64_t inputs,
                                 float (&sums)[kRows][kOutputs]) {
  if constexpr (!is_block_type(kType)) {
    const int64_t k = inputs / kPiece * kPiece + threadIdx.x % kWarp;
    if (k >= inputs) return;
#pragma unroll
    for (int n = 0; n < kOutputs; ++n) {
      const float weight = WeightPieces<kType>::element(work.weight[n], k);
#pragma unroll
      for (int t = 0; t < kRows; ++t) {
        sums[t][n] = fmaf(weight, work.x[t][k], sums[t][n]);
      }
    }
  }
}

// The sums of kCount values each over a warp: lane i * 32 / kCount, and those after it, get sum i.
// Halves of the values change lanes while there are several, so that 32 sums take 31 exchanges and
// not 160.
template <int kCount, int kOffset = kWarp / 2>
__device__ inline float scatter_sums(float* values, int lane) {
  if constexpr (kOffset == 0) {
    return values[0];
  } else if constexpr (kCount == 1) {
    values[0] += __shfl_xor_sync(0xFFFFFFFFU, values[0], kOffset);
    return scatter_sums<1, kOffset / 2>(values, lane);
  } else {
    constexpr int kHalf = kCount / 2;
    const bool upper = (lane & kOffset) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float sent = upper ? values[i] : values[i + kHalf];
      const float kept = upper ? values[i + kHalf] : values[i];
      values[i] = kept + __shfl_xor_sync(0xFFFFFFFFU, sent, kOffset);
    }
    return scatter_sums<kHalf, kOffset / 2>(values, lane);
  }
}

__device__ inline void store_output(const FewRows& a, int64_t row, int64_t output, float sum) {
  if (a.scale != nullptr) sum *= __ldg(a.scale + output);
  if (a.bias != nullptr) sum += __ldg(a.bias + output);
  float* to = a.y + row * a.y_stride + output;
  const float value = activate(a.activation, sum);
  *to = a.accumulate ? value + *to : value;
}

// While earlier work is under way: the first KiB of weights that a warp reads of each output,
// beside that of the warps that share them. A lane asks for 128 bytes.
__device__ inline void ask_for_weights(const FewRows& a, int64_t group, int64_t first_output,
                                       int part, int lane) {
  static_assert(kOutputs == 4);
  const int64_t output = group * a.outputs + min(first_output + lane / 8, a.outputs - 1);
  const int64_t at = int64_t{part * 8 + lane % 8} * 128;
  if (at < a.weight_bytes) prefetch(a.weight + output * a.weight_bytes + at);
}

// Blocks on a multiprocessor at once. Four where registers last: 512 blocks, a matrix of 4096
// outputs, then run at once on 132 of them.
template <DType kType, int kRows>
constexpr int kResident = kRows > 2                                                    ? 2
                          : kRows == 1 && !is_block_type(kType) && kType != DType::f32 ? 4
                                                                                       : 3;

template <DType kType, int kRows>
__global__ void __launch_bounds__(kWarps* kWarp, kResident<kType, kRows>)
    few_rows(const FewRows a) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int part = warp % a.split;
  // Tiles of rows are neighbours in the grid: the weights of all but the first come from the cache.
  const auto row_tile = static_cast<int>(blockIdx.x) % a.row_tiles;
  const int tile = static_cast<int>(blockIdx.x) / a.row_tiles * (kWarps / a.split) + warp / a.split;
  const int used_tile = min(tile, a.all_tiles - 1);
  const int64_t first_row = int64_t{row_tile} * kRows;
  const int64_t group = used_tile / a.tiles;
  const int64_t first_output = int64_t{used_tile % a.tiles} * kOutputs;

  Work<kRows> work;
#pragma unroll
  for (int n = 0; n < kOutputs; ++n) {
    const int64_t output = group * a.outputs + min(first_output + n, a.outputs - 1);
    work.weight[n] = a.weight + output * a.weight_bytes;
  }
#pragma unroll
  for (int t = 0; t < kRows; ++t) {
    const int64_t row = min(first_row + t, static_cast<int64_t>(a.rows) - 1);
    work.x[t] = a.x + row * a.x_stride + group * a.x_step;
  }
  ask_for_weights(a, group, first_output, part, lane);
  wait_for_earlier();
  float sums[kRows][kOutputs] = {};
  const int64_t pieces = a.inputs / kPiece;
  const int64_t start = part * kWarp + lane;
  const int64_t step = static_cast<int64_t>(a.split) * kWarp;
  if (a.wide) {
    walk<kType, kRows, true>(work, pieces, start, step, sums);
  } else {
    walk<kType, kRows, false>(work, pieces, start, step, sums);
  }
  if (part == 0) walk_rest<kType, kRows>(work, a.inputs, sums);

  // Lane i * kShare and those after it get sum i.
  constexpr int kSums = kRows * kOutputs;
  constexpr int kShare = kWarp / kSums;
  float own = scatter_sums<kSums>(&sums[0][0], lane);
  __shared__ float partial[kWarps][kWarp];
  partial[warp][lane] = own;
  __syncthreads();
  if (part != 0 || tile >= a.all_tiles || lane % kShare != 0) return;
  for (int other = 1; other < a.split; ++other) own += partial[warp + other][lane];
  const int64_t row = first_row + lane / kShare / kOutputs;
  const int64_t output = first_output + lane / kShare % kOutputs;
  if (row < a.rows && output < a.outputs) store_output(a, row, group * a.outputs + output, own);
}

// Enough warps to fill the card: 16 for each multiprocessor have 30 KB of reads under way there,
// twice what hides the latency of its memory. But no warp gets less than two pieces a lane.
int warps_sharing(const CudaDevice& device, int64_t tiles, int64_t inputs) {
  int split = 1;
  while (split < kWarps && tiles * split < 16 * device.multiprocessors() &&
         inputs >= int64_t{4} * split * kWarp * kPiece) {
    split *= 2;
  }
  return split;
}

template <DType kType>
void launch(CudaDevice& device, FewRows& a) {
  const int tile_rows = a.rows <= 2 ? a.rows : a.rows <= 4 ? 4 : kMostRows;
  a.row_tiles = (a.rows + tile_rows - 1) / tile_rows;
  a.split = warps_sharing(device, int64_t{a.all_tiles} * a.row_tiles, a.inputs);
  const int64_t tiles = kWarps / a.split;
  const int64_t blocks = (a.all_tiles + tiles - 1) / tiles * a.row_tiles;
  const auto run = [&](auto kernel) {
    device.launch("multiply few rows", kernel, {static_cast<unsigned>(blocks), kWarps * kWarp}, a);
  };
  switch (tile_rows) {
    case 1:
      run(few_rows<kType, 1>);
      break;
    case 2:
      run(few_rows<kType, 2>);
      break;
    case 4:
      run(few_rows<kType, 4>);
      break;
    default:
      run(few_rows<kType, kMostRows>);
  }
}

}  // namespace

void multiply_few_rows(CudaDevice& device, const Product& product) {
  const int64_t tiles = (product.outputs() + kOutputs - 1) / kOutputs;
  visit_weight(product.weight.type, [&](auto type) {
    constexpr DType kType = decltype(type)::value;
    FewRows a{.weight = product.weight.data,
              .x = product.x.row<float>(0),
              .scale = product.scale,
              .bias = product.bias,
              .y = product.y.row<float>(0),
              .weight_bytes = bytes_of(kType, product.weight.stride),
              .x_stride = product.x.stride,
              .y_stride = product.y.stride,
              .x_step = product.step(),
              .inputs = product.terms(),
              .outputs = product.outputs(),
              .tiles = static_cast<int>(tiles),
              .all_tiles = static_cast<int>(tiles * product.groups),
              .rows = static_cast<int>(product.x.rows),
              .row_tiles = 1,
              .split = 1,
              .wide = rows_aligned(product.x, 16) &&
                      (product.groups == 1 || product.step() % 4 == 0) &&
                      rows_aligned(product.weight, WeightPieces<kType>::kWideBytes),
              .accumulate = product.accumulate,
              .activation = product.activation};
    launch<kType>(device, a);
  });
}

}  // namespace slim
