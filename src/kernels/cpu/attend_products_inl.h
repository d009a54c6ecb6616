// The two products of attention on one tile of rows, as register blocks. Included once per target,
// inside foreach_target.
//
// Blocking, for 32 registers (16 in brackets):
//   score   6 x 4 (3 x 4) sums of query times row, vectors along the columns: 10 loads feed 24
//           multiply-adds. Four rows' sums are then folded together, 13 instructions a query.
//   mix     6 x 4 (6 x 2) sums of query times vector of columns, kept over the rows of the tile; a
//           row costs 4 loads and 6 broadcasts for 24 multiply-adds. The 64 x 64 columns in use are
//           16 KB and serve all parts of 6 queries.
// Queries are split evenly: 8 are 4 + 4, since 6 + 2 would leave 2 bound by loads.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_ATTEND_PRODUCTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_ATTEND_PRODUCTS_INL_H
#undef SLIM_KERNELS_CPU_ATTEND_PRODUCTS_INL_H
#else
#define SLIM_KERNELS_CPU_ATTEND_PRODUCTS_INL_H
#endif

#include <algorithm>
#include <array>
#include <cstddef>

#include "hwy/highway.h"
#include "kernels/cpu/attend_ops.h"
#include "kernels/cpu/lanes_inl.h"
#include "kernels/cpu/prefetch.h"
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL;
constexpr int64_t kScoreQueries = kManyRegisters ? 6 : 3;
constexpr int64_t kScoreRows = 4;
constexpr int64_t kMixQueries = 6;

// Vectors of columns that `queries` queries mix at once: what fits the registers, but enough
// independent sums (8) to hide the latency of an addition where there are few queries.
constexpr int64_t mix_vectors(int64_t queries) {
  if (kManyRegisters) return 4;
  return queries == 1 ? 8 : queries <= 3 ? 4 : 2;
}

// Rows of one tile, from their first column of interest on: in their page, or decoded.
template <typename T>
struct Tile {
  const T* data = nullptr;
  int64_t stride = 0;

  const T* row(int64_t s) const { return data + s * stride; }
};

// Queries against rows [begin, end) of a tile, columns [0, width) of both.
template <typename T>
struct Scoring {
  const float* const* queries = nullptr;
  float* const* weights = nullptr;
  Tile<T> keys;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t width = 0;
  float scale = 1.0F;
};

#if HWY_TARGET != HWY_SCALAR
// The sums over the lanes of four vectors, as the lanes of one.
template <class D>
HWY_INLINE hn::Vec<hn::FixedTag<float, 4>> fold(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return fold(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}
HWY_INLINE void store_sums(const Vector (&sums)[kScoreRows], float scale, float* to) {
  const Floats f;
  const hn::Repartition<double, Floats> pairs;
  const hn::FixedTag<float, 4> four;
  const auto fold_pairs = [&](Vector a, Vector b) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(f, a, b), hn::InterleaveUpper(f, a, b)));
  };
  // Lanes of every 128-bit block: a0+a2 b0+b2 a1+a3 b1+b3, and the same of c and d.
  const auto ab = fold_pairs(sums[0], sums[1]);
  const auto cd = fold_pairs(sums[2], sums[3]);
  const auto low = hn::BitCast(f, hn::InterleaveLower(pairs, ab, cd));
  const auto high = hn::BitCast(f, hn::InterleaveUpper(pairs, ab, cd));
  hn::StoreU(hn::Mul(fold(f, hn::Add(low, high)), hn::Set(four, scale)), four, to);
}
#else
HWY_INLINE void store_sums(const Vector (&sums)[kScoreRows], float scale, float* to) {
  for (int64_t r = 0; r < kScoreRows; ++r) to[r] = hn::GetLane(sums[r]) * scale;
}
#endif

