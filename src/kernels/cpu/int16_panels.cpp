// The products of an encoder's attention in 16-bit integers (int16_panels.h). Each step multiplies
// one broadcast word of a group of rows with the two vectors of a panel, as in product_ops.cpp:
// keys with a panel of queries, then queries' weights with panels of values. So the softmax has a
// query in each lane, and no sum over lanes.
//
// What a multiplication and an addition of two instructions get: on Zen 3 26 products a cycle, of
// 32 (additions take of the pipes of multiplications, whatever their order); f32 gets 16.
#include "kernels/cpu/int16_panels.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/int16_panels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "hwy/cache_control.h"
#include "kernels/cpu/int16_inl.h"
#include "kernels/cpu/transpose_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kWidth = 2 * kLanes;                  // of a panel
constexpr int kGroup = HWY_TARGET <= HWY_AVX3 ? 8 : 6;  // rows multiplied together

constexpr int64_t kAhead = 6;  // rows that are asked for
constexpr float kLargest = 32767.0F;
constexpr float kNorm = 46000.0F;
constexpr float kWeights = 65536.0F - kChunkRows;
constexpr float kLeast = 0x1p-110F;  // so that scales and their inverses are normal numbers

HWY_INLINE IntVector load_words(const int16_t* at) {
  return hn::LoadU(Ints(), reinterpret_cast<const int32_t*>(at));
}
HWY_INLINE void store_words(IntVector words, int16_t* at) {
  hn::StoreU(words, Ints(), reinterpret_cast<int32_t*>(at));
}

// ---- Rounding ----------------------------------------------------------------------------------

// The first `count` numbers from `from`, at most a vector's, then zeros.
HWY_INLINE Vector load_some(const float* from, int64_t count) {
  if (count >= kLanes) return load(from);
  return count > 0 ? load_first(from, count) : hn::Zero(Floats());
}

// Of a row that is rounded: i is the nearest to v * inverse.
struct Scale {
  explicit Scale(float value) : scale(value), inverse(value > 0.0F ? 1.0F / value : 0.0F) {}

  float scale;
  float inverse;  // 0: integers are
};

// Of a row: the largest magnitude, and the sum of squares, which may be out of range.
struct Size {
  float largest;
  float squares;
};

// Asks for a row that is read next: rows of a head are too far apart for the hardware to see.
HWY_INLINE void prefetch_row(const ConstMatrix& matrix, int64_t row) {
  if (row >= matrix.rows) return;
  const float* at = matrix.row<float>(row);
  for (int64_t c = 0; c < matrix.columns; c += 16) hwy::Prefetch(at + c);
}

HWY_INLINE Size size_of_row(const float* from, int64_t count) {
  const Floats f;
  // The bits of magnitudes are in the order of their values, and NaN comes last.
  const auto rest = hn::Set(Ints(), 0x7FFFFFFF);
  auto largest = hn::Zero(Ints());
  auto squares = hn::Zero(f);
  const auto take = [&](Vector values) HWY_ATTR {
    largest = hn::Max(largest, hn::And(hn::BitCast(Ints(), values), rest));
    squares = hn::MulAdd(values, values, squares);
  };
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) take(load(from + k));
  if (k < count) take(load_first(from + k, count - k));
  return {hn::GetLane(hn::BitCast(f, hn::MaxOfLanes(Ints(), largest))),
          hn::GetLane(hn::SumOfLanes(f, squares))};
}

