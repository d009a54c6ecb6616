// Products of i8 weights with rows of x rounded to integers (Inputs in kernels/kernels.h). Sums are
// exact, so that every form of them gives the same bits.
//
// A rounded row is one part of numbers within +-127 (i8), or two of them (i16): q = 256 high + low.
// Each part is multiplied as a row of its own. Where the processor has an instruction for it
// (VNNI), four products of bytes are added to a 32-bit sum at once: of unsigned weights, w + 128,
// with signed parts, which leaves
//   sum w q = sum (w + 128) q - 128 sum q
// and 128 sum q is known when a row is rounded. Elsewhere two products of 16 bits are.
//
// Panels are as those of product_ops.cpp (outputs side by side), of words of four bytes or two
// 16-bit numbers, neighbours in depth. Few rows are multiplied with weights as they lie in memory.
//
// AVX2 spends an instruction on adding up two products of 16 bits, and can multiply in two of its
// four pipes (Zen 3). Additions go to all four, so that Winograd's inner product pays, of two words
// q0, q1 of a row and w0, w1 of an output:
//   q0 w0 + q1 w1 = (q0 + w1) (q1 + w0) - q0 q1 - w0 w1
// where the last two are summed once, when a row is rounded and when a weight is packed. Numbers
// are within 9 bits, and what passes 32 bits on the way comes back: sums are modulo 2^32. (512
// inputs, 16 outputs, a core at 3.2 GHz: 176 GFLOP/s, 160 with vpmaddwd alone, of 206 either way.)
#include <cstring>

#include "kernels/cpu/target_ops.h"
#include "kernels/cpu/targets.h"
#include "kernels/input_scale.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/integer_products.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/dot_inl.h"
#include "kernels/cpu/transpose_inl.h"
#include "kernels/cpu/weight_codec_inl.h"
// After all others.
#include "kernels/cpu/vnni_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kWidth = 2 * kLanes;  // of a panel
constexpr int64_t kDepth = 64;          // depth is filled up to multiples of it, with zeros

#if HWY_TARGET != HWY_SCALAR
// A sum that g++ leaves where it is: by itself it adds products to one another first, and then has
// more of them than registers, or moves sums from one register to another at every step.
HWY_INLINE IntVector held(IntVector sums) {
#if HWY_COMPILER_GCC_ACTUAL && HWY_TARGET != HWY_EMU128
  asm("" : "+v"(sums.raw));
#endif
  return sums;
}
#endif

#if HWY_TARGET == HWY_AVX3_DL
using Part = int8_t;
// Adds to each lane the four products of its bytes.
HWY_INLINE IntVector add_products(IntVector sums, IntVector x, IntVector weights) {
  return held(IntVector{_mm512_dpbusd_epi32(sums.raw, weights.raw, x.raw)});
}
// A register's number of words of weights.
HWY_INLINE IntVector load_weights(const int8_t* at) {
  const hn::Repartition<int8_t, Ints> bytes;
  return hn::Xor(hn::BitCast(Ints(), hn::LoadU(bytes, at)),
                 hn::Set(Ints(), static_cast<int32_t>(0x80808080U)));
}
#elif HWY_TARGET == HWY_SCALAR
using Part = int16_t;
HWY_INLINE IntVector add_products(IntVector sums, IntVector x, IntVector weights) {
  const auto word = static_cast<uint32_t>(hn::GetLane(x));
  const auto other = static_cast<uint32_t>(hn::GetLane(weights));
  const auto low = [](uint32_t pair) { return int32_t{static_cast<int16_t>(pair)}; };
  return hn::Add(sums,
                 hn::Set(Ints(), low(word) * low(other) + low(word >> 16) * low(other >> 16)));
}
HWY_INLINE IntVector load_weights(const int8_t* at) {
  const auto low = static_cast<uint32_t>(int32_t{at[0]}) & 0xFFFFU;
  return hn::Set(Ints(), static_cast<int32_t>(low | static_cast<uint32_t>(int32_t{at[1]}) << 16));
}
#else
using Part = int16_t;
// Adds to each lane the two products of its halves.
HWY_INLINE IntVector add_products(IntVector sums, IntVector x, IntVector weights) {
  const hn::Repartition<int16_t, Ints> halves;
  auto rest = hn::Zero(Ints());
  const auto sum = hn::ReorderWidenMulAccumulate(
      Ints(), hn::BitCast(halves, x), hn::BitCast(halves, weights), hn::Zero(Ints()), rest);
  return held(hn::Add(sums, hn::RearrangeToOddPlusEven(sum, rest)));
}
HWY_INLINE IntVector load_weights(const int8_t* at) {
  const hn::Repartition<int16_t, Ints> halves;
  const hn::Rebind<int8_t, decltype(halves)> bytes;
  return hn::BitCast(Ints(), hn::PromoteTo(halves, hn::LoadU(bytes, at)));
}
#endif

