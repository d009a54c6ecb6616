// One tile of a product on tensor cores: 128 outputs of a group, 16, 32 or 64 rows of activations,
// and a stretch of the inputs. y[t, n] = sum_k x[t, k] * weight[n, k], agreeing with f32.
//
// Weights are copied into a ring of shared memory as they lie (128 bytes of each row a step: 64
// numbers, of i8 128) and taken apart in registers into 16-bit addends that hold them exactly: f16,
// bf16 and i8 one, i16 two f16 ones, the number rounded to 11 bits and the rest. Activations, f32,
// are taken apart on their way into shared memory: beside bf16 weights into three bf16 parts, else
// into two f16 ones, 22 bits, under a power of two for each row that puts its largest number so far
// into [2^14, 2^15); where a larger one comes, sums so far are scaled down. Products of parts that
// are at least 2^-22 (bf16: 2^-23) of the whole are summed, in f32.
//
// Four warps own 32 outputs each for half of a step's inputs, and four the same for the other half.
// A step needs one barrier: activations of the next one are stored to the other of two buffers
// while this one is multiplied, and those after it are on their way to registers.
//
// In shared memory a row is 128 bytes, its 16-byte chunk c at place c ^ (row % 8), so that neither
// stores nor load_fragments() meet a bank twice.
#pragma once

#include <cuda_pipeline.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/reductions.cuh"
#include "kernels/cuda/warp_products.cuh"
#include "kernels/cuda/weight_values.cuh"

namespace slim {

constexpr int kTileOutputs = 128;
constexpr int kTileThreads = 256;
constexpr int kRingSteps = 4;
constexpr int kRowBytes = 128;  // of a weight's row in a step; of any row in shared memory
constexpr int kChunk = 16;      // bytes

struct TileProduct {
  const std::byte* weight;
  const float* x;
  const float* scale;
  const float* bias;
  float* y;
  float* partial;        // [tile][split][row][output], where inputs are split
  uint32_t* arrivals;    // of each tile: zero, and left so
  int64_t weight_bytes;  // from one row to the next
  int64_t x_stride, y_stride;
  int64_t x_step;  // from one group's x to the next's
  int64_t inputs;
  int64_t outputs;  // of a group
  int tiles;        // of a group
  int rows;
  int row_tiles;
  int splits;
  bool wide;  // vectors of x are aligned
  bool accumulate;
  Activation activation;
};

// How numbers of a type are multiplied: words of a row in shared memory, two numbers each as the
// type's fragments hold them, become kParts fragments of 16-bit addends, the largest first.
template <DType kType>
struct TileNumbers {  // f16 and bf16
  static constexpr int kBytes = 2;
  static constexpr int kParts = 1;
  static constexpr bool kBf16 = kType == DType::bf16;
  static constexpr float kScale = 1.0F;  // of the sums
  using Parts = uint32_t[kParts][4];

  static __device__ __forceinline__ void take_apart(const cuda::Fragments& raw, Parts& parts) {
#pragma unroll
    for (int i = 0; i < 4; ++i) parts[0][i] = raw.part[i];
  }
};

// As w / 256 = high byte + low byte / 256, of which 11 bits are the first addend.
template <>
struct TileNumbers<DType::i16> {
  static constexpr int kBytes = 2;
  static constexpr int kParts = 2;
  static constexpr bool kBf16 = false;
  static constexpr float kScale = 256.0F;
  using Parts = uint32_t[kParts][4];

  static __device__ __forceinline__ void take_apart(const cuda::Fragments& raw, Parts& parts) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // A byte b under the exponents of 1024 and of 4 is 1024 + b and 4 + b / 256.
      const uint32_t above = __byte_perm(raw.part[i], 0x64646464U, 0x4341) ^ 0x00800080U;
      const uint32_t below = __byte_perm(raw.part[i], 0x44444444U, 0x4240);
      const uint32_t high = cuda::add_halves(above, 0xE480E480U);  // -1024 - 128
      const uint32_t low = cuda::add_halves(below, 0xC400C400U);   // -4
      parts[0][i] = cuda::add_halves(high, low);
      parts[1][i] = cuda::subtract_halves(low, cuda::subtract_halves(parts[0][i], high));
    }
  }
};