// The same of a row divided by `largest`.
float squares_of_shares(const float* from, int64_t count, float largest) {
  const auto inverse = hn::Set(Floats(), 1.0F / largest);
  auto squares = hn::Zero(Floats());
  for (int64_t k = 0; k < count; k += kLanes) {
    const auto share = hn::Mul(load_some(from + k, count - k), inverse);
    squares = hn::MulAdd(share, share, squares);
  }
  return hn::GetLane(hn::SumOfLanes(Floats(), squares));
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

HWY_INLINE Scale scale_of_value(const float* from, int64_t count) {
  const float largest = size_of_row(from, count).largest;
  if (!std::isfinite(largest)) return Scale(kNaN);
  return Scale(largest < kLeast ? 0.0F : largest / kLargest);
}

// Of a query or a key.
HWY_INLINE Scale scale_of_key(const float* from, int64_t count) {
  const Size size = size_of_row(from, count);
  if (!std::isfinite(size.largest)) return Scale(kNaN);
  if (size.largest < kLeast) return Scale(0.0F);
  float by_norm = std::sqrt(size.squares) / kNorm;
  if (size.largest < 0x1p-50F || size.largest > 0x1p50F) {
    by_norm = size.largest * (std::sqrt(squares_of_shares(from, count, size.largest)) / kNorm);
  }
  return Scale(HWY_MAX(by_norm, size.largest / kLargest));
}

HWY_INLINE IntVector rounded(Vector values, Vector inverse) {
  return hn::NearestInt(hn::Mul(values, inverse));
}

// kWidth numbers, or the first `count` and zeros, as words of neighbours.
HWY_INLINE IntVector round_pairs(const float* from, int64_t count, float inverse) {
  if (inverse == 0.0F) return hn::Zero(Ints());
  const auto factor = hn::Set(Floats(), inverse);
  const auto low = rounded(load_some(from, count), factor);
  const auto high = rounded(load_some(from + kLanes, count - kLanes), factor);
#if HWY_TARGET == HWY_SCALAR
  return join_halves(low, high);
#else
  const hn::Repartition<int16_t, Ints> numbers;
  const hn::Half<decltype(numbers)> half;
  return hn::BitCast(Ints(),
                     hn::Combine(numbers, hn::DemoteTo(half, high), hn::DemoteTo(half, low)));
#endif
}

// ---- Packing -----------------------------------------------------------------------------------

// Divides scales by their largest, and returns that; NaN stays.
float relate_scales(float* scales, int64_t count) {
  float largest = 0.0F;
  for (int64_t i = 0; i < count; ++i) {
    if (scales[i] > largest) largest = scales[i];
  }
  const float inverse = largest > 0.0F ? 1.0F / largest : 0.0F;
  for (int64_t i = 0; i < count; ++i) scales[i] *= inverse;
  return largest;
}

float pack_keys(const ConstMatrix& keys, int16_t* rows, float* scales) {
  const int64_t depth = key_depth(keys.columns);
  for (int64_t n = 0; n < keys.rows; ++n, rows += depth) {
    const float* from = keys.row<float>(n);
    prefetch_row(keys, n + kAhead);
    const Scale scale = scale_of_key(from, keys.columns);
    scales[n] = scale.scale;
    for (int64_t k = 0; k < depth; k += kWidth) {
      store_words(round_pairs(from + k, keys.columns - k, scale.inverse), rows + k);
    }
  }
  return relate_scales(scales, keys.rows);
}

void pack_queries(const ConstMatrix& queries, int16_t* panel, float* scales) {
  const int64_t depth = key_depth(queries.columns);
  float inverses[kWidth] = {};
  for (int64_t n = 0; n < kWidth; ++n) {
    prefetch_row(queries, n + kAhead);
    const Scale scale =
        n < queries.rows ? scale_of_key(queries.row<float>(n), queries.columns) : Scale(0.0F);
    scales[n] = scale.scale;
    inverses[n] = scale.inverse;
  }
  for (int64_t side = 0; side < kWidth; side += kLanes) {
    for (int64_t k = 0; k < depth; k += kWidth) {
      const auto pairs_of = [&](int64_t i) HWY_ATTR {
        const float inverse = inverses[side + i];
        const float* from = inverse == 0.0F ? nullptr : queries.row<float>(side + i) + k;
        return hn::BitCast(Floats(), round_pairs(from, queries.columns - k, inverse));
      };
      transpose_square(pairs_of, reinterpret_cast<float*>(panel + k * kWidth) + side, kWidth);
    }
  }
}

// The rows of a chunk, at most kChunkRows; returns where the next chunk's panels begin.
int16_t* pack_chunk(const ConstMatrix& values, int16_t* panels, float* scales) {
  float inverses[kChunkRows + 1] = {};
  for (int64_t s = 0; s < values.rows; ++s) {
    prefetch_row(values, s + kAhead);
    const Scale scale = scale_of_value(values.row<float>(s), values.columns);
    scales[s] = scale.scale;
    inverses[s] = scale.inverse;
  }
  for (int64_t c = 0; c < values.columns; c += kWidth) {
    const auto integers = [&](int64_t s, int64_t column) HWY_ATTR {
      if (inverses[s] == 0.0F || column >= values.columns) return hn::Zero(Ints());
      return rounded(load_some(values.row<float>(s) + column, values.columns - column),
                     hn::Set(Floats(), inverses[s]));
    };
    for (int64_t s = 0; s < values.rows; s += 2, panels += 2 * kWidth) {
      for (const int64_t side : {int64_t{0}, kLanes}) {
        store_words(join_halves(integers(s, c + side), integers(s + 1, c + side)),
                    panels + 2 * side);
      }
    }
  }
  return panels;
}

float pack_values(const ConstMatrix& values, int16_t* panels, float* scales) {
  for (int64_t s = 0; s < values.rows; s += kChunkRows) {
    const auto chunk = values.rows_from(s, HWY_MIN(kChunkRows, values.rows - s));
    panels = pack_chunk(chunk, panels, scales + s);
  }
  return relate_scales(scales, values.rows);
}

// ---- Products ----------------------------------------------------------------------------------

// Where words of rows are: word k of row i is at `at` + i * row + k * word, in numbers.
struct RowWords {
  const int16_t* at;
  int64_t row;
  int64_t word;
};

// `rows` rows of so many words with a panel: finish(row, left, right) gets the sums.
template <int rows, typename Finish>
HWY_INLINE void multiply_group(RowWords a, int64_t words, const int16_t* panel, Finish finish) {
  PairSums left[rows] = {};
  PairSums right[rows] = {};
  HWY_UNROLL(4)
  for (int64_t k = 0; k < words; ++k, panel += 2 * kWidth, a.at += a.word) {
    const auto w0 = load_words(panel);
    const auto w1 = load_words(panel + kWidth);
    for (int i = 0; i < rows; ++i) {
      int32_t word;
      std::memcpy(&word, a.at + i * a.row, sizeof(word));
      const auto x = hn::Set(Ints(), word);
      multiply_pairs(x, w0, left[i]);
      multiply_pairs(x, w1, right[i]);
    }
  }
  for (int i = 0; i < rows; ++i) finish(i, lanes_of(left[i]), lanes_of(right[i]));
}

// Calls work(first row, rows) with groups that make up `count` rows.
template <typename Work>
HWY_INLINE void over_groups(int64_t count, Work work) {
  int64_t row = 0;
  const auto advance = [&]<int rows>(std::integral_constant<int, rows> size) HWY_ATTR {
    for (; row + rows <= count; row += rows) work(row, size);
  };
  advance(std::integral_constant<int, kGroup>());
  advance(std::integral_constant<int, 4>());
  advance(std::integral_constant<int, 2>());
  advance(std::integral_constant<int, 1>());
}

// (A copy of its arguments is known to lie apart from what a function writes.)
void score(const Int16PanelScoring& arguments) {
  const Int16PanelScoring scoring = arguments;
  Vector largest[2] = {hn::Set(Floats(), -HUGE_VALF), hn::Set(Floats(), -HUGE_VALF)};
  over_groups(scoring.rows, [&]<int rows>(int64_t row, std::integral_constant<int, rows>) HWY_ATTR {
    const auto finish = [&](int i, IntVector left, IntVector right) HWY_ATTR {
      const Floats f;
      const auto scale = hn::Set(f, scoring.key_scales[row + i]);
      float* to = scoring.scores + (row + i) * kWidth;
      const auto first = hn::Mul(hn::ConvertTo(f, left), scale);
      const auto second = hn::Mul(hn::ConvertTo(f, right), scale);
      hn::StoreU(first, f, to);
      hn::StoreU(second, f, to + kLanes);
      largest[0] = hn::Max(largest[0], first);
      largest[1] = hn::Max(largest[1], second);
    };
    multiply_group<rows>({scoring.keys + row * scoring.depth, scoring.depth, 2}, scoring.depth / 2,
                         scoring.queries, finish);
  });
  hn::StoreU(largest[0], Floats(), scoring.largest);
  hn::StoreU(largest[1], Floats(), scoring.largest + kLanes);
}

void add_biases(const Int16Biases& biases) {
  const Floats f;
  for (int64_t lane = 0; lane < kWidth; lane += kLanes) {
    const auto unit = load(biases.units + lane);
    auto largest = hn::Set(f, -HUGE_VALF);
    for (int64_t s = 0; s < biases.rows; ++s) {
      float* at = biases.scores + s * kWidth + lane;
      const auto bias = load(biases.biases + s * biases.stride + lane);
      const auto score = hn::MulAdd(load(at), unit, bias);
      hn::StoreU(score, f, at);
      largest = hn::Max(largest, score);
    }
    hn::StoreU(largest, f, biases.largest + lane);
  }
}

void mix(const Int16PanelMixing& arguments) {
  const Int16PanelMixing mixing = arguments;
  const int64_t words = (mixing.rows + 1) / 2;
  for (int64_t i = 0; i < mixing.count; ++i) {
    const float kept = mixing.softmax.kept[i];
    if (kept == 1.0F) continue;
    float* row = mixing.mixed + i * mixing.stride;
    for (int64_t c = 0; c < mixing.panel_count * kWidth; c += kLanes) {
      hn::StoreU(hn::Mul(load(row + c), hn::Set(Floats(), kept)), Floats(), row + c);
    }
  }
  for (int64_t p = 0; p < mixing.panel_count; ++p) {
    const int16_t* panel = mixing.panels + p * words * 2 * kWidth;
    over_groups(mixing.count, [&]<int rows>(int64_t row,
                                            std::integral_constant<int, rows>) HWY_ATTR {
      float* to = mixing.mixed + row * mixing.stride + p * kWidth;
      const float* steps = mixing.softmax.steps + row;
      const auto finish = [&](int i, IntVector left, IntVector right) HWY_ATTR {
        const Floats f;
        const auto step = hn::Set(f, steps[i]);
        float* at = to + i * mixing.stride;
        hn::StoreU(hn::MulAdd(hn::ConvertTo(f, left), step, load(at)), f, at);
        hn::StoreU(hn::MulAdd(hn::ConvertTo(f, right), step, load(at + kLanes)), f, at + kLanes);
      };
      multiply_group<rows>({mixing.weights + 2 * row, 2, 2 * kWidth}, words, panel, finish);
    });
  }
}

// ---- Weights -----------------------------------------------------------------------------------

// Of a tile's queries: a vector of the first half of them, and one of the others.
using Pair = Vector[2];

HWY_INLINE void load_pair(const float* at, Pair& pair) {
  pair[0] = load(at);
  pair[1] = load(at + kLanes);
}
HWY_INLINE void store_pair(const Pair& pair, float* at) {
  hn::StoreU(pair[0], Floats(), at);
  hn::StoreU(pair[1], Floats(), at + kLanes);
}

// v, or `least` where it is below; NaN stays.
HWY_INLINE Vector at_least(Vector least, Vector v) {
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
  return hn::IfThenElse(hn::Lt(v, least), least, v);
#else
  return hn::Max(least, v);  // the second where one is NaN
#endif
}

constexpr float kLowest = -126.0F;  // of exponents
// The lowest bits of kInteger and a small integer are that integer.
constexpr float kInteger = 12582912.0F;  // 1.5 2^23

// v 2^n for n, an integer of kLowest or more, in the lowest bits; v 2^n may be subnormal.
HWY_INLINE Vector scaled(Vector v, Vector n) {
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(Ints(), n));
  return hn::BitCast(Floats(), hn::Add(hn::BitCast(Ints(), v), exponent));
}