constexpr bool kUnsigned = sizeof(Part) == 1;
constexpr int64_t kStep = 4 / static_cast<int64_t>(sizeof(Part));  // inputs in a word
constexpr int64_t kStride = kStep * kLanes;                        // in a register
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3;

// A panel's words that are multiplied together, and what add_words() gives besides their products:
// products of a row's words, which its sums begin less, and of a weight's, which are in the panel's
// first kWidth words.
#if HWY_TARGET == HWY_AVX2
constexpr int64_t kWords = 2;
constexpr int64_t kHeader = kWidth;
HWY_INLINE IntVector add_words(IntVector sums, const IntVector (&x)[2],
                               const IntVector (&weights)[2]) {
  const hn::Repartition<int16_t, Ints> halves;
  const auto crossed = [&](IntVector a, IntVector b) HWY_ATTR {
    return hn::BitCast(Ints(), hn::Add(hn::BitCast(halves, a), hn::BitCast(halves, b)));
  };
  return add_products(sums, crossed(x[0], weights[1]), crossed(x[1], weights[0]));
}
int32_t own_products(const Part* x, int64_t count) {
  const hn::Repartition<uint64_t, Ints> pairs;
  auto sum = hn::Zero(Ints());
  for (int64_t k = 0; k < count; k += kStride) {
    const auto words =
        hn::BitCast(pairs, hn::LoadU(Ints(), reinterpret_cast<const int32_t*>(x + k)));
    sum = add_products(sum, hn::BitCast(Ints(), words),
                       hn::BitCast(Ints(), hn::ShiftRight<32>(words)));
  }
  return hn::GetLane(hn::SumOfLanes(Ints(), sum));
}
#else
constexpr int64_t kWords = 1;
constexpr int64_t kHeader = 0;
HWY_INLINE IntVector add_words(IntVector sums, const IntVector (&x)[1],
                               const IntVector (&weights)[1]) {
  return add_products(sums, x[0], weights[0]);
}
int32_t own_products(const Part*, int64_t) { return 0; }
#endif

int64_t filled(int64_t depth) { return (depth + kDepth - 1) / kDepth * kDepth; }

// With a cache line between parts, so that they do not all lie in the same places of the cache.
int64_t part_bytes(int64_t depth) {
  return filled(depth) * static_cast<int64_t>(sizeof(Part)) + 64;
}

// ---- Rounding ----------------------------------------------------------------------------------

// The largest magnitude of a row; infinity or NaN if there is one.
float largest_of(const float* x, int64_t count) {
  // The bits of magnitudes are in the order of their values, and NaN comes last.
  const auto rest = hn::Set(Ints(), 0x7FFFFFFF);
  auto largest = hn::Zero(Ints());
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    largest = hn::Max(largest, hn::And(hn::BitCast(Ints(), load(x + k)), rest));
  }
  if (k < count) {
    largest = hn::Max(largest, hn::And(hn::BitCast(Ints(), load_first(x + k, count - k)), rest));
  }
  return hn::GetLane(hn::BitCast(Floats(), hn::MaxOfLanes(Ints(), largest)));
}

HWY_INLINE void store_part(IntVector values, Part* at) {
  const hn::Rebind<Part, Ints> stored;
  hn::StoreU(hn::DemoteTo(stored, values), stored, at);
}

