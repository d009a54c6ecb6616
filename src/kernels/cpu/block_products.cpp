// Dot products of GGUF's block weights with few rows of x: the integers go from memory to the
// multiply-adds without being put in order.
//
// A register of packed nibbles is a vector of words; its bytes j = 0..3 are masked out where they
// lie and converted as numbers 256^j too large, for one mask and one conversion a vector of floats.
// x makes up for both: it is spread once per call, so that the values that meet byte j of a
// register's words follow one another, times 256^-j (both exact). Per 16 weights that is three
// instructions, on ports that do not collide, where widening bytes in their order takes five. What
// a block subtracts (8 of q4_0, 32 of q6_k, the minima of q4_k and q5_k) is a sum over x alone,
// which lies beside the spread values.
//
// Sums stray no further than those of decoded weights but for the subtraction: its two sides are
// at most a few times the result's terms. An infinite x may become NaN.
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/cpu/target_ops.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/block_products.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/dot_inl.h"
#include "kernels/cpu/lanes_inl.h"
#include "kernels/cpu/weight_codec_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

BlockOps block_ops() { return {}; }

#else
namespace {

// Beyond, decoding into the cache costs less than repeating the masks and conversions.
constexpr int kMostRows = HWY_TARGET <= HWY_AVX3 ? 8 : 4;

using WordVector = hn::Vec<Words>;

HWY_INLINE WordVector load_words(const std::byte* at) {
  return hn::LoadU(Words(), reinterpret_cast<const uint32_t*>(at));
}
// 32 bytes, repeated where a register is longer.
HWY_INLINE WordVector load_repeated(const std::byte* at) {
  const hn::FixedTag<uint32_t, 8> eight;
  const auto words = hn::LoadU(eight, reinterpret_cast<const uint32_t*>(at));
#if HWY_TARGET <= HWY_AVX3
  return hn::Combine(Words(), words, words);
#else
  return words;
#endif
}
HWY_INLINE Vector extend(hn::Vec<Eight> eight) {
#if HWY_TARGET <= HWY_AVX3
  return hn::ZeroExtendVector(Floats(), eight);
#else
  return eight;
#endif
}

HWY_INLINE WordVector every_byte(uint32_t value) { return hn::Set(Words(), value * 0x01010101U); }
// The low (level 0) or high (level 1) nibble of every byte.
HWY_INLINE WordVector nibbles_of(WordVector words, int level) {
  return hn::And(level == 0 ? words : hn::ShiftRight<4>(words), every_byte(15));
}

// A constant for each lane.
template <typename T>
struct alignas(64) Lanes {
  T at[kLanes];
};
template <typename T, typename Function>
constexpr Lanes<T> lanes_of(Function value) {
  Lanes<T> lanes{};
  for (int64_t lane = 0; lane < kLanes; ++lane) lanes.at[lane] = static_cast<T>(value(lane));
  return lanes;
}

// Each block type below is read a *unit* at a time: `kElements` weights in `kBytes` bytes, whose
// packed nibbles fill `kLoads` registers with two levels each. bytes<load, level>() are integers
// from 0, one a byte, whose scales are scale<load, level>(). kMiddle is subtracted from each
// integer; with kMinima, the products of minima() with the sums of x over runs of 32 are.
// column(word, level) is that of a word's first byte.

// Q4_0: as many blocks as fill a register, four words each.
struct Q40 {
  static constexpr int64_t kBlocks = kLanes / 4;
  static constexpr int64_t kElements = 32 * kBlocks;
  static constexpr int64_t kBytes = 18 * kBlocks;
  static constexpr int kLoads = 1;
  static constexpr float kMiddle = 8.0F;
  static constexpr bool kMinima = false;
  static constexpr int64_t column(int64_t word, int level) {
    return word / 4 * 32 + level * 16 + word % 4 * 4;
  }