// Raises the softmax to the scores of the chunk where they are larger: to the next integer, so that
// what is kept of weights is a power of two, and 2^(factor * score - largest) has its fraction from
// the product alone. A NaN may be passed over: it reappears in the sum.
HWY_INLINE void raise_largest(const Int16Weighing& weighing) {
  const Floats f;
  const Int16Softmax& softmax = weighing.softmax;
  for (int half = 0; half < 2; ++half) {
    const int64_t lane = half * kLanes;
    const auto before = load(softmax.largest + lane);
    const auto product = hn::Mul(load(weighing.largest + lane), load(softmax.factors + lane));
    const auto after = hn::Max(before, hn::Ceil(product));
    const auto change = at_least(hn::Set(f, kLowest - 1.0F), hn::Sub(before, after));  // 2^-127: 0
    const auto kept = scaled(hn::Set(f, 1.0F), hn::Add(change, hn::Set(f, kInteger)));
    hn::StoreU(after, f, softmax.largest + lane);
    hn::StoreU(kept, f, softmax.kept + lane);
    hn::StoreU(hn::Mul(load(softmax.sums + lane), kept), f, softmax.sums + lane);
  }
}

// 2^(factor * score - shift), at most 1, to 2^-18.5 of itself; at least 2^-126 or so. |shift| <=
// kMostShift, an integer.
constexpr float kMostShift = 0x1p20F;
struct Power {
  Vector factor;
  Vector rest;   // kInteger - shift
  Vector least;  // score
};
HWY_INLINE Power power_of(Vector factor, Vector shift) {
  const Floats f;
  return {factor, hn::Sub(hn::Set(f, kInteger), shift),
          hn::Div(hn::Add(shift, hn::Set(f, kLowest)), factor)};
}

