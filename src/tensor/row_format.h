// RowFormat: how cached rows are laid out in a page. A *row* is what one token leaves behind in one
// plane of its page: its key, its value, its layer input, or an encoder position.
//
// Rows that stand alone (bits = 0) are written as tokens come:
//   f32, f16, bf16:  width elements
//   i8:              width signed bytes, then width / 32 bf16 scales, then width / 32 bf16 middles;
//                    element j of group g is byte[j] * scale[g] + middle[g]. The middle is that of
//                    the group's lowest and highest value (toward zero to bf16); the scale is the
//                    larger distance from it / 127 (up to bf16, so that no byte exceeds 127). bf16,
//                    because they need range, not digits: what their rounding leaves is in the
//                    bytes. The middle is worth it: on Whisper tiny.en the KL of x and encoder rows
//                    is 1.2e-5 with it and 3.2e-5 without, for 6 % more bytes.
//
// Sealed rows (bits > 0) are written a whole page at a time, from kPageRows rows of f32: fixed
// point with shared scales. Fixed point, because error in V depends on absolute error in K and
// floating point spends bits on exponents (docs/slim-attention.md). An element is a signed integer
// n, |n| < 2^(bits-1), stored as the unsigned n + 2^(bits-1) (i16: as itself), cut into bit planes,
// the highest bits first: 16 | 8 + 4 = 12 | 8 + 2 = 10 | 8 | 4 + 2 = 6 | 4 + 1 = 5 | 4. A bit plane
// of b bits holds kPageRows rows of width * b / 8 bytes; element j of a row is its bits [j*b,
// (j+1)*b) in little-endian order. The planes follow one another; then come the scales:
//   Scaling::channel  width bf16 scales: value = n * scale[j]. Exact in f32 (8 + 16 digits).
//   Scaling::group    per row, width / 32 bf16 scales then width / 32 bf16 middles, as in i8 rows:
//                     value = n * scale[g] + middle[g]
// A sealed plane is padded to a multiple of 64 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace slim {

constexpr int64_t kPageRows = 64;   // rows in a page, for every kind and device
constexpr int64_t kGroupSize = 32;  // elements that share a scale and a middle

enum class Scaling : uint8_t { channel, group };  // of sealed rows

struct RowFormat {
  DType type =
      DType::f32;     // of rows that stand alone; f32 for sealed rows: what they are made from
  int64_t width = 0;  // elements; a multiple of kGroupSize for groups, of 8 if sealed
  int bits = 0;       // 0: rows stand alone; else 16, 12, 10, 8, 6, 5 or 4
  Scaling scaling = Scaling::channel;

  constexpr bool sealed() const { return bits > 0; }
  // Of one row that stands alone.
  constexpr int64_t bytes() const {
    const int64_t scales = type == DType::i8 ? width / kGroupSize * 4 : 0;
    return width * size_of(type) + scales;
  }
  // Of kPageRows rows.
  constexpr int64_t page_bytes() const {
    if (!sealed()) return kPageRows * bytes();
    const int64_t scales =
        scaling == Scaling::channel ? 2 * width : kPageRows * (width / kGroupSize * 4);
    return (kPageRows / 8 * width * bits + scales + 63) / 64 * 64;
  }
  // The rows a sealed page is made from.
  constexpr RowFormat hot() const { return {DType::f32, width, 0, Scaling::channel}; }
  // Whether this type can hold rows of this width at all.
  constexpr bool valid() const {
    if (width <= 0 || type > DType::i8) return false;
    const bool grouped = sealed() ? scaling == Scaling::group : type == DType::i8;
    if (grouped && width % kGroupSize != 0) return false;
    if (!sealed()) return true;
    const bool known =
        bits == 16 || bits == 12 || bits == 10 || bits == 8 || bits == 6 || bits == 5 || bits == 4;
    return known && type == DType::f32 && width % 8 == 0;
  }
  friend bool operator==(const RowFormat&, const RowFormat&) = default;
};

// What the elements of a group share, from its lowest and highest value: the scale is the larger
// distance from the middle / `largest`. Not finite if one of these is not: then the whole group
// decodes to NaN.
struct GroupScale {
  BFloat16 scale;
  BFloat16 middle;
};
GroupScale group_scale(float lowest, float highest, int largest = 127);

// The scale of a channel of sealed rows: the smallest bf16 not below magnitude / (2^(bits-1) - 1);
// 0 for 0; not finite if magnitude is not.
BFloat16 channel_scale(float magnitude, int bits);

// Converts `width` floats into one row that stands alone at `row`, and back. The rounding every
// device reproduces.
void encode_row(const RowFormat& format, const float* values, std::byte* row);
void decode_row(const RowFormat& format, const std::byte* row, float* values);

// How sealing shares out its rounding errors ("shaped rounding"). For rows k with error e = n*scale
// - k the damage is e^T H e, H = D + U U^T: D from the scores, U from the value map, so that errors
// are small *through M* too (docs/slim-attention.md). Nearest plane (Babai): with H = L L^T, the
// channels are rounded from the last to the first in `order`, each to the best value given the
// errors of those before it. L is semiseparable, L_ij = L_jj (u_i . g_j) for i after j in order:
//   a = 0;  for j from last to first:  n_j = round((k_j - g_j . a) / scale_j), kept in range
//                                      e_j = n_j * scale_j - k_j;  a += u_j e_j
// Cost: 2 * width * rank multiply-adds a row. Scales are those of plain rounding.
struct Shaping {
  int64_t width = 0;
  int64_t rank = 0;
  const Half* u = nullptr;         // [width, rank], by channel
  const Half* g = nullptr;         // [width, rank], by channel
  const int32_t* order = nullptr;  // [width] channels, or none: 0, 1, ... (rounded from the last)
};

// Makes a sealed plane at `page` from kPageRows rows of f32, width apart. Deterministic: the same
// rows give the same bytes. `shaping` may be null (plain rounding, to nearest even); it is for
// Scaling::channel only. A channel with a number that is not finite decodes to NaN as a whole, and
// leaves the others as they are.
void seal_page(const RowFormat& format, const float* rows, const Shaping* shaping, std::byte* page);
// Row `row` of a sealed plane.
void decode_sealed_row(const RowFormat& format, const std::byte* page, int64_t row, float* values);

}  // namespace slim
