// The specification of row rounding: round to nearest even for the floats; for i8 the group's
// scale first (up, so that no element exceeds 127), then each element to nearest even.
#include "tensor/row_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace slim {
namespace {

// The smallest bf16 that is not below a non-negative value.
BFloat16 round_up(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) >= 0x7F800000U) return to_bfloat16(value);  // infinity, NaN
  return {static_cast<uint16_t>((bits + 0xFFFFU) >> 16)};
}

void encode_group(const float* values, int8_t* bytes, BFloat16* scale) {
  float largest = 0.0F;
  for (int64_t i = 0; i < kGroupSize; ++i) {
    // A NaN must not vanish in max(): it poisons the scale, and with it the group.
    largest = std::isnan(values[i]) ? values[i] : std::max(largest, std::fabs(values[i]));
    if (std::isnan(largest)) break;
  }
  *scale = group_scale(largest);
  const float step = to_float(*scale);
  if (!(step > 0.0F) || !std::isfinite(step)) {
    std::memset(bytes, std::isfinite(step) ? 0 : 1, kGroupSize);
    return;
  }
  for (int64_t i = 0; i < kGroupSize; ++i) {
    bytes[i] = static_cast<int8_t>(std::nearbyintf(values[i] / step));
  }
}

}  // namespace

BFloat16 group_scale(float largest) { return round_up(largest / 127.0F); }

void encode_row(const RowFormat& format, const float* values, std::byte* row) {
  const int64_t width = format.width;
  switch (format.type) {
    case DType::f32:
      std::memcpy(row, values, static_cast<size_t>(width) * sizeof(float));
      return;
    case DType::f16:
      for (int64_t i = 0; i < width; ++i) {
        const Half half = to_half(values[i]);
        std::memcpy(row + 2 * i, &half, 2);
      }
      return;
    case DType::bf16:
      for (int64_t i = 0; i < width; ++i) {
        const BFloat16 half = to_bfloat16(values[i]);
        std::memcpy(row + 2 * i, &half, 2);
      }
      return;
    case DType::i8:
      for (int64_t g = 0; g < width / kGroupSize; ++g) {
        BFloat16 scale;
        encode_group(values + g * kGroupSize, reinterpret_cast<int8_t*>(row) + g * kGroupSize,
                     &scale);
        std::memcpy(row + width + 2 * g, &scale, 2);
      }
      return;
    default:
      fail_visit(format.type);
  }
}

void decode_row(const RowFormat& format, const std::byte* row, float* values) {
  const int64_t width = format.width;
  if (format.type != DType::i8) {
    visit(format.type, [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < width; ++i) {
        T value;
        std::memcpy(&value, row + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
        values[i] = to_float(value);
      }
    });
    return;
  }
  const auto* bytes = reinterpret_cast<const int8_t*>(row);
  for (int64_t i = 0; i < width; ++i) {
    BFloat16 scale;
    std::memcpy(&scale, row + width + 2 * (i / kGroupSize), 2);
    values[i] = to_float(bytes[i]) * to_float(scale);
  }
}

}  // namespace slim