// 2^n times a minimax polynomial of the rest, n the nearest integer.
HWY_INLINE Vector raise_two(const Power& power, Vector score) {
  const Floats f;
  score = at_least(power.least, score);
  const auto n = hn::MulAdd(score, power.factor, power.rest);
  const auto r = hn::MulSub(score, power.factor, hn::Sub(n, power.rest));
  auto p = hn::MulAdd(hn::Set(f, 0.00957010201F), r, hn::Set(f, 0.0559178603F));
  p = hn::MulAdd(p, r, hn::Set(f, 0.240247448F));
  p = hn::MulAdd(p, r, hn::Set(f, 0.693121815F));
  p = hn::MulAdd(p, r, hn::Set(f, 0.999999261F));
  return scaled(p, n);
}

// Scores become factor * score - largest, of rounded products as largest is.
HWY_INLINE void subtract_largest(const Int16Weighing& weighing, const Pair& factor,
                                 const Pair& shift) {
  // Two loops, for a compiler may make one instruction of the product and the difference.
  for (int64_t i = 0; i < weighing.rows * kWidth; i += kWidth) {
    for (int half = 0; half < 2; ++half) {
      float* at = weighing.scores + i + half * kLanes;
      hn::StoreU(hn::Mul(load(at), factor[half]), Floats(), at);
    }
  }
  for (int64_t i = 0; i < weighing.rows * kWidth; i += kWidth) {
    for (int half = 0; half < 2; ++half) {
      float* at = weighing.scores + i + half * kLanes;
      const auto difference = hn::Sub(load(at), shift[half]);
      hn::StoreU(at_least(hn::Set(Floats(), kLowest), difference), Floats(), at);
    }
  }
}

