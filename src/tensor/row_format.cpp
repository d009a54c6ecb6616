// The specification of row rounding: round to nearest even for the floats; for i8 and i16 what the
// group, or the row, shares first, then each element to nearest even.
#include "tensor/row_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace slim {
namespace {

// The smallest bf16 that is not below a non-negative value.
BFloat16 round_up(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) >= 0x7F800000U) return to_bfloat16(value);  // infinity, NaN
  return {static_cast<uint16_t>((bits + 0xFFFFU) >> 16)};
}

void encode_group(const float* values, int8_t* bytes, const SharedScale& shared) {
  const float middle = to_float(shared.middle);
  const float step = to_float(shared.scale);
  if (!(step > 0.0F) || !std::isfinite(step)) {
    std::memset(bytes, 0, kGroupSize);  // all at the middle; 0 * NaN is NaN
    return;
  }
  for (int64_t i = 0; i < kGroupSize; ++i) {
    bytes[i] = static_cast<int8_t>(std::nearbyintf((values[i] - middle) / step));
  }
}

SharedScale scale_of(const float* values) {
  float lowest = values[0];
  float highest = values[0];
  for (int64_t i = 0; i < kGroupSize; ++i) {
    // A NaN must not vanish in min() and max(): it poisons the group.
    if (std::isnan(values[i])) return group_scale(values[i], values[i]);
    lowest = std::min(lowest, values[i]);
    highest = std::max(highest, values[i]);
  }
  return group_scale(lowest, highest);
}

void encode_integers(const float* values, int64_t width, std::byte* row, int64_t bytes) {
  float largest = 0.0F;
  double parts[kSquareParts] = {};
  for (int64_t i = 0; i < width; ++i) {
    const double value = values[i];
    parts[i % kSquareParts] += value * value;  // which is exact
    largest = std::max(largest, std::fabs(values[i]));
  }
  for (int64_t half = kSquareParts / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) parts[i] += parts[i + half];
  }
  const float scale = integer_scale(largest, parts[0]);
  std::memset(row, 0, static_cast<size_t>(bytes));
  std::memcpy(row + 2 * width, &scale, sizeof(scale));
  if (!(scale > 0.0F)) return;  // 0 * NaN is NaN
  for (int64_t i = 0; i < width; ++i) {
    const auto integer = static_cast<int16_t>(std::nearbyintf(values[i] / scale));
    std::memcpy(row + 2 * i, &integer, 2);
  }
}

void decode_integers(const std::byte* row, int64_t width, float* values) {
  float scale;
  std::memcpy(&scale, row + 2 * width, sizeof(scale));
  for (int64_t i = 0; i < width; ++i) {
    int16_t integer;
    std::memcpy(&integer, row + 2 * i, 2);
    values[i] = to_float(integer) * scale;
  }
}

}  // namespace

float integer_scale(float largest, double squares) {
  if (!std::isfinite(squares)) return std::numeric_limits<float>::quiet_NaN();
  if (largest < 0x1p-110F) return 0.0F;
  return static_cast<float>(
      std::max(std::sqrt(squares) / 46000.0, static_cast<double>(largest) / 32767.0));
}

SharedScale group_scale(float lowest, float highest, int largest) {
  // Halved before they are added, so that the largest floats do not overflow; toward zero for the
  // same reason. Adding 0 makes a zero positive: min() and max() of two may be either.
  const float middle = 0.5F * lowest + 0.5F * highest + 0.0F;
  if (!std::isfinite(middle)) {
    const BFloat16 nan = to_bfloat16(std::numeric_limits<float>::quiet_NaN());
    return {nan, nan};
  }
  const BFloat16 rounded = {static_cast<uint16_t>(std::bit_cast<uint32_t>(middle) >> 16)};
  const float reach = std::max(highest - to_float(rounded), to_float(rounded) - lowest) + 0.0F;
  return {round_up(reach / static_cast<float>(largest)), rounded};
}

SharedScale channel_scale(float lowest, float highest, int bits) {
  const int largest = (1 << (bits - 1)) - 1;
  if (bits < 16) return group_scale(lowest, highest, largest);
  const float magnitude = std::max(-lowest, highest) + 0.0F;
  // One NaN for all, so that a page's bytes do not depend on which was met first.
  if (std::isnan(magnitude)) return {to_bfloat16(std::numeric_limits<float>::quiet_NaN()), {0}};
  return {round_up(magnitude / static_cast<float>(largest)), {0}};
}

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
        const SharedScale shared = scale_of(values + g * kGroupSize);
        encode_group(values + g * kGroupSize, reinterpret_cast<int8_t*>(row) + g * kGroupSize,
                     shared);
        std::memcpy(row + width + 2 * g, &shared.scale, 2);
        std::memcpy(row + width + width / kGroupSize * 2 + 2 * g, &shared.middle, 2);
      }
      return;
    case DType::i16:
      return encode_integers(values, width, row, format.bytes());
    default:
      fail_visit(format.type);
  }
}

void decode_row(const RowFormat& format, const std::byte* row, float* values) {
  const int64_t width = format.width;
  if (format.type == DType::i16) return decode_integers(row, width, values);
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
    const std::byte* scales = row + width + 2 * (i / kGroupSize);
    BFloat16 scale;
    BFloat16 middle;
    std::memcpy(&scale, scales, 2);
    std::memcpy(&middle, scales + width / kGroupSize * 2, 2);
    // The product is exact (8 bits by 8), so that a fused multiply-add gives the same.
    values[i] = to_float(bytes[i]) * to_float(scale) + to_float(middle);
  }
}

}  // namespace slim