template <int parts>
RoundedRow round_parts(const float* x, int64_t columns, const InputScale& scale, std::byte* out) {
  Part* part[parts];
  for (int p = 0; p < parts; ++p) part[p] = reinterpret_cast<Part*>(out + p * part_bytes(columns));
  IntVector sums[parts];
  for (auto& sum : sums) sum = hn::Zero(Ints());
  const auto inverse = hn::Set(Floats(), scale.inverse);
  const auto put = [&](Vector values, int64_t k) HWY_ATTR {
    IntVector rounded[parts];
    rounded[0] = hn::NearestInt(hn::Mul(values, inverse));
    if constexpr (parts == 2) {
      const auto whole = rounded[0];
      rounded[0] = hn::ShiftRight<8>(hn::Add(whole, hn::Set(Ints(), 128)));
      rounded[1] = hn::Sub(whole, hn::ShiftLeft<8>(rounded[0]));
    }
    for (int p = 0; p < parts; ++p) {
      store_part(rounded[p], part[p] + k);
      if constexpr (kUnsigned) sums[p] = hn::Add(sums[p], rounded[p]);
    }
  };
  int64_t k = 0;
  if (scale.finite) {
    for (; k + kLanes <= columns; k += kLanes) put(load(x + k), k);
    if (k < columns) {
      put(load_first(x + k, columns - k), k);
      k += kLanes;
    }
  }
  for (; k < filled(columns); k += kLanes) put(hn::Zero(Floats()), k);
  RoundedRow row{.scale = scale.scale};
  for (int p = 0; p < parts; ++p) {
    if constexpr (kUnsigned) {
      row.start[p] = -128 * hn::GetLane(hn::SumOfLanes(Ints(), sums[p]));
    } else {
      row.start[p] = -own_products(part[p], filled(columns));
    }
  }
  return row;
}

RoundedRow round_row(const float* x, int64_t columns, Inputs inputs, std::byte* parts) {
  const InputScale scale(inputs, largest_of(x, columns));
  return inputs == Inputs::i8 ? round_parts<1>(x, columns, scale, parts)
                              : round_parts<2>(x, columns, scale, parts);
}

// What sums of a row's parts stand for.
template <typename D, int parts>
HWY_INLINE auto value_of(D floats, const hn::Vec<hn::RebindToSigned<D>> (&sums)[parts],
                         const RoundedRow& row) {
  const hn::RebindToSigned<D> ints;
  auto value = hn::ConvertTo(floats, hn::Add(sums[0], hn::Set(ints, row.start[0])));
  if constexpr (parts == 2) {
    const auto low = hn::ConvertTo(floats, hn::Add(sums[1], hn::Set(ints, row.start[1])));
    value = hn::MulAdd(value, hn::Set(floats, 256.0F), low);
  }
  return hn::Mul(value, hn::Set(floats, row.scale));
}

// ---- Many rows ---------------------------------------------------------------------------------

int64_t panel_bytes(int64_t depth) { return (kHeader + filled(depth) / kStep * kWidth) * 4; }

#if HWY_TARGET == HWY_AVX2
// 16 inputs of a panel, of 16 rows of bytes `stride` apart. Pairs of bytes are turned, of eight
// rows in each half of a register, and then widened: four rows of each half at a time, which is why
// the lower half has rows 0 to 3 and 8 to 11. Adds to the products of the panel's own words.
HWY_INLINE void pack_square(const int8_t* from, int64_t stride, int32_t* out, IntVector (&own)[2]) {
  const hn::Repartition<int8_t, Ints> bytes;
  const hn::Half<decltype(bytes)> row;
  const hn::Repartition<int16_t, Ints> halves;
  const hn::Repartition<int64_t, Ints> pairs;
  hn::Vec<decltype(halves)> rows[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const int8_t* at = from + (i < 4 ? i : i + 4) * stride;
    rows[i] = hn::BitCast(halves,
                          hn::Combine(bytes, hn::LoadU(row, at + 4 * stride), hn::LoadU(row, at)));
  }
  IntVector twos[8];  // of each two rows: pairs 0 to 3, then 4 to 7
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    twos[i] = hn::BitCast(Ints(), hn::InterleaveLower(halves, rows[2 * i], rows[2 * i + 1]));
    twos[i + 4] = hn::BitCast(Ints(), hn::InterleaveUpper(halves, rows[2 * i], rows[2 * i + 1]));
  }
  IntVector before[2];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {  // pair
    const int at = i / 4 * 4;
    const auto four = [&](int n) HWY_ATTR {
      const auto a = twos[at + n];
      const auto b = twos[at + n + 1];
      return hn::BitCast(pairs, i / 2 % 2 == 0 ? hn::InterleaveLower(Ints(), a, b)
                                               : hn::InterleaveUpper(Ints(), a, b));
    };
    const auto eight =
        hn::BitCast(bytes, i % 2 == 0 ? hn::InterleaveLower(pairs, four(0), four(2))
                                      : hn::InterleaveUpper(pairs, four(0), four(2)));
    const auto signs = hn::VecFromMask(bytes, hn::Lt(eight, hn::Zero(bytes)));
    const IntVector sides[2] = {hn::BitCast(Ints(), hn::InterleaveLower(bytes, eight, signs)),
                                hn::BitCast(Ints(), hn::InterleaveUpper(bytes, eight, signs))};
    for (int side = 0; side < 2; ++side) {
      hn::StoreU(sides[side], Ints(), out + i * kWidth + side * kLanes);
      if (i % 2 == 1) own[side] = add_products(own[side], before[side], sides[side]);
      before[side] = sides[side];
    }
  }
}