// Q queries against four rows. Writes four weights of each query at `row`.
template <int64_t Q, typename T>
HWY_INLINE void score_four(const Scoring<T>& s, const T* const (&keys)[kScoreRows], int64_t row) {
  const Floats f;
  Vector sums[Q][kScoreRows];
  for (int64_t q = 0; q < Q; ++q) {
    for (int64_t r = 0; r < kScoreRows; ++r) sums[q][r] = hn::Zero(f);
  }
  int64_t k = 0;
  for (; k + kLanes <= s.width; k += kLanes) {
    Vector query[Q];
    for (int64_t q = 0; q < Q; ++q) query[q] = load(s.queries[q] + k);
    for (int64_t r = 0; r < kScoreRows; ++r) {
      const Vector key = load(keys[r] + k);
      for (int64_t q = 0; q < Q; ++q) sums[q][r] = hn::MulAdd(query[q], key, sums[q][r]);
    }
  }
  if (const int64_t rest = s.width - k; rest > 0) {
    for (int64_t r = 0; r < kScoreRows; ++r) {
      const Vector key = load_first(keys[r] + k, rest);
      for (int64_t q = 0; q < Q; ++q) {
        sums[q][r] = hn::MulAdd(load_first(s.queries[q] + k, rest), key, sums[q][r]);
      }
    }
  }
  for (int64_t q = 0; q < Q; ++q) store_sums(sums[q], s.scale, s.weights[q] + row);
}

// All rows of a scoring. The last row stands in for those that would make up the last four: their
// weights are written within the tile and never read.
template <int64_t Q, typename T>
void score(const Scoring<T>& s, Prefetch& prefetch) {
  for (int64_t row = s.begin; row < s.end; row += kScoreRows) {
    prefetch.advance(kScoreRows * Q * s.width);
    const T* keys[kScoreRows];
    for (int64_t r = 0; r < kScoreRows; ++r) {
      keys[r] = s.keys.row(std::min(row + r, s.end - 1));
    }
    score_four<Q, T>(s, keys, row);
  }
}

// Queries that mix the same columns of rows [begin, end) of a tile: `width` columns, those of the
// tile from its first on and those of each mixture from `column` on.
template <typename T>
struct Mixing {
  const float* const* weights = nullptr;  // of each query, by row of the tile
  float* const* mixed = nullptr;
  Tile<T> values;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t column = 0;
  int64_t width = 0;
};

// Columns [c, c + V vectors) for Q queries.
template <int64_t Q, int64_t V, typename T>
HWY_INLINE void mix_columns(const Mixing<T>& m, int64_t c, Prefetch& prefetch) {
  const Floats f;
  Vector sums[Q][V];
  const float* weights[Q];
  for (int64_t q = 0; q < Q; ++q) {
    weights[q] = m.weights[q];
    const float* mixed = m.mixed[q] + m.column + c;
    for (int64_t v = 0; v < V; ++v) sums[q][v] = load(mixed + v * kLanes);
  }
  const T* values = m.values.row(m.begin) + c;
  for (int64_t s = m.begin; s < m.end; ++s, values += m.values.stride) {
    if (s % kStripRows == 0) prefetch.advance(kStripRows * Q * V * kLanes);
    Vector value[V];
    for (int64_t v = 0; v < V; ++v) value[v] = load(values + v * kLanes);
    for (int64_t q = 0; q < Q; ++q) {
      const Vector weight = hn::Set(f, weights[q][s]);
      for (int64_t v = 0; v < V; ++v) sums[q][v] = hn::MulAdd(weight, value[v], sums[q][v]);
    }
  }
  for (int64_t q = 0; q < Q; ++q) {
    float* mixed = m.mixed[q] + m.column + c;
    for (int64_t v = 0; v < V; ++v) hn::StoreU(sums[q][v], f, mixed + v * kLanes);
  }
}

template <int64_t Q, typename T>
void mix(const Mixing<T>& m, Prefetch& prefetch) {
  constexpr int64_t kVectors = mix_vectors(Q);
  int64_t c = 0;
  for (; c + kVectors * kLanes <= m.width; c += kVectors * kLanes) {
    mix_columns<Q, kVectors>(m, c, prefetch);
  }
  for (; c + kLanes <= m.width; c += kLanes) mix_columns<Q, 1>(m, c, prefetch);
  for (; c < m.width; ++c) {
    for (int64_t q = 0; q < Q; ++q) {
      float sum = m.mixed[q][m.column + c];
      for (int64_t s = m.begin; s < m.end; ++s) {
        sum += m.weights[q][s] * to_float(m.values.row(s)[c]);
      }
      m.mixed[q][m.column + c] = sum;
    }
  }
}

template <typename T>
constexpr std::array kScore{&score<1, T>, &score<2, T>, &score<3, T>,
                            &score<4, T>, &score<5, T>, &score<6, T>};
template <typename T>
constexpr std::array kMix{&mix<1, T>, &mix<2, T>, &mix<3, T>, &mix<4, T>, &mix<5, T>, &mix<6, T>};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