  HWY_INLINE explicit Q40(const std::byte* at) {
    const hn::FixedTag<uint32_t, 4> four;
    const hn::FixedTag<float, 4> quad;
    const auto words_of = [&](int block) HWY_ATTR {
      return hn::LoadU(four, reinterpret_cast<const uint32_t*>(at + block * 18 + 2));
    };
    // Beside the scale stand three numbers that are none; Broadcast drops them.
    const auto scale_of = [&](int block) HWY_ATTR {
      const hn::Rebind<hwy::float16_t, hn::FixedTag<float, 4> > stored;
      return hn::PromoteTo(
          quad, hn::LoadU(stored, reinterpret_cast<const hwy::float16_t*>(at + block * 18)));
    };
    const hn::FixedTag<uint32_t, 8> eight;
#if HWY_TARGET <= HWY_AVX3
    words = hn::Combine(Words(), hn::Combine(eight, words_of(3), words_of(2)),
                        hn::Combine(eight, words_of(1), words_of(0)));
    const auto scales = hn::Combine(Floats(), hn::Combine(Eight(), scale_of(3), scale_of(2)),
                                    hn::Combine(Eight(), scale_of(1), scale_of(0)));
#else
    words = hn::Combine(eight, words_of(1), words_of(0));
    const auto scales = hn::Combine(Eight(), scale_of(1), scale_of(0));
#endif
    factor = hn::Broadcast<0>(scales);
  }
  template <int load, int level>
  HWY_INLINE WordVector bytes() const {
    return nibbles_of(words, level);
  }
  template <int load, int level>
  HWY_INLINE Vector scale() const {
    return factor;
  }

  WordVector words;
  Vector factor;
};

// Q4_K and Q5_K: eight runs of 32; 32 bytes hold two of them.
template <bool fifth_bit>
struct QK {
  static constexpr int64_t kElements = 256;
  static constexpr int64_t kNibbles = fifth_bit ? 48 : 16;
  static constexpr int64_t kBytes = kNibbles + 128;
  static constexpr int kLoads = 32 / kLanes;
  static constexpr float kMiddle = 0.0F;
  static constexpr bool kMinima = true;
  static constexpr int64_t run(int64_t word, int level) { return word / 8 * 2 + level; }
  static constexpr int64_t column(int64_t word, int level) {
    return run(word, level) * 32 + word % 8 * 4;
  }

  HWY_INLINE explicit QK(const std::byte* block)
      : at(block), runs(run_scales(block)), fifths(load_repeated(block + 16)) {}
  template <int load, int level>
  HWY_INLINE WordVector bytes() const {
    const auto low = nibbles_of(load_words(at + kNibbles + load * 4 * kLanes), level);
    if constexpr (!fifth_bit) return low;
    // Bit `run` of every byte moves to bit 4: the first four to the left, all at once, and back.
    constexpr bool first = run(load * kLanes, level) < 4;
    static constexpr auto kShifts =
        lanes_of<uint32_t>([](int64_t lane) { return run(load * kLanes + lane, level) % 4; });
    const auto source = first ? hn::ShiftLeft<4>(fifths) : fifths;
    return hn::OrAnd(low, hn::Shr(source, hn::Load(Words(), kShifts.at)), every_byte(16));
  }
  template <int load, int level>
  HWY_INLINE Vector scale() const {
    static constexpr auto kRuns =
        lanes_of<int32_t>([](int64_t lane) { return run(load * kLanes + lane, level); });
    return hn::TableLookupLanes(extend(runs.scales), hn::SetTableIndices(Floats(), kRuns.at));
  }
  HWY_INLINE Vector minima() const { return extend(runs.minima); }

  const std::byte* at;
  RunScales runs;
  WordVector fifths;
};

// Q6_K: two halves of eight runs of 16. A half has 64 bytes of nibbles: the low ones of the first
// 32, then of the last 32, then the high ones; and 32 bytes of two upper bits each.
struct Q6K {
  static constexpr int64_t kElements = 256;
  static constexpr int64_t kBytes = 210;
  static constexpr int kLoads = 32 / kLanes;
  static constexpr float kMiddle = 32.0F;
  static constexpr bool kMinima = false;
  // Which 32 of a half's elements a word belongs to.
  static constexpr int64_t quarter(int64_t word, int level) { return word % 16 / 8 + 2 * level; }
  static constexpr int64_t column(int64_t word, int level) {
    return word / 16 * 128 + quarter(word, level) * 32 + word % 8 * 4;
  }