// The weight's rows, at most kWidth, as a panel.
void pack_panel(const ConstMatrix& weight, std::byte* panel) {
  const int64_t depth = weight.columns;
  auto* words = reinterpret_cast<int32_t*>(panel);
  IntVector own[2] = {hn::Zero(Ints()), hn::Zero(Ints())};
  const auto* ahead = reinterpret_cast<const char*>(weight.row<int8_t>(kWidth));
  for (int64_t k = 0; k < filled(depth); k += kStride) {
    int32_t* out = words + kHeader + k / kStep * kWidth;
    if (weight.rows == kWidth && k + kStride <= depth) {
      ahead = prefetch<kWidth * kStride>(ahead);
      pack_square(weight.row<int8_t>(0) + k, weight.stride, out, own);
      continue;
    }
    int8_t padded[kWidth * kStride] = {};
    const int64_t count = HWY_MIN(kStride, depth - k);
    for (int64_t i = 0; i < weight.rows && count > 0; ++i) {
      std::memcpy(padded + i * kStride, weight.row<int8_t>(i) + k, static_cast<size_t>(count));
    }
    pack_square(padded, kStride, out, own);
  }
  for (int side = 0; side < 2; ++side) {
    hn::StoreU(hn::Neg(own[side]), Ints(), words + side * kLanes);
  }
}
#else
// The weight's rows, at most kWidth, as a panel.
void pack_panel(const ConstMatrix& weight, std::byte* panel) {
  const int64_t depth = weight.columns;
  int8_t padded[kLanes * kStride];
  for (int64_t n = 0; n < kWidth; n += kLanes) {
    const auto* ahead = reinterpret_cast<const char*>(weight.row<int8_t>(n + kLanes));
    const bool whole = n + kLanes <= weight.rows;
    for (int64_t k = 0; k < filled(depth); k += kStride) {
      float* out = reinterpret_cast<float*>(panel) + k / kStep * kWidth + n;
      if (whole && k + kStride <= depth) {
        ahead = prefetch<kLanes * kStride>(ahead);
        const int8_t* from = weight.row<int8_t>(n) + k;
        transpose_square(
            [&](int64_t i)
                HWY_ATTR { return hn::BitCast(Floats(), load_weights(from + i * weight.stride)); },
            out, kWidth);
        continue;
      }
      std::memset(padded, 0, sizeof(padded));
      const int64_t count = HWY_MIN(kStride, depth - k);
      for (int64_t i = 0; i < HWY_MIN(kLanes, weight.rows - n) && count > 0; ++i) {
        std::memcpy(padded + i * kStride, weight.row<int8_t>(n + i) + k,
                    static_cast<size_t>(count));
      }
      transpose_square(
          [&](int64_t i)
              HWY_ATTR { return hn::BitCast(Floats(), load_weights(padded + i * kStride)); },
          out, kWidth);
    }
  }
}
#endif

void pack_integers(const ConstMatrix& weight, std::byte* panels) {
  for (int64_t n = 0; n < weight.rows; n += kWidth, panels += panel_bytes(weight.columns)) {
    pack_panel(weight.rows_from(n, HWY_MIN(kWidth, weight.rows - n)), panels);
  }
}

// Bytes that are fetched into the second-level cache a line at a time, between products.
struct Ahead {
  const std::byte* next;
  const std::byte* end;