// A word of raw fragments is four numbers, of columns 4 i to 4 i + 3 of a chunk. They are taken for
// columns 2 i, 2 i + 1, 2 i + 8 and 2 i + 9: activations are stored in the same order.
template <>
struct TileNumbers<DType::i8> {
  static constexpr int kBytes = 1;
  static constexpr int kParts = 1;
  static constexpr bool kBf16 = false;
  static constexpr float kScale = 1.0F;
  using Parts = uint32_t[kParts][4];

  // raw[0]: of the first eight outputs, raw[1] of the other eight.
  static __device__ __forceinline__ void take_apart(const uint32_t* raw, Parts& parts) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t bytes = raw[i] ^ 0x80808080U;
      parts[0][i] = cuda::add_halves(__byte_perm(bytes, 0x64646464U, 0x4140), 0xE480E480U);
      parts[0][i + 2] = cuda::add_halves(__byte_perm(bytes, 0x64646464U, 0x4342), 0xE480E480U);
    }
  }
};

// Two activations as parts of 16 bits, the largest first. What is not finite leaves a NaN.
template <bool kBf16, int kParts>
__device__ __forceinline__ void part_pair(float first, float second, uint32_t (&parts)[kParts]) {
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    if constexpr (kBf16) {
      parts[p] = cuda::pack_bfloats(first, second);
      first -= __uint_as_float(parts[p] << 16);
      second -= __uint_as_float(parts[p] & 0xFFFF0000U);
    } else {
      parts[p] = cuda::pack_halves(first, second);
      first -= half_value(parts[p] & 0xFFFFU);
      second -= half_value(parts[p] >> 16);
    }
  }
}

// 2^exponent, from -126 to 127; less is 0.
__device__ __forceinline__ float power_of_two(int exponent) {
  return exponent < -126 ? 0.0F : __uint_as_float(static_cast<uint32_t>(exponent + 127) << 23);
}

template <DType kType, int kRows>
struct TileShape {
  using Numbers = TileNumbers<kType>;
  static constexpr int kColumns = kRowBytes / Numbers::kBytes;  // of a step
  static constexpr int kParts = Numbers::kBf16 ? 3 : 2;         // of activations
  static constexpr int kSlabs = kColumns / 64;                  // rows of shared memory of a part
  static constexpr int kWeightBytes = kTileOutputs * kRowBytes;
  static constexpr int kSlabBytes = kRows * kRowBytes;
  static constexpr int kXBytes = kParts * kSlabs * kSlabBytes;
  static constexpr int kXAt = kRingSteps * kWeightBytes;
  static constexpr int kFactorsAt = kXAt + 2 * kXBytes;
  static constexpr int kSharedBytes = kFactorsAt + 3 * kRows * static_cast<int>(sizeof(float));
  static constexpr int kPitch = kTileOutputs + 4;  // of sums in shared memory, where the ring was
  static_assert(kRows * kPitch * 4 <= kXAt);
};

// A sum of what is not finite, or passed through it: again term by term, as it is defined.
template <DType kType>
__device__ __noinline__ float plain_sum(const std::byte* weight, const float* x, int64_t inputs) {
  float sum = 0.0F;
  for (int64_t k = 0; k < inputs; ++k) {
    sum = fmaf(WeightPieces<kType>::element(weight, k), x[k], sum);
  }
  return sum;
}

