// The products of an encoder's attention in bf16: panels as those of product_ops.cpp, of words of
// two numbers, neighbours in depth. Each step multiplies one broadcast word of eight rows with the
// two vectors of a panel: 10 loads feed 16 instructions of 32 products.
//
// Scores become weights on their way to the second product, rounded; their sum is that of rounded
// weights, so that what rounding does to all of them alike is divided away.
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/cpu/bfloat16_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bfloat16_panels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/bfloat16_inl.h"
#include "kernels/cpu/transpose_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_AVX3_DL

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kWidth = kRoundedPanel;
constexpr int64_t kPairs = 2 * kLanes;  // numbers in a register
static_assert(kWidth == 2 * kLanes);

// `count` numbers and zeros behind them, at most a register's.
HWY_INLINE __m512i rounded(const float* from, int64_t count) {
  const auto part = [&](int64_t begin) HWY_ATTR {
    if (count >= begin + kLanes) return load(from + begin);
    return count > begin ? load_first(from + begin, count - begin) : hn::Zero(Floats());
  };
  return round_pairs(part(0), part(kLanes));
}

void round(const float* from, int64_t count, BFloat16* to) {
  for (int64_t i = 0; i < count; i += kPairs) {
    _mm512_storeu_si512(to + i, rounded(from + i, count - i));
  }
}

// ---- Packing -----------------------------------------------------------------------------------

// kPairs columns of kLanes rows, from (row, k) on, as words of a panel `depth` deep.
void pack_square(const ConstMatrix& matrix, int64_t row, int64_t k, int64_t depth, BFloat16* out) {
  alignas(64) float words[kLanes * kLanes];
  const auto pairs_of = [&](int64_t i) HWY_ATTR {
    const int64_t count = row + i < matrix.rows ? matrix.columns - k : 0;
    const float* from = count > 0 ? matrix.row<float>(row + i) + k : nullptr;
    return Vector{_mm512_castsi512_ps(rounded(from, count))};
  };
  transpose_square(pairs_of, words, kLanes);
  for (int64_t pair = 0; pair < kLanes && k + pair * 2 < depth; ++pair) {
    std::memcpy(out + pair * 2 * kWidth, words + pair * kLanes, sizeof(__m512i));
  }
}

// Rows are outputs.
void pack_rows(const ConstMatrix& matrix, BFloat16* panels) {
  const int64_t depth = (matrix.columns + 1) / 2 * 2;
  for (int64_t n = 0; n < matrix.rows; n += kWidth, panels += depth * kWidth) {
    for (int64_t k = 0; k < depth; k += kPairs) {
      BFloat16* out = panels + k * kWidth;
      pack_square(matrix, n, k, depth, out);
      pack_square(matrix, n + kLanes, k, depth, out + kPairs);
    }
  }
}

// Of two rows one after the other: a lane gets one number of either.
struct Interleaving {
  alignas(64) uint16_t from[kPairs];

  constexpr Interleaving() : from() {
    for (int i = 0; i < kPairs; ++i) from[i] = static_cast<uint16_t>(kLanes * (i % 2) + i / 2);
  }
};
constexpr Interleaving kInterleaving;

// Columns are outputs.
void pack_columns(const ConstMatrix& matrix, BFloat16* panels) {
  const __m512i interleaving = _mm512_load_si512(kInterleaving.from);
  for (int64_t n = 0; n < matrix.columns; n += kWidth) {
    for (int64_t k = 0; k < matrix.rows; k += 2) {
      for (int64_t side = 0; side < kWidth; side += kLanes, panels += kPairs) {
        const int64_t count = matrix.columns - n - side;
        const auto row = [&](int64_t i) HWY_ATTR {
          if (i >= matrix.rows || count <= 0) return hn::Zero(Floats());
          const float* from = matrix.row<float>(i) + n + side;
          return count >= kLanes ? load(from) : load_first(from, count);
        };
        const __m512i pairs = round_pairs(row(k), row(k + 1));
        _mm512_storeu_si512(panels, _mm512_permutexvar_epi16(interleaving, pairs));
      }
    }
  }
}

// ---- Products ----------------------------------------------------------------------------------

