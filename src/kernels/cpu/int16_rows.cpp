// Attention's two products on a tile of i16 rows, as register blocks, for 16 registers (32):
//   score   6 x 2 (6 x 4) sums of query times row, vectors along the columns, two columns a lane: 8
//           (10) loads feed 12 (24) products of pairs. Four sums are then folded together.
//   mix     6 x 2 (6 x 4) sums of query times vector of columns, over pairs of rows: two rows are
//           interleaved, so that a lane holds one column of both, and meet the pair's two weights.
// Without VNNI a product of pairs is two instructions, for 16 numbers of 256 bits where a
// multiply-add of f32 takes 8 in one: what is won is that additions have more units. On Zen 3 12
// products and additions take 7.3 clocks, in any order; 24 multiply-adds take 12.
#include "kernels/cpu/int16_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/int16_rows.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/int16_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

// Of the scale t: the integers' sum is at most 65,472 + 64 / 2 and rounding, the largest 32,767.
constexpr float kMostOfAll = 65472.0F;
constexpr float kMostOfOne = 32767.0F;
constexpr float kLeastOfAll = 0x1p-100F;
constexpr float kLeastNumber = 0x1p-110F;  // below, all counts as zeros

// By integer_scale()'s formula, but three times as fast: squares are those of shares of the largest
// number, which f32 holds whatever their size. (The formula leaves room for f32's rounding.)
float round_numbers(const float* from, int64_t count, int16_t* to) {
  const Floats f;
  const hn::Rebind<int16_t, Floats> halves;
  Vector most = hn::Zero(f);
  for (int64_t i = 0; i < count; i += kLanes) most = hn::Max(hn::Abs(load(from + i)), most);
  const float largest = hn::GetLane(hn::MaxOfLanes(f, most));
  const bool none = largest < kLeastNumber;
  const Vector share = hn::Set(f, none ? 1.0F : 1.0F / largest);
  Vector sums[2] = {hn::Zero(f), hn::Zero(f)};
  for (int64_t i = 0; i < count; i += 2 * kLanes) {
    for (int64_t v = 0; v < 2; ++v) {
      const Vector value = hn::Mul(load(from + i + v * kLanes), share);
      sums[v] = hn::MulAdd(value, value, sums[v]);
    }
  }
  const float squares = hn::GetLane(hn::SumOfLanes(f, hn::Add(sums[0], sums[1])));
  if (none || std::isnan(squares)) {  // infinity: by infinity, or by its share, which is 0
    std::fill_n(to, count, int16_t{0});
    return std::isnan(squares) ? squares : 0.0F;
  }
  const float scale = largest * std::max(std::sqrt(squares) / 46000.0F, 1.0F / 32767.0F);
  const Vector by = hn::Set(f, 1.0F / scale);
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto whole = hn::NearestInt(hn::Mul(load(from + i), by));
    hn::StoreU(hn::DemoteTo(halves, whole), halves, to + i);
  }
  return scale;
}

// scales[s] = that of row s of the tile, for begin <= s < end, else 0; shares[s] = scales[s] / the
// largest of those that are not NaN, which is returned.
float gather_scales(const Int16Tile& tile, float* scales, float* shares) {
  const Floats f;
  const auto* at = reinterpret_cast<const std::byte*>(tile.rows) + 2 * tile.width;
  std::fill_n(scales, kPageRows, 0.0F);
  for (int64_t s = tile.begin; s < tile.end; ++s) {
    std::memcpy(scales + s, at + 2 * s * tile.stride, sizeof(float));
  }
  Vector most = hn::Zero(f);
  for (int64_t s = 0; s < kPageRows; s += kLanes) most = hn::Max(load(scales + s), most);
  const float largest = hn::GetLane(hn::MaxOfLanes(f, most));
  const Vector by = hn::Set(f, largest == 0.0F ? 1.0F : largest);
  for (int64_t s = 0; s < kPageRows; s += kLanes) {
    hn::StoreU(hn::Div(load(scales + s), by), f, shares + s);
  }
  return largest;
}

