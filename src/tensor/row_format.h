// RowFormat: how one cached row is laid out in a page. A *row* is what one token leaves behind in
// one plane of its page: its key, its value, its layer input, or an encoder position.
//
//   f32, f16, bf16:  width elements
//   i8:              width signed bytes, then width / 32 bf16 scales; element j of group g is
//                    byte[j] * scale[g], scale = max|group| / 127 rounded up to bf16. (Two bytes a
//                    group; bf16, because a scale needs range, not digits: its rounding is undone
//                    by quantising with the rounded scale.)
#pragma once

#include <cstdint>

#include "tensor/dtype.h"

namespace slim {

constexpr int64_t kPageRows = 64;   // rows in a page, for every kind and device
constexpr int64_t kGroupSize = 32;  // elements that share a scale in an i8 row

struct RowFormat {
  DType type = DType::f32;
  int64_t width = 0;  // elements; a multiple of kGroupSize for i8

  constexpr int64_t bytes() const {
    const int64_t scales = type == DType::i8 ? width / kGroupSize * 2 : 0;
    return width * size_of(type) + scales;
  }
  // Whether this type can hold rows of this width at all.
  constexpr bool valid() const {
    return width > 0 && type <= DType::i8 && (type != DType::i8 || width % kGroupSize == 0);
  }
  friend bool operator==(const RowFormat&, const RowFormat&) = default;
};

// The scale of an i8 group whose largest magnitude is `largest`. NaN and infinity stay.
BFloat16 group_scale(float largest);

// Converts `width` floats into one row at `row`, and back. The rounding every device reproduces.
void encode_row(const RowFormat& format, const float* values, std::byte* row);
void decode_row(const RowFormat& format, const std::byte* row, float* values);

}  // namespace slim