template <DType kType, int kRows>
class Tile {
  using Numbers = TileNumbers<kType>;
  using Shape = TileShape<kType, kRows>;
  static constexpr int kColumns = Shape::kColumns;
  static constexpr int kParts = Shape::kParts;
  static constexpr int kSteps = kColumns / 16;   // products of 16 inputs in a step
  static constexpr int kChunks = kColumns / 32;  // of eight activations, of a thread that parts
  static constexpr int kRowsAtOnce = kTileThreads / 8;  // of weights, that threads ask for
  static constexpr int kPartingWarps =
      kRows / 8;  // a warp takes eight rows, a lane a fourth of one

 public:
  __device__ __forceinline__ Tile(const TileProduct& product, std::byte* memory)
      : a(product), shared(memory) {
    auto place = static_cast<int>(blockIdx.x);
    const int row_tile = place % a.row_tiles;
    place /= a.row_tiles;
    split = place % a.splits;
    place /= a.splits;
    tile = place * a.row_tiles + row_tile;
    const int64_t group = place / a.tiles;
    const int64_t within = int64_t{place % a.tiles} * kTileOutputs;
    first_row = row_tile * kRows;
    first_output = group * a.outputs + within;
    outputs = static_cast<int>(min(a.outputs - within, int64_t{kTileOutputs}));
    weights =
        a.weight + (first_output + threadIdx.x / 8) * a.weight_bytes + threadIdx.x % 8 * kChunk;
    group_x = a.x + group * a.x_step;
    const int row = first_row + warp() * 8 + lane() % 8;
    if (warp() < kPartingWarps && row < a.rows) x = group_x + row * a.x_stride + lane() / 8 * 8;
    const int64_t steps = (a.inputs + kColumns - 1) / kColumns;
    begin = static_cast<int>(steps * split / a.splits);
    end = static_cast<int>(steps * (split + 1) / a.splits);
  }

  // Sums the tile's stretch of inputs. The activations of the next step are taken apart while this
  // one is multiplied: by four warps before they multiply and by the other four after it, so that
  // tensor cores have work meanwhile.
  __device__ __forceinline__ void multiply() {
#pragma unroll
    for (int i = 0; i < kRingSteps - 1; ++i) load_weights(begin + i, i);
    load_x(begin);
    bool grown = store_x(0);
    load_x(begin + 1);
    int slot = 0;
    for (int step = begin; step < end; ++step) {
      const int buffer = (step - begin) % 2;
      __pipeline_wait_prior(kRingSteps - 2);
      const bool rescaling = !Numbers::kBf16 && __syncthreads_or(grown) != 0;
      if constexpr (Numbers::kBf16) __syncthreads();
      load_weights(step + kRingSteps - 1, slot == 0 ? kRingSteps - 1 : slot - 1);
      if (rescaling) rescale(buffer);
#pragma unroll 1
      for (int turn = 0; turn < 2; ++turn) {
        if (turn != warp() / 4) {
          multiply_step(slot, buffer);
        } else if (step + 1 < end) {
          grown = store_x(1 - buffer);
          load_x(step + 2);
        }
      }
      slot = slot == kRingSteps - 1 ? 0 : slot + 1;
    }
  }

  // Stores the outputs, or their part of the sums; the last part of a tile adds up all of them.
  __device__ __forceinline__ void finish() {
    gather_sums();
    if (a.splits == 1) return store_outputs([&](int row, int output) { return sum(row, output); });
    constexpr int64_t kSums = kRows * kTileOutputs;
    float* const all = a.partial + int64_t{tile} * a.splits * kSums;
    for (int i = static_cast<int>(threadIdx.x); i < kSums; i += kTileThreads) {
      all[split * kSums + i] = sum(i / kTileOutputs, i % kTileOutputs);
    }
    __syncthreads();
    bool last = false;
    if (threadIdx.x == 0) {
      __threadfence();
      last = atomicAdd(a.arrivals + tile, 1U) + 1 == static_cast<uint32_t>(a.splits);
      if (last) a.arrivals[tile] = 0;
      __threadfence();
    }
    if (__syncthreads_or(last) == 0) return;
    store_outputs([&](int row, int output) {
      float whole = 0.0F;
      for (int part = 0; part < a.splits; ++part) {
        whole += __ldcg(all + part * kSums + row * kTileOutputs + output);
      }
      return whole;
    });
  }