// One half's scores become u. Returns the inverse of the steps.
HWY_INLINE Vector weigh_half(const Int16Weighing& weighing, int64_t lane, const Power& power) {
  const Floats f;
  const int64_t rows = weighing.rows;
  const float* value_scales = weighing.value_scales;
  float* scores = weighing.scores + lane;
  auto weights = hn::Zero(f);
  auto sums = hn::Zero(f);
  auto largest = hn::Zero(f);
  for (int64_t s = 0; s < rows; ++s) {
    float* at = scores + s * kWidth;
    const auto w = raise_two(power, load(at));
    const auto u = hn::Mul(w, hn::Set(f, value_scales[s]));
    weights = hn::Add(weights, w);
    sums = hn::Add(sums, u);
    largest = hn::Max(largest, u);
    hn::StoreU(u, f, at);
  }
  // Where nothing weighs, or NaN does, integers are of no account: the step is 0 or NaN.
  const auto step = hn::Max(hn::Mul(sums, hn::Set(f, 1.0F / kWeights)),
                            hn::Mul(largest, hn::Set(f, 1.0F / kLargest)));
  const auto weighs = hn::Ge(sums, hn::Set(f, kLeast));
  hn::StoreU(hn::IfThenElse(weighs, step, hn::Mul(sums, hn::Zero(f))), f,
             weighing.softmax.steps + lane);
  hn::StoreU(hn::Add(load(weighing.softmax.sums + lane), weights), f, weighing.softmax.sums + lane);
  return hn::IfThenElseZero(weighs, hn::Div(hn::Set(f, 1.0F), step));
}