float round_weights(const float* weights, const float* scales, int16_t* to) {
  const Floats f;
  const hn::Rebind<int16_t, Floats> halves;
  Vector shares[kPageRows / kLanes];
  Vector sums = hn::Zero(f);
  Vector most = sums;
  for (int64_t v = 0; v < kPageRows / kLanes; ++v) {
    const Vector weight = load(weights + v * kLanes);
    const Vector share = hn::Mul(weight, load(scales + v * kLanes));
    shares[v] = hn::IfThenZeroElse(hn::Eq(weight, hn::Zero(f)), share);
    sums = hn::Add(sums, shares[v]);
    most = hn::Max(most, shares[v]);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(f, sums));
  if (!(sum >= kLeastOfAll)) {
    std::fill_n(to, kPageRows, int16_t{0});
    return std::isnan(sum) ? sum : 0.0F;
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(f, most));
  const float step = std::max(sum / kMostOfAll, largest / kMostOfOne);
  const Vector by = hn::Set(f, 1.0F / step);
  for (int64_t v = 0; v < kPageRows / kLanes; ++v) {
    const auto whole = hn::NearestInt(hn::Mul(shares[v], by));
    hn::StoreU(hn::DemoteTo(halves, whole), halves, to + v * kLanes);
  }
  return step;
}

#if HWY_TARGET != HWY_SCALAR

constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL;
using FourInts = hn::FixedTag<int32_t, 4>;
using FourFloats = hn::FixedTag<float, 4>;

using Int16s = hn::Repartition<int16_t, Ints>;

HWY_INLINE IntVector load_pairs(const int16_t* from) {
  IntVector pairs = hn::BitCast(Ints(), hn::LoadU(Int16s(), from));
#if HWY_COMPILER_GCC_ACTUAL && HWY_TARGET != HWY_EMU128
  // Loaded once: GCC would rather read memory again in every product.
  __asm__("" : "+v"(pairs.raw));
#endif
  return pairs;
}

// ---- Scores -----------------------------------------------------------------------------------

// Rows that meet Q queries at once.
constexpr int64_t score_rows(int64_t queries) { return kManyRegisters || queries <= 2 ? 4 : 2; }

// The sums over the lanes of every block of 128 bits, joined.
template <class D>
HWY_INLINE hn::Vec<FourInts> fold_blocks(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return fold_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}

// The sums over the lanes of four vectors.
HWY_INLINE hn::Vec<FourFloats> fold_four(PairSums a, PairSums b, PairSums c, PairSums d) {
  const Ints i;
  const hn::Repartition<int64_t, Ints> pairs;
  const auto fold_pairs = [&](IntVector x, IntVector y) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(i, x, y), hn::InterleaveUpper(i, x, y)));
  };
  // Lanes of every block: a0+a2 b0+b2 a1+a3 b1+b3, and the same of c and d.
  const auto ab = fold_pairs(lanes_of(a), lanes_of(b));
  const auto cd = fold_pairs(lanes_of(c), lanes_of(d));
  const auto low = hn::BitCast(i, hn::InterleaveLower(pairs, ab, cd));
  const auto high = hn::BitCast(i, hn::InterleaveUpper(pairs, ab, cd));
  return hn::ConvertTo(FourFloats(), fold_blocks(i, hn::Add(low, high)));
}

// The sums of Q queries and R rows from `row` on, to be scaled.
template <int64_t Q, int64_t R>
HWY_INLINE void store_scores(const Int16Scoring& s, const PairSums (&sums)[Q][R], int64_t row) {
  const FourFloats four;
  if constexpr (R == 4) {
    for (int64_t q = 0; q < Q; ++q) {
      hn::StoreU(fold_four(sums[q][0], sums[q][1], sums[q][2], sums[q][3]), four,
                 s.weights[q] + row);
    }
  } else {
    const hn::FixedTag<float, 2> two;
    for (int64_t q = 0; q < Q; q += 2) {
      const int64_t other = std::min(q + 1, Q - 1);
      const auto sum = fold_four(sums[q][0], sums[q][1], sums[other][0], sums[other][1]);
      hn::StoreU(hn::LowerHalf(two, sum), two, s.weights[q] + row);
      hn::StoreU(hn::UpperHalf(two, sum), two, s.weights[other] + row);
    }
  }
}