 private:
  static __device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x) / kWarp; }
  static __device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
  // Where chunk `chunk` of row `row` lies.
  static __device__ __forceinline__ int place(int row, int chunk) {
    return row * kRowBytes + (chunk ^ row % 8) * kChunk;
  }
  __device__ __forceinline__ float* factors(int buffer) const {
    return reinterpret_cast<float*>(shared + Shape::kFactorsAt) + buffer * kRows;
  }
  // What turns a row's sums into the product's.
  __device__ __forceinline__ float* unscaling() const { return factors(2); }
  __device__ __forceinline__ float& sum(int row, int output) const {
    return reinterpret_cast<float*>(shared)[row * Shape::kPitch + output];
  }

  // Asks for a step's weights; past the end, and of outputs that are not there, zeros.
  __device__ __forceinline__ void load_weights(int step, int slot) {
    if (step < end) {
      const int row = static_cast<int>(threadIdx.x) / 8;
      const int chunk = static_cast<int>(threadIdx.x) % 8;
      const int64_t at = int64_t{step} * kRowBytes;
      const int64_t left = a.inputs * Numbers::kBytes - at - chunk * kChunk;
      const int there = static_cast<int>(max(int64_t{0}, min(left, int64_t{kChunk})));
      std::byte* const to = shared + slot * Shape::kWeightBytes + place(row, chunk);
#pragma unroll
      for (int i = 0; i < kTileOutputs / kRowsAtOnce; ++i) {
        cuda::copy_chunk(to + i * kRowsAtOnce * kRowBytes,
                         weights + at + i * kRowsAtOnce * a.weight_bytes,
                         row + i * kRowsAtOnce < outputs ? there : 0);
      }
    }
    __pipeline_commit();
  }

  // A step's activations, to registers: those of a row are with four lanes of a warp. Zeros where
  // there are none.
  __device__ __forceinline__ void load_x(int step) {
    if (x == nullptr || step >= end) return;
    const float* const from = x + int64_t{step} * kColumns;
    if (a.wide && (step + 1) * int64_t{kColumns} <= a.inputs) {
#pragma unroll
      for (int i = 0; i < 2 * kChunks; ++i) {
        const float4 four = reinterpret_cast<const float4*>(from + i / 2 * 32)[i % 2];
        float* const to = values[i / 2] + i % 2 * 4;
        to[0] = four.x;
        to[1] = four.y;
        to[2] = four.z;
        to[3] = four.w;
      }
      return;
    }
    const int64_t left = a.inputs - int64_t{step} * kColumns - lane() / 8 * 8;
#pragma unroll
    for (int i = 0; i < 8 * kChunks; ++i) {
      const int column = i / 8 * 32 + i % 8;
      values[i / 8][i % 8] = column < left ? from[column] : 0.0F;
    }
  }

  // Takes them apart into a buffer. Returns whether sums so far have to be rescaled.
  __device__ __forceinline__ bool store_x(int buffer) {
    if (warp() >= kPartingWarps) return false;
    bool grown = false;
    if constexpr (!Numbers::kBf16) grown = renew_exponent(buffer);
    const float scale = power_of_two(exponent);
    const int row = warp() * 8 + lane() % 8;
    std::byte* const to = shared + Shape::kXAt + buffer * Shape::kXBytes;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      uint32_t words[4][kParts];
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        float first = values[i][2 * pair];
        float second = values[i][2 * pair + 1];
        if constexpr (!Numbers::kBf16) {
          first *= scale;
          second *= scale;
        }
        part_pair<Numbers::kBf16>(first, second, words[pair]);
      }
      store_chunk(to, row, lane() / 8 + 4 * i, words);
    }
    return grown;
  }

  __device__ __forceinline__ bool renew_exponent(int buffer) {
    float peak = 0.0F;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
#pragma unroll
      for (int k = 0; k < 8; ++k) peak = fmaxf(peak, fabsf(values[i][k]));
    }
    peak = fmaxf(peak, __shfl_xor_sync(0xFFFFFFFFU, peak, 8));
    peak = fmaxf(peak, __shfl_xor_sync(0xFFFFFFFFU, peak, 16));
    // In [2^14, 2^15) or, of all rows of zeros and of the smallest numbers, below.
    const int fitting = 127 + 14 - static_cast<int>(__float_as_uint(peak) >> 23);
    const bool grown = fitting < exponent;
    const float factor = grown ? power_of_two(fitting - exponent) : 1.0F;
    if (grown) exponent = fitting;
    const int row = warp() * 8 + lane() % 8;
    if (lane() < 8) {
      factors(buffer)[row] = factor;
      unscaling()[row] = power_of_two(-exponent) * Numbers::kScale;
    }
    return grown;
  }

  __device__ __forceinline__ void store_chunk(std::byte* to, int row, int chunk,
                                              const uint32_t (&words)[4][kParts]) const {
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      std::byte* const part = to + p * Shape::kSlabs * Shape::kSlabBytes;
      if constexpr (Numbers::kBytes == 2) {
        *reinterpret_cast<uint4*>(part + place(row, chunk)) = {words[0][p], words[1][p],
                                                               words[2][p], words[3][p]};
      } else {
        // Pairs 0, 2, 4 and 6 of sixteen columns are its first eight, the others its last.
        std::byte* const slab = part + chunk / 8 * Shape::kSlabBytes + chunk % 2 * 8;
        const int even = chunk % 8 / 2 * 2;
        *reinterpret_cast<uint2*>(slab + place(row, even)) = {words[0][p], words[2][p]};
        *reinterpret_cast<uint2*>(slab + place(row, even + 1)) = {words[1][p], words[3][p]};
      }
    }
  }

  __device__ __forceinline__ void rescale(int buffer) {
    const float* const by = factors(buffer) + lane() % 4 * 2;
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n) {
      const float2 factor = *reinterpret_cast<const float2*>(by + 8 * n);
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        sums[m][n][0] *= factor.x;
        sums[m][n][1] *= factor.y;
        sums[m][n][2] *= factor.x;
        sums[m][n][3] *= factor.y;
      }
    }
  }

  using WeightParts = typename Numbers::Parts;

  // The warp's 32 outputs by sixteen inputs, the i-th of its half of a step. A chunk's place
  // changes with i in bits that lie below those of the half.
  __device__ __forceinline__ void load_parts(const std::byte* slot, int i,
                                             WeightParts (&parts)[2]) const {
    const int first = warp() % 4 * 32;
    if constexpr (Numbers::kBytes == 1) {
      const int at = place(first + lane(), warp() / 4 * 4) ^ i * kChunk;
      const auto raw = cuda::load_fragments(slot + at);
      Numbers::take_apart(raw.part, parts[0]);
      Numbers::take_apart(raw.part + 2, parts[1]);
    } else {
      const int at = place(first + lane() % 16, warp() / 4 * 4 + lane() / 16) ^ i * 2 * kChunk;
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        Numbers::take_apart(cuda::load_fragments(slot + at + m * 16 * kRowBytes), parts[m]);
      }
    }
  }

  __device__ __forceinline__ void multiply_step(int slot, int buffer) {
    if (warp() % 4 * 32 >= outputs) return;
    const std::byte* const own_weights = shared + slot * Shape::kWeightBytes;
    // Of i8 a half of a step is a slab.
    constexpr bool kWhole = Shape::kSlabs == 2;
    const std::byte* const own_x = shared + Shape::kXAt + buffer * Shape::kXBytes +
                                   (kWhole ? warp() / 4 * Shape::kSlabBytes : 0);
    const int first =
        place(lane() / 16 * 8 + lane() % 8, (kWhole ? 0 : warp() / 4 * 4) + lane() / 8 % 2);
#pragma unroll
    for (int i = 0; i < kSteps / 2; ++i) {
      WeightParts parts[2];
      load_parts(own_weights, i, parts);
      const std::byte* const from = own_x + (first ^ i * 2 * kChunk);
#pragma unroll
      for (int n = 0; n < kRows / 16; ++n) {
        cuda::Fragments own[kParts];
#pragma unroll
        for (int p = 0; p < kParts; ++p) {
          own[p] = cuda::load_fragments(from + p * Shape::kSlabs * Shape::kSlabBytes +
                                        n * 16 * kRowBytes);
        }
        multiply_rows(n, parts, own);
      }
    }
  }

  // Sixteen rows: the smallest products first.
  __device__ __forceinline__ void multiply_rows(int n, const WeightParts (&parts)[2],
                                                const cuda::Fragments (&own)[kParts]) {
#pragma unroll
    for (int order = kParts - 1; order >= 0; --order) {
#pragma unroll
      for (int w = 0; w < Numbers::kParts; ++w) {
        if (w > order) continue;
        const cuda::Fragments& b = own[order - w];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          cuda::multiply<Numbers::kBf16>(sums[m][2 * n], parts[m][w], b.part[0], b.part[1]);
          cuda::multiply<Numbers::kBf16>(sums[m][2 * n + 1], parts[m][w], b.part[2], b.part[3]);
        }
      }
    }
  }

  // The sums of all warps, unscaled, in shared memory.
  __device__ __forceinline__ void gather_sums() {
    __syncthreads();
#pragma unroll
    for (int half = 1; half >= 0; --half) {
      if (warp() / 4 == half) put_sums(half == 0);
      __syncthreads();
    }
  }

  __device__ __forceinline__ void put_sums(bool add) const {
#pragma unroll
    for (int n = 0; n < kRows / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = n * 8 + lane() % 4 * 2 + i;
        const float unscaled = Numbers::kBf16 ? 1.0F : unscaling()[row];
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          float& to = sum(row, warp() % 4 * 32 + m * 8 + lane() / 4);
          const float own = sums[m / 2][n][m % 2 * 2 + i] * unscaled;
          to = add ? to + own : own;
        }
      }
    }
  }

  template <typename Sum>
  __device__ __forceinline__ void store_outputs(Sum sum_of) const {
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kTileOutputs; i += kTileThreads) {
      const int64_t row = first_row + i / kTileOutputs;
      if (row >= a.rows) return;
      if (i % kTileOutputs >= outputs) continue;
      const int64_t output = first_output + i % kTileOutputs;
      float value = sum_of(i / kTileOutputs, i % kTileOutputs);
      if (!isfinite(value)) {
        value = plain_sum<kType>(a.weight + output * a.weight_bytes, group_x + row * a.x_stride,
                                 a.inputs);
      }
      if (a.scale != nullptr) value *= __ldg(a.scale + output);
      if (a.bias != nullptr) value += __ldg(a.bias + output);
      value = activate(a.activation, value);
      float* const to = a.y + row * a.y_stride + output;
      *to = a.accumulate ? value + *to : value;
    }
  }

  const TileProduct& a;
  std::byte* const shared;
  const std::byte* weights;  // the thread's first chunk of the first step
  const float* group_x;
  const float* x = nullptr;  // the thread's first chunk, if it has one
  int64_t first_output;
  int first_row, outputs;
  int tile, split;
  int begin, end;      // steps
  int exponent = 126;  // of the power of two by which a row's activations are multiplied
  float values[kChunks][8] = {};
  float sums[2][kRows / 8][4] = {};
};

}  // namespace slim
