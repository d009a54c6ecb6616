// Attention's two products on a tile of bf16 rows, as register blocks:
//   score   6 x 4 sums of query times row, vectors along the columns, two columns a lane: 10 loads
//           feed 24 instructions of 32 products. Four rows' sums are then folded together.
//   mix     6 x 4 sums of query times vector of columns, over pairs of rows: two rows are
//           interleaved, so that a lane holds one column of both, and meet the pair's two weights.
#include "kernels/cpu/bfloat16_ops.h"

#include <array>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bfloat16_ops.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/attend_products_inl.h"
#include "kernels/cpu/bfloat16_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3_DL

// ---- Scores -----------------------------------------------------------------------------------

template <int64_t Q>
HWY_INLINE void score_four(const RoundedScoring& s, int64_t row) {
  const BFloat16* keys[kScoreRows];
  for (int64_t r = 0; r < kScoreRows; ++r) {
    keys[r] = s.rows + std::min(row + r, s.end - 1) * s.stride;
  }
  __m512 sums[Q][kScoreRows];
  for (auto& of_query : sums) {
    for (auto& sum : of_query) sum = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < s.width; k += kRoundedColumns) {
    __m512i query[Q];
    for (int64_t q = 0; q < Q; ++q) query[q] = load_pairs(s.queries[q] + k);
    for (int64_t r = 0; r < kScoreRows; ++r) {
      const __m512i key = load_pairs(keys[r] + k);
      for (int64_t q = 0; q < Q; ++q) sums[q][r] = add_products(sums[q][r], query[q], key);
    }
  }
  for (int64_t q = 0; q < Q; ++q) {
    Vector of_rows[kScoreRows];
    for (int64_t r = 0; r < kScoreRows; ++r) of_rows[r] = Vector{sums[q][r]};
    store_sums(of_rows, s.scale, s.weights[q] + row);
  }
}

template <int64_t Q>
void score(const RoundedScoring& s, Prefetch& prefetch) {
  for (int64_t row = s.begin; row < s.end; row += kScoreRows) {
    prefetch.advance(kScoreRows * Q * s.width);
    score_four<Q>(s, row);
  }
}

// ---- Mixtures ---------------------------------------------------------------------------------

// Where the lanes of two interleaved rows come from: 32 + i is the second row's.
struct Interleaving {
  alignas(64) uint16_t from[2][32];

  constexpr Interleaving() : from() {
    for (int side = 0; side < 2; ++side) {
      for (int i = 0; i < 32; ++i) {
        from[side][i] = static_cast<uint16_t>(16 * side + i / 2 + 32 * (i % 2));
      }
    }
  }
};
constexpr Interleaving kInterleaving;

// V vectors of 16 columns, an even number. `word(q)`: the two weights of query q.
template <int64_t Q, int64_t V, typename Word>
HWY_INLINE void mix_rows(__m512 (&sums)[Q][V], const BFloat16* first, const BFloat16* second,
                         const Word& word) {
  const __m512i low = _mm512_load_si512(kInterleaving.from[0]);
  const __m512i high = _mm512_load_si512(kInterleaving.from[1]);
  __m512i values[V];
  for (int64_t v = 0; v < V; v += 2) {
    const __m512i a = load_pairs(first + v * 16);
    const __m512i b = second == nullptr ? _mm512_setzero_si512() : load_pairs(second + v * 16);
    values[v] = _mm512_permutex2var_epi16(a, low, b);
    values[v + 1] = _mm512_permutex2var_epi16(a, high, b);
  }
  for (int64_t q = 0; q < Q; ++q) {
    const __m512i weights = _mm512_set1_epi32(word(q));
    for (int64_t v = 0; v < V; ++v) sums[q][v] = add_products(sums[q][v], values[v], weights);
  }
}

template <int64_t Q, int64_t V>
HWY_INLINE void mix_columns(const RoundedMixing& m, int64_t c, Prefetch& prefetch) {
  const auto pair = [&](int64_t q, int64_t s) HWY_ATTR {
    int32_t word;
    std::memcpy(&word, m.weights[q] + s, sizeof(word));
    return word;
  };
  __m512 sums[Q][V];
  for (int64_t q = 0; q < Q; ++q) {
    for (int64_t v = 0; v < V; ++v) sums[q][v] = _mm512_loadu_ps(m.mixed[q] + c + v * 16);
  }
  const BFloat16* row = m.rows + m.begin * m.stride + c;
  int64_t s = m.begin;
  for (; s + 2 <= m.end; s += 2, row += 2 * m.stride) {
    if ((s - m.begin) % 16 == 0) prefetch.advance(16 * Q * V * 16);
    mix_rows<Q, V>(sums, row, row + m.stride, [&](int64_t q) HWY_ATTR { return pair(q, s); });
  }
  // A row beyond the end may be anything; a weight beyond the tile's last is not there.
  if (s < m.end) {
    mix_rows<Q, V>(sums, row, nullptr,
                   [&](int64_t q) HWY_ATTR { return int32_t{m.weights[q][s].bits}; });
  }
  for (int64_t q = 0; q < Q; ++q) {
    for (int64_t v = 0; v < V; ++v) _mm512_storeu_ps(m.mixed[q] + c + v * 16, sums[q][v]);
  }
}

template <int64_t Q>
void mix(const RoundedMixing& m, Prefetch& prefetch) {
  int64_t c = 0;
  for (; c + 64 <= m.width; c += 64) mix_columns<Q, 4>(m, c, prefetch);
  for (; c < m.width; c += 32) mix_columns<Q, 2>(m, c, prefetch);
}

// ---- By number of queries ---------------------------------------------------------------------

void score_queries(const RoundedScoring& scoring, int64_t queries, Prefetch& prefetch) {
  constexpr std::array kScores{&score<1>, &score<2>, &score<3>, &score<4>, &score<5>, &score<6>};
  static_assert(kScores.size() == kRoundedQueries);
  kScores[static_cast<size_t>(queries - 1)](scoring, prefetch);
}

void mix_queries(const RoundedMixing& mixing, int64_t queries, Prefetch& prefetch) {
  constexpr std::array kMixes{&mix<1>, &mix<2>, &mix<3>, &mix<4>, &mix<5>, &mix<6>};
  static_assert(kMixes.size() == kRoundedQueries);
  kMixes[static_cast<size_t>(queries - 1)](mixing, prefetch);
}

#endif

}  // namespace

#if HWY_TARGET == HWY_AVX3_DL
Bfloat16Ops make_bfloat16_ops() { return {{}, score_queries, mix_queries}; }
#else
Bfloat16Ops make_bfloat16_ops() { return {}; }
#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(make_bfloat16_ops);

bool has_bfloat16_ops(Target target) { return bfloat16_ops(target).mix != nullptr; }

Bfloat16Ops bfloat16_ops(Target target) {
#if HWY_ARCH_X86
  static const bool has = __builtin_cpu_supports("avx512bf16") != 0;
#else
  constexpr bool has = false;
#endif
  if (!has) return {};
  Bfloat16Ops ops = pick(HWY_DISPATCH_TABLE(make_bfloat16_ops), target)();
  return ops;
}

}  // namespace slim
#endif