template <int64_t Q, int64_t R>
HWY_INLINE void score_rows(const Int16Scoring& s, int64_t row) {
  const int16_t* rows[R];
  for (int64_t r = 0; r < R; ++r) rows[r] = s.rows + std::min(row + r, s.end - 1) * s.stride;
  const int16_t* queries[Q];
  for (int64_t q = 0; q < Q; ++q) queries[q] = s.queries[q];
  PairSums sums[Q][R];
  for (auto& of_query : sums) {
    for (auto& sum : of_query) sum = PairSums{};
  }
  for (int64_t k = 0; k < s.width; k += 2 * kLanes) {
    IntVector keys[R];
    for (int64_t r = 0; r < R; ++r) keys[r] = load_pairs(rows[r] + k);
    for (int64_t q = 0; q < Q; ++q) {
      const IntVector query = load_pairs(queries[q] + k);
      for (int64_t r = 0; r < R; ++r) multiply_pairs(query, keys[r], sums[q][r]);
    }
  }
  store_scores<Q, R>(s, sums, row);
}

template <int64_t Q>
void score(const Int16Scoring& s, Prefetch& prefetch) {
  constexpr int64_t kRows = score_rows(Q);
  for (int64_t row = s.begin; row < s.end; row += kRows) {
    if (row % 4 == 0) prefetch.advance(4 * Q * s.width);
    score_rows<Q, kRows>(s, row);
  }
  const Floats f;
  for (int64_t q = 0; q < Q; ++q) {
    const Vector factor = hn::Set(f, s.factors[q]);
    for (int64_t row = s.begin; row < s.end; row += kLanes) {
      const Vector sum = load(s.weights[q] + row);
      hn::StoreU(hn::Mul(sum, hn::Mul(factor, load(s.scales + row))), f, s.weights[q] + row);
    }
  }
}

// ---- Mixtures ---------------------------------------------------------------------------------

// Vectors of sums a query has at once, an even number: what fits the registers, and more where few
// queries leave room.
constexpr int64_t mix_vectors(int64_t queries) { return kManyRegisters || queries <= 2 ? 4 : 2; }

// Two vectors of sums, of columns as interleaving blocks of 128 bits leaves them (4 of each 8 to
// either), in the order of columns.
HWY_INLINE void order_columns(IntVector low, IntVector high, IntVector& first, IntVector& second) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const __m512i lower = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i upper = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  first = IntVector{_mm512_permutex2var_epi64(low.raw, lower, high.raw)};
  second = IntVector{_mm512_permutex2var_epi64(low.raw, upper, high.raw)};
#else
  static_assert(kLanes <= 8);
  const bool one = kLanes == 4;  // block, which is in order
  first = one ? low : hn::ConcatLowerLower(Ints(), high, low);
  second = one ? high : hn::ConcatUpperUpper(Ints(), high, low);
#endif
}