  HWY_INLINE void step() {
    if (next >= end) return;
    __builtin_prefetch(next, 0, 2);
    next += 64;
  }
};

// The same word of each lane.
HWY_INLINE IntVector broadcast(const std::byte* at) {
  int32_t word;
  std::memcpy(&word, at, sizeof(word));
  return hn::Set(Ints(), word);
}

// kWords words of some rows, whose parts are `stride` apart, with those of a panel.
template <int parts, int rows>
HWY_INLINE void multiply_step(const std::byte* x, int64_t stride, const int32_t* words,
                              IntVector (&sums)[rows][2][parts]) {
  IntVector weights[2][kWords];
  for (int64_t w = 0; w < kWords; ++w) {
    weights[0][w] = hn::LoadU(Ints(), words + w * kWidth);
    weights[1][w] = hn::LoadU(Ints(), words + w * kWidth + kLanes);
  }
  for (int r = 0; r < rows; ++r) {
    for (int p = 0; p < parts; ++p, x += stride) {
      IntVector values[kWords];
      for (int64_t w = 0; w < kWords; ++w) values[w] = broadcast(x + 4 * w);
      sums[r][0][p] = add_words(sums[r][0][p], values, weights[0]);
      sums[r][1][p] = add_words(sums[r][1][p], values, weights[1]);
    }
  }
}

constexpr int64_t kFetched = 16;  // inputs for which a line is fetched: all, with 64 rows

// Some rows with one panel.
template <int parts, int rows>
HWY_INLINE void multiply_group(const IntegerProduct& product, int64_t row, const std::byte* panel,
                               float* tile, Ahead& ahead) {
  const auto* words = reinterpret_cast<const int32_t*>(panel);
  IntVector sums[rows][2][parts];
  for (auto& of_row : sums) {
    for (int side = 0; side < 2; ++side) {
      for (auto& sum : of_row[side]) {
        sum = kHeader > 0 ? hn::LoadU(Ints(), words + side * kLanes) : hn::Zero(Ints());
      }
    }
  }
  words += kHeader;
  const int64_t stride = product.part_bytes;
  const std::byte* x = product.parts + row * parts * stride;
  for (int64_t k = filled(product.weight.columns); k > 0; k -= kFetched) {
    ahead.step();
#pragma GCC unroll 8
    for (int64_t i = 0; i < kFetched / kStep; i += kWords) {
      multiply_step<parts, rows>(x, stride, words, sums);
      words += kWords * kWidth;
      x += 4 * kWords;
    }
  }
  for (int r = 0; r < rows; ++r) {
    float* to = tile + (row + r) * product.tile_stride;
    const RoundedRow& rounded = product.rounded[row + r];
    hn::StoreU(value_of(Floats(), sums[r][0], rounded), Floats(), to);
    hn::StoreU(value_of(Floats(), sums[r][1], rounded), Floats(), to + kLanes);
  }
}

template <int parts>
void multiply_all_panels(const IntegerProduct& product) {
  constexpr int kGroup = (kManyRegisters ? 8 : 4) / parts;  // rows
  const std::byte* panel = product.panels;
  float* tile = product.tile;
  Ahead ahead{product.next, product.next_end};
  for (int64_t n = 0; n < product.weight.rows; n += kWidth) {
    int64_t row = 0;
    for (; row + kGroup <= product.rows; row += kGroup) {
      multiply_group<parts, kGroup>(product, row, panel, tile, ahead);
    }
    for (; row + 2 <= product.rows; row += 2) {
      multiply_group<parts, 2>(product, row, panel, tile, ahead);
    }
    if (row < product.rows) multiply_group<parts, 1>(product, row, panel, tile, ahead);
    panel += panel_bytes(product.weight.columns);
    tile += kWidth;
  }
}

void multiply_integer_panels(const IntegerProduct& product) {
  if (product.inputs == Inputs::i8) return multiply_all_panels<1>(product);
  multiply_all_panels<2>(product);
}

// ---- Few rows ----------------------------------------------------------------------------------

