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

#if HWY_TARGET == HWY_AVX3_DL && HWY_MAJOR == 1 && HWY_MINOR == 0
// Highway 1.0 asks the processor for avx512vnni, and then the compiler for avxvnni alone.
#undef HWY_TARGET_STR
#define HWY_TARGET_STR \
  HWY_TARGET_STR_AVX3  \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avxvnni,avx512bitalg,avx512vpopcntdq,avx512vnni"
#endif

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kWidth = 2 * kLanes;  // of a panel
constexpr int64_t kDepth = 64;          // depth is filled up to multiples of it, with zeros
using IntVector = hn::Vec<Ints>;

#if HWY_TARGET == HWY_AVX3_DL
using Part = int8_t;
// Adds to each lane the four products of its bytes.
HWY_INLINE IntVector add_products(IntVector sums, IntVector x, IntVector weights) {
  return IntVector{_mm512_dpbusd_epi32(sums.raw, weights.raw, x.raw)};
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
  return hn::Add(sums, hn::RearrangeToOddPlusEven(sum, rest));
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

RoundedRow round_row(const float* x, int64_t columns, Inputs inputs, std::byte* parts) {
  auto* first = reinterpret_cast<Part*>(parts);
  auto* second = reinterpret_cast<Part*>(parts + part_bytes(columns));
  const InputScale scale(inputs, largest_of(x, columns));
  const auto inverse = hn::Set(Floats(), scale.inverse);
  IntVector sums[2] = {hn::Zero(Ints()), hn::Zero(Ints())};
  for (int64_t k = 0; k < filled(columns); k += kLanes) {
    auto values = hn::Zero(Floats());
    if (scale.finite && k < columns) {
      values = k + kLanes <= columns ? load(x + k) : load_first(x + k, columns - k);
    }
    const auto whole = hn::NearestInt(hn::Mul(values, inverse));
    if (inputs == Inputs::i8) {
      store_part(whole, first + k);
      sums[0] = hn::Add(sums[0], whole);
    } else {
      const auto high = hn::ShiftRight<8>(hn::Add(whole, hn::Set(Ints(), 128)));
      const auto low = hn::Sub(whole, hn::ShiftLeft<8>(high));
      store_part(high, first + k);
      store_part(low, second + k);
      sums[0] = hn::Add(sums[0], high);
      sums[1] = hn::Add(sums[1], low);
    }
  }
  RoundedRow row{.scale = scale.scale};
  for (int part = 0; kUnsigned && part < 2; ++part) {
    row.start[part] = -128 * hn::GetLane(hn::SumOfLanes(Ints(), sums[part]));
  }
  return row;
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

int64_t panel_bytes(int64_t depth) { return filled(depth) / kStep * kWidth * 4; }

// The weight's rows, at most kWidth, as a panel.
void pack_panel(const ConstMatrix& weight, float* panel) {
  const int64_t depth = weight.columns;
  int8_t padded[kLanes * kStride];
  for (int64_t n = 0; n < kWidth; n += kLanes) {
    const auto* ahead = reinterpret_cast<const char*>(weight.row<int8_t>(n + kLanes));
    const bool whole = n + kLanes <= weight.rows;
    for (int64_t k = 0; k < filled(depth); k += kStride) {
      float* out = panel + k / kStep * kWidth + n;
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

void pack_integers(const ConstMatrix& weight, std::byte* panels) {
  for (int64_t n = 0; n < weight.rows; n += kWidth, panels += panel_bytes(weight.columns)) {
    pack_panel(weight.rows_from(n, HWY_MIN(kWidth, weight.rows - n)),
               reinterpret_cast<float*>(panels));
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

// Some rows with one panel. A line is fetched for 16 inputs: all that comes next, with 64 rows.
template <int parts, int rows>
HWY_INLINE void multiply_group(const IntegerProduct& product, int64_t row, const std::byte* panel,
                               float* tile, Ahead& ahead) {
  IntVector sums[rows][2][parts];
  for (auto& of_row : sums) {
    for (auto& side : of_row) {
      for (auto& sum : side) sum = hn::Zero(Ints());
    }
  }
  const int64_t stride = product.part_bytes;
  const std::byte* x = product.parts + row * parts * stride;
  const auto* words = reinterpret_cast<const int32_t*>(panel);
  for (int64_t k = filled(product.weight.columns); k > 0; k -= kStep, words += kWidth, x += 4) {
    if (k % 16 == 0) ahead.step();
    const auto w0 = hn::LoadU(Ints(), words);
    const auto w1 = hn::LoadU(Ints(), words + kLanes);
    for (int r = 0; r < rows; ++r) {
      for (int p = 0; p < parts; ++p) {
        int32_t word;
        std::memcpy(&word, x + (r * parts + p) * stride, sizeof(word));
        const auto value = hn::Set(Ints(), word);
        sums[r][0][p] = add_products(sums[r][0][p], value, w0);
        sums[r][1][p] = add_products(sums[r][1][p], value, w1);
      }
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
    const RoundedRow& rounded = product.rounded[row + r];
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
  return {.few_integer_rows = 16,
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