template <int rows>
HWY_INLINE void multiply_group(const RoundedPanelProduct& product, int64_t row,
                               const BFloat16* panel, float* tile) {
  __m512 sums[rows][2];
  for (auto& of_row : sums) {
    for (auto& sum : of_row) sum = _mm512_setzero_ps();
  }
  const BFloat16* a = product.a + row * product.a_stride;
  for (int64_t k = 0; k < product.depth; k += 2, panel += 2 * kWidth) {
    const __m512i w0 = load_pairs(panel);
    const __m512i w1 = load_pairs(panel + kPairs);
    for (int i = 0; i < rows; ++i) {
      int32_t word;
      std::memcpy(&word, a + i * product.a_stride + k, sizeof(word));
      const __m512i x = _mm512_set1_epi32(word);
      sums[i][0] = add_products(sums[i][0], x, w0);
      sums[i][1] = add_products(sums[i][1], x, w1);
    }
  }
  for (int i = 0; i < rows; ++i) {
    float* to = tile + (row + i) * product.tile_stride;
    _mm512_storeu_ps(to, sums[i][0]);
    _mm512_storeu_ps(to + kLanes, sums[i][1]);
  }
}

void multiply_panels(const RoundedPanelProduct& product) {
  for (int64_t p = 0; p < product.panel_count; ++p) {
    const BFloat16* panel = product.panels + p * product.depth * kWidth;
    float* tile = product.tile + p * kWidth;
    int64_t row = 0;
    for (; row + 8 <= product.rows; row += 8) multiply_group<8>(product, row, panel, tile);
    for (; row + 4 <= product.rows; row += 4) multiply_group<4>(product, row, panel, tile);
    for (; row < product.rows; ++row) multiply_group<1>(product, row, panel, tile);
  }
}

// ---- Weights -----------------------------------------------------------------------------------

// 2^y to 2^-18 of itself, 512 times as fine as it is then rounded: 2^floor(y) times a minimax
// polynomial of the fraction. NaN stays; 0 for -infinity.
HWY_INLINE Vector power_of_two(Vector y) {
  const Floats f;
  const __m512 exponent = _mm512_max_ps(_mm512_set1_ps(-200.0F), y.raw);  // or NaN
  const Vector r{_mm512_reduce_ps(exponent, 1)};                          // less its floor
  auto p = hn::MulAdd(hn::Set(f, 0.0134266838F), r, hn::Set(f, 0.0522424728F));
  p = hn::MulAdd(p, r, hn::Set(f, 0.241280198F));
  p = hn::MulAdd(p, r, hn::Set(f, 0.693044841F));
  p = hn::MulAdd(p, r, hn::Set(f, 1.0F));
  return Vector{_mm512_scalef_ps(p.raw, exponent)};
}

float exponentiate(float* row, int64_t count, float scale, BFloat16* to) {
  const Floats f;
  const int64_t filled = (count + kPairs - 1) / kPairs * kPairs;
  for (int64_t i = count; i < filled; ++i) row[i] = -HUGE_VALF;
  // A NaN may be passed over: it reappears in the sum.
  auto low = load(row);
  auto high = load(row + kLanes);
  for (int64_t i = kPairs; i < filled; i += kPairs) {
    low = hn::Max(low, load(row + i));
    high = hn::Max(high, load(row + i + kLanes));
  }
  const auto factor = hn::Set(f, scale * 1.44269504F);  // 1 / ln 2
  const auto shift = hn::Mul(hn::MaxOfLanes(f, hn::Max(low, high)), factor);
  const __m512i ones = _mm512_set1_epi32(0x3F803F80);
  __m512 sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < filled; i += kPairs) {
    const auto weights = [&](int64_t at) HWY_ATTR {
      return power_of_two(hn::MulSub(load(row + at), factor, shift));
    };
    const __m512i pairs = round_pairs(weights(i), weights(i + kLanes));
    _mm512_storeu_si512(to + i, pairs);
    sum = add_products(sum, pairs, ones);
  }
  return hn::GetLane(hn::SumOfLanes(f, Vector{sum}));
}

#endif

}  // namespace

#if HWY_TARGET == HWY_AVX3_DL
Bfloat16PanelOps make_bfloat16_panel_ops() {
  return {.round = round,
          .pack_rows = pack_rows,
          .pack_columns = pack_columns,
          .multiply_panels = multiply_panels,
          .exponentiate = exponentiate};
}
#else
Bfloat16PanelOps make_bfloat16_panel_ops() { return {}; }
#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(make_bfloat16_panel_ops);

Bfloat16PanelOps bfloat16_panel_ops(Target target) {
  return pick(HWY_DISPATCH_TABLE(make_bfloat16_panel_ops), target)();
}

}  // namespace slim
#endif