// Columns [c, c + V vectors) for Q queries.
template <int64_t Q, int64_t V>
HWY_INLINE void mix_columns(const Int16Mixing& m, int64_t c, Prefetch& prefetch) {
  const Int16s i16;
  const Floats f;
  const int16_t* weights[Q];
  for (int64_t q = 0; q < Q; ++q) weights[q] = m.weights[q];
  PairSums sums[Q][V];
  for (auto& of_query : sums) {
    for (auto& sum : of_query) sum = PairSums{};
  }
  int64_t s = m.begin / 2 * 2;
  const int16_t* row = m.rows + s * m.stride + c;
  for (; s < m.end; s += 2, row += 2 * m.stride) {
    if (s % 32 == 0) prefetch.advance(32 * Q * V * kLanes);
    IntVector values[V];
    for (int64_t v = 0; v < V; v += 2) {
      const auto a = hn::LoadU(i16, row + v * kLanes);
      const auto b = hn::LoadU(i16, row + m.stride + v * kLanes);
      values[v] = hn::BitCast(Ints(), hn::InterleaveLower(i16, a, b));
      values[v + 1] = hn::BitCast(Ints(), hn::InterleaveUpper(i16, a, b));
    }
    for (int64_t q = 0; q < Q; ++q) {
      int32_t pair;
      std::memcpy(&pair, weights[q] + s, sizeof(pair));
      const IntVector weight = hn::Set(Ints(), pair);
      for (int64_t v = 0; v < V; ++v) multiply_pairs(values[v], weight, sums[q][v]);
    }
  }
  for (int64_t q = 0; q < Q; ++q) {
    const Vector factor = hn::Set(f, m.factors[q]);
    float* mixed = m.mixed[q] + c;
    for (int64_t v = 0; v < V; v += 2) {
      IntVector ordered[2];
      order_columns(lanes_of(sums[q][v]), lanes_of(sums[q][v + 1]), ordered[0], ordered[1]);
      for (int64_t i = 0; i < 2; ++i) {
        float* to = mixed + (v + i) * kLanes;
        hn::StoreU(hn::MulAdd(hn::ConvertTo(f, ordered[i]), factor, load(to)), f, to);
      }
    }
  }
}

template <int64_t Q>
void mix(const Int16Mixing& m, Prefetch& prefetch) {
  constexpr int64_t kVectors = mix_vectors(Q);
  int64_t c = 0;
  for (; c + kVectors * kLanes <= m.width; c += kVectors * kLanes) {
    mix_columns<Q, kVectors>(m, c, prefetch);
  }
  for (; c < m.width; c += 2 * kLanes) mix_columns<Q, 2>(m, c, prefetch);
}

// ---- By number of queries ---------------------------------------------------------------------

void score_queries(const Int16Scoring& scoring, int64_t queries, Prefetch& prefetch) {
  constexpr std::array kScores{&score<1>, &score<2>, &score<3>, &score<4>, &score<5>, &score<6>};
  static_assert(kScores.size() == kRoundedQueries);
  kScores[static_cast<size_t>(queries - 1)](scoring, prefetch);
}

void mix_queries(const Int16Mixing& mixing, int64_t queries, Prefetch& prefetch) {
  constexpr std::array kMixes{&mix<1>, &mix<2>, &mix<3>, &mix<4>, &mix<5>, &mix<6>};
  static_assert(kMixes.size() == kRoundedQueries);
  kMixes[static_cast<size_t>(queries - 1)](mixing, prefetch);
}

#else  // plain loops

void score_queries(const Int16Scoring& s, int64_t queries, Prefetch& /*prefetch*/) {
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t row = s.begin; row < s.end; ++row) {
      const int16_t* key = s.rows + row * s.stride;
      int32_t sum = 0;
      for (int64_t k = 0; k < s.width; ++k) sum += int32_t{s.queries[q][k]} * key[k];
      s.weights[q][row] = static_cast<float>(sum) * (s.factors[q] * s.scales[row]);
    }
  }
}

void mix_queries(const Int16Mixing& m, int64_t queries, Prefetch& /*prefetch*/) {
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t c = 0; c < m.width; ++c) {
      int32_t sum = 0;
      for (int64_t s = m.begin; s < m.end; ++s) {
        sum += int32_t{m.weights[q][s]} * m.rows[s * m.stride + c];
      }
      m.mixed[q][c] += static_cast<float>(sum) * m.factors[q];
    }
  }
}

#endif

}  // namespace

Int16RowOps make_int16_row_ops() {
  return {round_numbers, gather_scales, round_weights, score_queries, mix_queries};
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(make_int16_row_ops);

Int16RowOps int16_row_ops(Target target) {
  return pick(HWY_DISPATCH_TABLE(make_int16_row_ops), target)();
}

}  // namespace slim
#endif
