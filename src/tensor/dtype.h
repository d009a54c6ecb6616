// Element types, their conversions, and visit(): the single place where a runtime type becomes a
// compile-time one.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace slim {

// i8 as a *row* type is groups of 32 with one scale (tensor/row_format.h); i8 and i16 as *weight*
// types are signed integers with one f32 scale per output row beside them. i32 appears in files
// only. The q types are GGUF's weights: blocks of neighbours along a row that share their scales
// (tensor/weight_blocks.h lays them out); they have no size per element.
enum class DType : uint8_t { f32, f16, bf16, i8, i16, i32, q8_0, q4_0, q4_k, q5_k, q6_k };

constexpr bool is_block_type(DType type) { return type >= DType::q8_0; }

// Elements that are stored together, and their bytes: 1 and the element's size for plain types.
struct BlockShape {
  int64_t elements = 1;
  int64_t bytes = 0;
};

// IEEE binary16. Conversion from float rounds to nearest even; overflow gives infinity.
struct Half {
  uint16_t bits = 0;
};
// The upper half of a binary32. Conversion from float rounds to nearest even; NaN stays NaN.
struct BFloat16 {
  uint16_t bits = 0;
};

inline float to_float(float value) { return value; }
inline float to_float(int8_t value) { return static_cast<float>(value); }
inline float to_float(int16_t value) { return static_cast<float>(value); }
inline float to_float(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}
inline float to_float(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000U) << 16;
  const uint32_t exponent = (value.bits >> 10) & 31U;
  const uint32_t fraction = value.bits & 1023U;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (fraction << 13));
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  }
  // Zero or subnormal: fraction * 2^-24 is exact in binary32.
  const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
}

inline BFloat16 to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<uint16_t>((bits >> 16) | 64U)};
  return {static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16)};
}
inline Half to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return {static_cast<uint16_t>(sign | 0x7E00U)};
  if (magnitude >= 0x477FF000U) return {static_cast<uint16_t>(sign | 0x7C00U)};  // >= 65520
  if (magnitude < 0x38800000U) {  // below 2^-14: adding 0.5 aligns the ulp to 2^-24 and rounds
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000U))};
  }
  const uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000U) >> 13))};
}

constexpr int64_t size_of(DType type) {
  switch (type) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
      return 2;
    case DType::i8:
      return 1;
    default:
      return 0;  // block types
  }
}

constexpr BlockShape block_of(DType type) {
  switch (type) {
    case DType::q8_0:
      return {32, 34};
    case DType::q4_0:
      return {32, 18};
    case DType::q4_k:
      return {256, 144};
    case DType::q5_k:
      return {256, 176};
    case DType::q6_k:
      return {256, 210};
    default:
      return {1, size_of(type)};
  }
}

// Bytes of `elements` neighbours, which must be whole blocks.
constexpr int64_t bytes_of(DType type, int64_t elements) {
  const BlockShape block = block_of(type);
  return elements / block.elements * block.bytes;
}

constexpr std::string_view name_of(DType type) {
  switch (type) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i8:
      return "i8";
    case DType::i16:
      return "i16";
    case DType::i32:
      return "i32";
    case DType::q8_0:
      return "q8_0";
    case DType::q4_0:
      return "q4_0";
    case DType::q4_k:
      return "q4_k";
    case DType::q5_k:
      return "q5_k";
    case DType::q6_k:
      return "q6_k";
  }
  return "?";
}

// Calls f(std::type_identity<T>{}) with the element type of a floating-point weight or row, or with
// int8_t. Throws Error{internal} for all others.
[[noreturn]] void fail_visit(DType type);
template <typename Function>
decltype(auto) visit(DType type, Function&& f) {
  switch (type) {
    case DType::f32:
      return f(std::type_identity<float>{});
    case DType::f16:
      return f(std::type_identity<Half>{});
    case DType::bf16:
      return f(std::type_identity<BFloat16>{});
    case DType::i8:
      return f(std::type_identity<int8_t>{});
    default:
      break;
  }
  fail_visit(type);
}

}  // namespace slim