// tile[row + r, first + n] of one part's sums; four outputs at a time, or one.
template <int parts, int rows, int outputs>
HWY_INLINE void multiply_dots(const IntegerProduct& product, int64_t row, int64_t first) {
  IntVector sums[rows][parts][outputs];
  for (auto& of_row : sums) {
    for (auto& part : of_row) {
      for (auto& sum : part) sum = hn::Zero(Ints());
    }
  }
  const ConstMatrix& weight = product.weight;
  const int64_t stride = product.part_bytes;
  const auto* x = reinterpret_cast<const int32_t*>(product.parts + row * parts * stride);
  const int8_t* from = weight.row<int8_t>(first);
  const auto add = [&](const int8_t* at, int64_t apart) HWY_ATTR {
    IntVector weights[outputs];
    for (int n = 0; n < outputs; ++n) weights[n] = load_weights(at + n * apart);
    for (int i = 0; i < rows * parts; ++i) {
      const auto value = hn::LoadU(Ints(), x + i * stride / 4);
      for (int n = 0; n < outputs; ++n) {
        auto& sum = sums[i / parts][i % parts][n];
        sum = add_products(sum, value, weights[n]);
      }
    }
    x += kLanes;
  };
  const auto* ahead = reinterpret_cast<const char*>(from + outputs * weight.stride);
  int64_t k = 0;
  for (; k + kStride <= weight.columns; k += kStride) {
    if constexpr (outputs > 1) ahead = prefetch<outputs * kStride>(ahead);
    add(from + k, weight.stride);
  }
  if (k < weight.columns) {
    int8_t padded[outputs * kStride] = {};
    for (int n = 0; n < outputs; ++n) {
      std::memcpy(padded + n * kStride, from + n * weight.stride + k,
                  static_cast<size_t>(weight.columns - k));
    }
    add(padded, kStride);
  }
  for (int r = 0; r < rows; ++r) {
    float* to = product.tile + (row + r) * product.tile_stride + first;
    RoundedRow rounded = product.rounded[row + r];
    if constexpr (kWords > 1) rounded.start[0] = rounded.start[1] = 0;  // plain products
#if HWY_TARGET != HWY_SCALAR
    if constexpr (outputs == 4) {
      const hn::FixedTag<float, 4> quad;
      hn::Vec<hn::FixedTag<int32_t, 4>> fours[parts];
      for (int p = 0; p < parts; ++p) {
        const auto& s = sums[r][p];
        fours[p] = four_sums(s[0], s[1], s[2], s[3]);
      }
      hn::StoreU(value_of(quad, fours, rounded), quad, to);
      continue;
    }
#endif
    for (int n = 0; n < outputs; ++n) {
      IntVector ones[parts];
      for (int p = 0; p < parts; ++p) ones[p] = hn::SumOfLanes(Ints(), sums[r][p][n]);
      to[n] = hn::GetLane(value_of(Floats(), ones, rounded));
    }
  }
}

template <int parts>
void multiply_all_rows(const IntegerProduct& product) {
  constexpr int kGroup = (kManyRegisters ? 4 : 2) / parts;  // rows
  int64_t n = 0;
  const auto advance = [&]<int outputs>(std::integral_constant<int, outputs>) HWY_ATTR {
    for (; n + outputs <= product.weight.rows; n += outputs) {
      int64_t row = 0;
      for (; row + kGroup <= product.rows; row += kGroup) {
        multiply_dots<parts, kGroup, outputs>(product, row, n);
      }
      if constexpr (kGroup > 2) {
        for (; row + 2 <= product.rows; row += 2) multiply_dots<parts, 2, outputs>(product, row, n);
      }
      for (; row < product.rows; ++row) multiply_dots<parts, 1, outputs>(product, row, n);
    }
  };
  advance(std::integral_constant<int, 4>());
  advance(std::integral_constant<int, 1>());
}

void multiply_integer_rows(const IntegerProduct& product) {
  if (product.inputs == Inputs::i8) return multiply_all_rows<1>(product);
  multiply_all_rows<2>(product);
}

}  // namespace

IntegerOps integer_ops() {
  return {.few_integer_rows = HWY_TARGET == HWY_AVX2 ? 12 : 16,
          .part_bytes = part_bytes,
          .round_row = round_row,
          .panel_bytes = panel_bytes,
          .pack_integers = pack_integers,
          .multiply_integer_panels = multiply_integer_panels,
          .multiply_integer_rows = multiply_integer_rows};
}

}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(integer_ops);
IntegerOps integer_ops(Target target) { return pick(HWY_DISPATCH_TABLE(integer_ops), target)(); }

}  // namespace slim
#endif