  HWY_INLINE explicit Q6K(const std::byte* block) : at(block), factor(half_at(block + 208)) {}
  template <int load, int level>
  HWY_INLINE WordVector bytes() const {
    const auto low = nibbles_of(load_words(at + load * 4 * kLanes), level);
    // Bits 2q and 2q + 1 of quarter q move to bits 4 and 5, as in q5_k.
    static constexpr auto kShifts = lanes_of<uint32_t>(
        [](int64_t lane) { return 2 * (quarter(load * kLanes + lane, level) % 2); });
    const auto upper = load_repeated(at + 128 + load * kLanes / 16 * 32);
    const auto source = level == 0 ? hn::ShiftLeft<4>(upper) : upper;
    return hn::OrAnd(low, hn::Shr(source, hn::Load(Words(), kShifts.at)), every_byte(48));
  }
  template <int load, int level>
  HWY_INLINE Vector scale() const {
    const hn::Rebind<int8_t, Eight> stored;
    constexpr int64_t half = load * kLanes / 16;
    const auto whole =
        hn::PromoteTo(hn::RebindToSigned<Eight>(),
                      hn::LoadU(stored, reinterpret_cast<const int8_t*>(at + 192 + half * 8)));
    const auto scales = hn::Mul(hn::ConvertTo(Eight(), whole), hn::Set(Eight(), factor));
    static constexpr auto kRuns = lanes_of<int32_t>([](int64_t lane) {
      const int64_t word = load * kLanes + lane;
      return quarter(word, level) * 2 + word % 8 / 4;
    });
    return hn::TableLookupLanes(extend(scales), hn::SetTableIndices(Floats(), kRuns.at));
  }

