// RowFormat: how one cached row is laid out in a page. A *row* is what one token leaves behind in
// one plane of its page: its key, its value, its layer input, or an encoder position.
//
//   f32, f16, bf16:  width elements
//   i8:              width signed bytes, then width / 32 bf16 scales, then width / 32 bf16 middles;
//                    element j of group g is byte[j] * scale[g] + middle[g]. The middle is that of
//                    the group's lowest and highest value (toward zero to bf16); the scale is the
//                    larger distance from it / 127 (up to bf16, so that no byte exceeds 127). bf16,
//                    because they need range, not digits: what their rounding leaves is in the
//                    bytes. The middle is worth it: on Whisper tiny.en the KL of x and encoder rows
//                    is 1.2e-5 with it and 3.2e-5 without, for 6 % more bytes.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace slim {

constexpr int64_t kPageRows = 64;   // rows in a page, for every kind and device
constexpr int64_t kGroupSize = 32;  // elements that share a scale and a middle in an i8 row

struct RowFormat {
  DType type = DType::f32;
  int64_t width = 0;  // elements; a multiple of kGroupSize for i8

  constexpr int64_t bytes() const {
    const int64_t scales = type == DType::i8 ? width / kGroupSize * 4 : 0;
    return width * size_of(type) + scales;
  }
  // Whether this type can hold rows of this width at all.
  constexpr bool valid() const {
    return width > 0 && type <= DType::i8 && (type != DType::i8 || width % kGroupSize == 0);
  }
  friend bool operator==(const RowFormat&, const RowFormat&) = default;
};

// What the elements of an i8 group share, from its lowest and highest value. Not finite if one of
// these is not: then the whole group decodes to NaN.
struct GroupScale {
  BFloat16 scale;
  BFloat16 middle;
};
GroupScale group_scale(float lowest, float highest);

// Converts `width` floats into one row at `row`, and back. The rounding every device reproduces.
void encode_row(const RowFormat& format, const float* values, std::byte* row);
void decode_row(const RowFormat& format, const std::byte* row, float* values);

}  // namespace slim
