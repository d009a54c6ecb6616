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
//   i16:             width signed integers of 16 bits, then their f32 scale, then zeros up to a
//                    multiple of 64 bytes; an element is integer * scale, off by half a scale (and
//                    f32 rounding). For products of integers: see integer_scale().
//
// Sealed rows (bits > 0) are written a whole page at a time, from kPageRows rows of f32: fixed
// point with shared scales. Fixed point, because error in V depends on absolute error in K and
// floating point spends bits on exponents (docs/slim-attention.md). An element is a signed integer
// n, |n| < 2^(bits-1), stored as the unsigned n + 2^(bits-1) (of 16 bits: as itself), cut into bit
// planes, the highest bits first: 16 | 8 + 4 = 12 | 8 + 2 = 10 | 8 | 4 + 2 = 6 | 4 + 1 = 5 | 4. A
// bit plane of b bits holds kPageRows rows of width * b / 8 bytes; element j of a row is its bits
// [j*b, (j+1)*b) in little-endian order. The planes follow one another; then come the scales:
//   Scaling::channel  width bf16 scales, then, below 16 bits, width bf16 middles: the value is
//                     u * scale[j] + offset[j] where u is the number as stored, without sign, and
//                     offset = middle - 2^(bits-1) * scale; the products are exact, offset and sum
//                     round to f32. (Past 1.5e38 they overflow.) A middle halves the KL for 0.8 %
//                     of kv's bytes in bf16, as keys lie to one side of zero
//                     (docs/slim-attention.md). 16 bits have digits to spare and no middles: n *
//                     scale[j], exact.
//   Scaling::group    per row, width / 32 bf16 scales then width / 32 bf16 middles, as in i8 rows:
//                     value = n * scale[g] + middle[g]
// Chunked bit planes (of 16, 8, 4 and 2 bits, with Scaling::channel; devices that want them say so,
// Kernels::chunked) hold the same bits in another order, for 16-byte reads of many tokens: of the
// first width / 64 * 64 columns, chunks of 16 bytes a token, [chunk][token]; the other columns
// follow, [token][column] as in rows. A chunk holds 128 / b columns: of 16 bits in order; below,
// its pairs of neighbours stand so that pair n is at place n % 8 * (8 / b) + n / 8: the eight pairs
// of each 16 columns lie 2 bytes apart. Numbers of 16 bits are stored without sign as well. A
// sealed plane is padded to a multiple of 64 bytes.
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
  bool chunked = false;  // how bit planes lie

  constexpr bool sealed() const { return bits > 0; }
  // Of one row that stands alone.
  constexpr int64_t bytes() const {
    const int64_t elements = width * size_of(type);
    if (type == DType::i16) return (elements + 4 + 63) / 64 * 64;
    return type == DType::i8 ? elements + width / kGroupSize * 4 : elements;
  }
  // Whether sealed rows have middles beside their scales.
  constexpr bool centred() const { return scaling == Scaling::group || bits < 16; }
  // Of a sealed page: its bit planes, and the number of its scales and middles, which follow.
  constexpr int64_t plane_bytes() const { return kPageRows / 8 * width * bits; }
  constexpr int64_t scale_count() const {
    const int64_t scales = scaling == Scaling::channel ? width : kPageRows * (width / kGroupSize);
    return centred() ? 2 * scales : scales;
  }
  // Of kPageRows rows.
  constexpr int64_t page_bytes() const {
    if (!sealed()) return kPageRows * bytes();
    return (plane_bytes() + 2 * scale_count() + 63) / 64 * 64;
  }
  // The rows a sealed page is made from.
  constexpr RowFormat hot() const { return {DType::f32, width, 0, Scaling::channel}; }
  // Whether this type can hold rows of this width at all.
  constexpr bool valid() const {
    if (width <= 0 || type > DType::i16) return false;
    const bool grouped = sealed() ? scaling == Scaling::group : type == DType::i8;
    if (grouped && width % kGroupSize != 0) return false;
    if (!sealed()) return true;
    const bool known =
        bits == 16 || bits == 12 || bits == 10 || bits == 8 || bits == 6 || bits == 5 || bits == 4;
    if (chunked && (bits < 8 || scaling != Scaling::channel)) return false;
    return known && type == DType::f32 && width % 8 == 0;
  }
  friend bool operator==(const RowFormat&, const RowFormat&) = default;
};

// What the elements of a group, or of a channel of a page, share.
struct SharedScale {
  BFloat16 scale;
  BFloat16 middle;
};
// From the lowest and highest value: the scale is the larger distance from the middle / `largest`.
// Not finite if one of these is not: then the whole group decodes to NaN.
SharedScale group_scale(float lowest, float highest, int largest = 127);
// Of a channel of sealed rows: as a group's; of 16 bits the middle is 0 and the scale the smallest
// bf16 not below the largest magnitude / 32767.
SharedScale channel_scale(float lowest, float highest, int bits);

// The scale of numbers rounded to i16, from the largest magnitude of those that are not NaN and the
// sum of all squares: the larger of largest / 32767 and sqrt(squares) / 46000. Then the integers of
// n < 65,536 numbers have a norm of at most 46000 + sqrt(n) / 2 < 2^15.5, so that all sums of
// products of two such vectors stay below 2^31 (Cauchy and Schwarz). 0, for integers 0, if all are
// below 2^-110; NaN, for integers 0, if one is not finite.
float integer_scale(float largest, double squares);
// `squares` is summed in as many parts, of every so many columns each; halves of the parts are then
// added, until one is left.
constexpr int64_t kSquareParts = 16;

// Converts `width` floats into one row that stands alone at `row`, and back. The rounding every
// device reproduces.
void encode_row(const RowFormat& format, const float* values, std::byte* row);
void decode_row(const RowFormat& format, const std::byte* row, float* values);

// How sealing shares out its rounding errors ("shaped rounding"). For rows k with error e = n*scale
// - k the damage is e^T H e, H = D + U U^T: D from the scores, U from the value map, so that errors
// are small *through M* too (docs/slim-attention.md). Nearest plane (Babai): with H = L L^T, the
// channels are rounded from the last to the first in `order`, each to the best value given the
// errors of those before it. L is semiseparable, L_ij = L_jj (u_i . g_j) for i after j in order:
//   a = 0;  for j from last to first:  c_j = k_j - middle_j
//                                      n_j = round((c_j - g_j . a) / scale_j), kept in range
//                                      e_j = n_j * scale_j - c_j;  a += u_j e_j
// Cost: 2 * width * rank multiply-adds a row. Scales and middles are those of plain rounding.
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