  const std::byte* at;
  float factor;
};

// Q8_0 has no nibbles: its bytes are widened in their order, and x is spread as it is.
struct Q80 {
  static constexpr int64_t kElements = 32;
  static constexpr int64_t kBytes = 34;
};

template <typename Unit>
constexpr bool kInOrder = std::is_same_v<Unit, Q80>;

// A unit's spread x: its values, then what they are summed to for the subtraction.
template <typename Unit>
constexpr int64_t spread_extra() {
  if constexpr (kInOrder<Unit>) {
    return 0;
  } else {
    if (Unit::kMinima) return kLanes;  // of which 8 are used
    return Unit::kMiddle != 0.0F ? Unit::kLoads * 2 * kLanes : 0;
  }
}
template <typename Unit>
constexpr int64_t kSpread = Unit::kElements + spread_extra<Unit>();

template <typename Unit>
void spread_unit(const float* x, float* out) {
  if constexpr (kInOrder<Unit>) {
    std::memcpy(out, x, Unit::kElements * sizeof(float));
  } else {
    const hn::FixedTag<float, 4> quad;  // words that lie together, in all types
    float* extra = out + Unit::kElements;
    for (int64_t part = 0; part < 2 * Unit::kLoads; ++part) {  // a load's level
      for (int64_t lane = 0; lane < kLanes; lane += 4) {
        const int64_t word = part / 2 * kLanes + lane;
        hn::Vec<decltype(quad)> byte[4];
        hn::LoadInterleaved4(quad, x + Unit::column(word, static_cast<int>(part % 2)), byte[0],
                             byte[1], byte[2], byte[3]);
        float* to = out + part * 4 * kLanes + lane;
        float factor = 1.0F;
        for (int j = 0; j < 4; ++j, factor *= 0x1p-8F) {
          hn::StoreU(hn::Mul(byte[j], hn::Set(quad, factor)), quad, to + j * kLanes);
        }
        if constexpr (Unit::kMiddle != 0.0F) {
          const auto sum = hn::Add(hn::Add(byte[0], byte[1]), hn::Add(byte[2], byte[3]));
          hn::StoreU(hn::Mul(sum, hn::Set(quad, -Unit::kMiddle)), quad,
                     extra + part * kLanes + lane);
        }
      }
    }
    if constexpr (Unit::kMinima) {
      std::memset(extra, 0, kLanes * sizeof(float));
      for (int64_t k = 0; k < Unit::kElements; k += kLanes) {
        extra[k / 32] += hn::GetLane(hn::SumOfLanes(Floats(), load(x + k)));
      }
    }
  }
}

// Sums of products, of some outputs with some rows of x.
template <int outputs, int rows>
using Sums = Vector[outputs][rows];

template <int outputs, int rows>
HWY_INLINE void set_zero(Sums<outputs, rows>& sums) {
  for (auto& of_output : sums) {
    for (Vector& sum : of_output) sum = hn::Zero(Floats());
  }
}

// Rows of spread x, from some column on.
struct SpreadX {
  const float* values;
  int64_t stride;
};

// The products of a vector of each output's weights with that at x.values + offset, which is loaded
// once for all.
template <int outputs, int rows>
HWY_INLINE void add_products(const Vector (&weights)[outputs], const SpreadX& x, int64_t offset,
                             Sums<outputs, rows>& sums) {
  for (int r = 0; r < rows; ++r) {
    const auto value = load(x.values + r * x.stride + offset);
    for (int n = 0; n < outputs; ++n) sums[n][r] = hn::MulAdd(weights[n], value, sums[n][r]);
  }
}

template <int rows>
HWY_INLINE void add_scaled(const Vector (&partial)[rows], Vector scale, Vector (&sums)[rows]) {
  for (int r = 0; r < rows; ++r) sums[r] = hn::MulAdd(partial[r], scale, sums[r]);
}

// One level of one load of each output's unit.
template <int part, typename Unit, int outputs, int rows>
HWY_INLINE void add_part(const Unit (&units)[outputs], const SpreadX& x,
                         Sums<outputs, rows>& sums) {
  Sums<outputs, rows> partial;
  for (int r = 0; r < rows; ++r) {
    const auto start = Unit::kMiddle != 0.0F
                           ? load(x.values + r * x.stride + Unit::kElements + part * kLanes)
                           : hn::Zero(Floats());
    for (int n = 0; n < outputs; ++n) partial[n][r] = start;
  }
  WordVector bytes[outputs];
  for (int n = 0; n < outputs; ++n) bytes[n] = units[n].template bytes<part / 2, part % 2>();
  for (int j = 0; j < 4; ++j) {
    Vector weights[outputs];
    const auto mask = hn::Set(Words(), 255U << (8 * j));
    for (int n = 0; n < outputs; ++n) {
      weights[n] = hn::ConvertTo(Floats(), hn::BitCast(Ints(), hn::And(bytes[n], mask)));
    }
    add_products<outputs, rows>(weights, x, (part * 4 + j) * kLanes, partial);
  }
  for (int n = 0; n < outputs; ++n) {
    add_scaled(partial[n], units[n].template scale<part / 2, part % 2>(), sums[n]);
  }
}

template <typename Unit, int outputs, int rows, int... part>
HWY_INLINE void add_parts(const Unit (&units)[outputs], const SpreadX& x, Sums<outputs, rows>& sums,
                          std::integer_sequence<int, part...>) {
  (add_part<part, Unit, outputs, rows>(units, x, sums), ...);
}

// A unit of each output, `row_bytes` apart.
template <typename Unit, int outputs, int rows, int... n>
HWY_INLINE void add_units(const std::byte* at, int64_t row_bytes, const SpreadX& x,
                          Sums<outputs, rows>& sums, std::integer_sequence<int, n...>) {
  if constexpr (kInOrder<Unit>) {
    Sums<outputs, rows> partial;
    set_zero<outputs, rows>(partial);
    for (int64_t k = 0; k < 32; k += kLanes) {
      const Vector weights[outputs] = {
          load(reinterpret_cast<const int8_t*>(at + n * row_bytes + 2) + k)...};
      add_products<outputs, rows>(weights, x, k, partial);
    }
    (add_scaled(partial[n], hn::Set(Floats(), half_at(at + n * row_bytes)), sums[n]), ...);
  } else {
    const Unit units[outputs] = {Unit(at + n * row_bytes)...};
    add_parts<Unit, outputs, rows>(units, x, sums,
                                   std::make_integer_sequence<int, 2 * Unit::kLoads>());
    if constexpr (Unit::kMinima) {
      const float* extra = x.values + Unit::kElements;
      for (int r = 0; r < rows; ++r) {
        const auto runs = load(extra + r * x.stride);
        ((sums[n][r] = hn::NegMulAdd(units[n].minima(), runs, sums[n][r])), ...);
      }
    }
  }
}

template <typename Unit>
int64_t spread_size(int64_t columns) {
  return (columns + Unit::kElements - 1) / Unit::kElements * kSpread<Unit>;
}

// Rows of x from `row` on with rows of the weight from `first` on.
template <typename Unit, int outputs, int rows>
HWY_INLINE void multiply_tile(const SpreadProduct& product, int64_t row, int64_t first) {
  Sums<outputs, rows> sums;
  set_zero<outputs, rows>(sums);
  constexpr std::make_integer_sequence<int, outputs> kAll;
  const ConstMatrix& weight = product.weight;
  const std::byte* from = weight.row_bytes(first);
  const int64_t row_bytes = bytes_of(weight.type, weight.stride);
  const auto* ahead = reinterpret_cast<const char*>(from + outputs * row_bytes);
  const int64_t stride = spread_size<Unit>(weight.columns);
  const float* x = product.x + row * stride;
  int64_t k = 0;
  for (; k + Unit::kElements <= weight.columns; k += Unit::kElements) {
    ahead = prefetch<outputs * Unit::kBytes>(ahead);
    add_units<Unit, outputs, rows>(from, row_bytes, {x, stride}, sums, kAll);
    from += Unit::kBytes;
    x += kSpread<Unit>;
  }
  if (k < weight.columns) {  // fewer blocks than fill a register: the missing ones are zeros
    const auto left = static_cast<size_t>(bytes_of(weight.type, weight.columns - k));
    std::byte padded[outputs * Unit::kBytes] = {};
    for (int n = 0; n < outputs; ++n) {
      std::memcpy(padded + n * Unit::kBytes, from + n * row_bytes, left);
    }
    add_units<Unit, outputs, rows>(padded, Unit::kBytes, {x, stride}, sums, kAll);
  }
  for (int r = 0; r < rows; ++r) {
    Vector of_row[outputs];
    for (int n = 0; n < outputs; ++n) of_row[n] = sums[n][r];
    add_lanes(of_row, false, product.tile + (row + r) * product.tile_stride + first);
  }
}

template <typename Unit, int rows>
void multiply_all(const SpreadProduct& product) {
  // Outputs at a time: what the registers hold beside the rows.
  constexpr int kOutputs = rows <= (HWY_TARGET <= HWY_AVX3 ? 2 : 1) ? 4 : 2;
  const int64_t end = even_groups(product.rows).end;
  int64_t n = 0;
  const auto advance = [&]<int outputs>(std::integral_constant<int, outputs>) HWY_ATTR {
    for (; n + outputs <= product.weight.rows; n += outputs) {
      int64_t row = 0;
      for (; row < end; row += rows) multiply_tile<Unit, outputs, rows>(product, row, n);
      if constexpr (rows > 1) {
        for (; row < product.rows; row += rows - 1) {
          multiply_tile<Unit, outputs, rows - 1>(product, row, n);
        }
      }
    }
  };
  advance(std::integral_constant<int, kOutputs>());
  advance(std::integral_constant<int, 1>());
}

template <typename Function>
void visit_unit(DType type, Function&& f) {
  switch (type) {
    case DType::q8_0:
      return f(std::type_identity<Q80>());
    case DType::q4_0:
      return f(std::type_identity<Q40>());
    case DType::q4_k:
      return f(std::type_identity<QK<false> >());
    case DType::q5_k:
      return f(std::type_identity<QK<true> >());
    case DType::q6_k:
      return f(std::type_identity<Q6K>());
    default:
      check(false, "only block weights have spread products");
  }
}

int64_t spread_floats(DType type, int64_t columns) {
  int64_t floats = 0;
  visit_unit(type,
             [&]<typename Unit>(std::type_identity<Unit>) { floats = spread_size<Unit>(columns); });
  return floats;
}

void spread(DType type, const float* x, int64_t columns, float* out) {
  visit_unit(type, [&]<typename Unit>(std::type_identity<Unit>) HWY_ATTR {
    int64_t k = 0;
    for (; k + Unit::kElements <= columns; k += Unit::kElements, out += kSpread<Unit>) {
      spread_unit<Unit>(x + k, out);
    }
    if (k == columns) return;
    float padded[Unit::kElements] = {};
    std::memcpy(padded, x + k, static_cast<size_t>(columns - k) * sizeof(float));
    spread_unit<Unit>(padded, out);
  });
}

void multiply_spread(const SpreadProduct& product) {
  visit_unit(product.weight.type, [&]<typename Unit>(std::type_identity<Unit>) HWY_ATTR {
    const int64_t most = even_groups(product.rows).size;
    if (most == 1) return multiply_all<Unit, 1>(product);
    if (most == 2) return multiply_all<Unit, 2>(product);
    if (most == 3) return multiply_all<Unit, 3>(product);
    multiply_all<Unit, 4>(product);
  });
}

}  // namespace

BlockOps block_ops() {
  return {.spread_rows = kMostRows,
          .spread_floats = spread_floats,
          .spread = spread,
          .multiply_spread = multiply_spread};
}

#endif
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(block_ops);
BlockOps block_ops(Target target) { return pick(HWY_DISPATCH_TABLE(block_ops), target)(); }

}  // namespace slim
#endif
