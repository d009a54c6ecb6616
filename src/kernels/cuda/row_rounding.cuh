// The rounding of tensor/row_format.cpp on the card, to the bit. Where the host rounds after every
// product and sum, so does this: nothing is fused.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace slim {

constexpr uint32_t kBf16NaN = 0x7FC0U;

// to_half.
__device__ inline uint16_t half_bits(float value) {
  if (isnan(value)) {
    return static_cast<uint16_t>(((__float_as_uint(value) >> 16) & 0x8000U) | 0x7E00U);
  }
  return __half_as_ushort(__float2half_rn(value));
}

// to_bfloat16.
__device__ inline uint16_t bfloat16_bits(float value) {
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<uint16_t>((bits >> 16) | 64U);
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

// The smallest bf16 that is not below a non-negative value.
__device__ inline uint32_t round_up_bits(float value) {
  const uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7FFFFFFFU) >= 0x7F800000U) return bfloat16_bits(value);
  return (bits + 0xFFFFU) >> 16;
}

// SharedScale, as floats and as the bf16 that they are.
struct ScaleBits {
  uint32_t scale, middle;

  __device__ float scale_value() const { return __uint_as_float(scale << 16); }
  __device__ float middle_value() const { return __uint_as_float(middle << 16); }
};

// The lowest and highest of some values, and whether one is a NaN, which fminf() would lose.
struct ValueRange {
  float lowest, highest;
  bool nan;

  __device__ static ValueRange of(float value) { return {value, value, isnan(value)}; }
  __device__ void join(const ValueRange& other) {
    lowest = fminf(lowest, other.lowest);
    highest = fmaxf(highest, other.highest);
    nan = nan || other.nan;
  }
};

// group_scale.
__device__ inline ScaleBits group_scale_bits(const ValueRange& range, int largest) {
  const float middle =
      __fadd_rn(__fadd_rn(__fmul_rn(0.5F, range.lowest), __fmul_rn(0.5F, range.highest)), 0.0F);
  if (range.nan || !isfinite(middle)) return {kBf16NaN, kBf16NaN};
  const uint32_t bits = __float_as_uint(middle) >> 16;
  const float rounded = __uint_as_float(bits << 16);
  const float above = __fsub_rn(range.highest, rounded);
  const float below = __fsub_rn(rounded, range.lowest);
  const float reach = __fadd_rn(fmaxf(above, below), 0.0F);
  return {round_up_bits(__fdiv_rn(reach, static_cast<float>(largest))), bits};
}

// channel_scale.
__device__ inline ScaleBits channel_scale_bits(const ValueRange& range, int bits) {
  const int largest = (1 << (bits - 1)) - 1;
  if (bits < 16) return group_scale_bits(range, largest);
  if (range.nan) return {kBf16NaN, 0};
  const float magnitude = __fadd_rn(fmaxf(-range.lowest, range.highest), 0.0F);
  return {round_up_bits(__fdiv_rn(magnitude, static_cast<float>(largest))), 0};
}

// round_to of tensor/sealed_format.cpp.
__device__ inline int round_number(float value, float scale, int most) {
  if (!(scale > 0.0F) || !isfinite(scale)) return 0;
  const float limit = static_cast<float>(most);
  const float number = rintf(__fdiv_rn(value, scale));
  return static_cast<int>(fminf(fmaxf(number, -limit), limit));
}

}  // namespace slim