// Scores become u. Returns the inverse of the steps.
HWY_INLINE void weigh_scores(const Int16Weighing& weighing, Pair& inverse) {
  const Floats f;
  Pair factor;
  Pair shift;
  load_pair(weighing.softmax.factors, factor);
  load_pair(weighing.softmax.largest, shift);
  const auto size = hn::Max(hn::Abs(shift[0]), hn::Abs(shift[1]));
  if (!hn::AllTrue(f, hn::Le(size, hn::Set(f, kMostShift)))) {
    subtract_largest(weighing, factor, shift);
    for (int i = 0; i < 2; ++i) {
      factor[i] = hn::Set(f, 1.0F);
      shift[i] = hn::Zero(f);
    }
  }
  for (int i = 0; i < 2; ++i) {
    inverse[i] = weigh_half(weighing, i * kLanes, power_of(factor[i], shift[i]));
  }
}

// p + 2^23 in the bits of a float: its last 23 are p.
constexpr float kIntegers = 8388608.0F;  // 0x4B000000
// The same for p + 0xB500. In the upper half of a word that cancels the upper half of kIntegers.
constexpr float kUpperIntegers = kIntegers + 46336.0F;

void weigh(const Int16Weighing& arguments) {
  const Int16Weighing weighing = arguments;
  raise_largest(weighing);
  Pair inverse;
  weigh_scores(weighing, inverse);
  const Floats f;
  const int64_t rows = weighing.rows;
  const float* scores = weighing.scores;
  if (rows % 2 != 0) {
    const Pair none = {hn::Zero(f), hn::Zero(f)};
    store_pair(none, weighing.scores + rows * kWidth);
  }
  int16_t* to = weighing.weights;
  const auto low = hn::Set(f, kIntegers);
  const auto high = hn::Set(f, kUpperIntegers);
  for (int64_t s = 0; s < rows; s += 2, scores += 2 * kWidth, to += 2 * kWidth) {
    for (int half = 0; half < 2; ++half) {
      const auto first = hn::MulAdd(load(scores + half * kLanes), inverse[half], low);
      const auto second = hn::MulAdd(load(scores + kWidth + half * kLanes), inverse[half], high);
      const auto upper = hn::ShiftLeft<16>(hn::BitCast(Ints(), second));
      store_words(hn::Add(hn::BitCast(Ints(), first), upper), to + half * kWidth);
    }
  }
}

}  // namespace

Int16PanelOps make_int16_panel_ops() {
  return {.width = kWidth,
          .pack_keys = pack_keys,
          .pack_queries = pack_queries,
          .pack_values = pack_values,
          .score = score,
          .add_biases = add_biases,
          .weigh = weigh,
          .mix = mix};
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(make_int16_panel_ops);

Int16PanelOps int16_panel_ops(Target target) {
  return pick(HWY_DISPATCH_TABLE(make_int16_panel_ops), target)();
}

}  // namespace slim
#endif
