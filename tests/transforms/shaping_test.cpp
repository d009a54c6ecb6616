// The sealing factor: that it is a Cholesky factor of what it stands for, and that rows sealed with
// it come out closer through the value map than rows rounded plainly.
#include "transforms/shaping.h"

#include "transforms/conditioning.h"
#include "transforms/matrices.h"

namespace slim {
namespace {

constexpr int64_t kWidth = 64;
constexpr int64_t kSpill = 8;

// A layer with singular values of W_K down to 1e-4, and its map with spill.
struct Layer {
  Dense keys = with_singular_values(kWidth, geometric(kWidth, 1e4), 1);
  Dense values = random_matrix(kWidth, kWidth, 3);
  ValueMap map = value_map(stored(keys), stored(values), {.spill = kSpill, .rounded = true});
  RowPowers powers = row_powers(stored(keys), stored(values), map);
  Dense rows = stack(keys, to_dense(map.spill, "spill"));  // [e + r, D]
};

TEST(Shaping, IsTheCholeskyFactorOfItsDamage) {
  const Layer layer;
  const DenseF32 map = row_map(layer.map);
  const ExactShaping shaping = exact_shaping(map, layer.powers, {.rank = 12, .lambda = 0.5});
  const auto width = static_cast<int64_t>(shaping.order.size());
  ASSERT_EQ(width, kWidth + kSpill);
  // L by rows and columns in order, from L_ij = L_jj (u_i . g_j).
  Dense lower(width, width);
  Dense expected(width, width);
  for (int64_t a = 0; a < width; ++a) {
    const int32_t i = shaping.order[static_cast<size_t>(a)];
    for (int64_t b = 0; b <= a; ++b) {
      const int32_t j = shaping.order[static_cast<size_t>(b)];
      double ratio = 0;
      for (int64_t c = 0; c < 12; ++c) {
        ratio += shaping.low_rank.at(i, c) * shaping.gains.at(j, c);
        expected.at(a, b) += shaping.low_rank.at(i, c) * shaping.low_rank.at(j, c);
      }
      if (a == b) expected.at(a, b) += shaping.diagonal[static_cast<size_t>(i)];
      expected.at(b, a) = expected.at(a, b);
      const double pivot = std::sqrt(shaping.pivots[static_cast<size_t>(j)]);
      lower.at(a, b) = a == b ? pivot : pivot * ratio;
    }
  }
  const Dense found = naive_product(lower, transpose(lower));
  for (int64_t a = 0; a < width; ++a) {
    for (int64_t b = 0; b < width; ++b) {
      EXPECT_NEAR(found.at(a, b), expected.at(a, b),
                  1e-10 * std::sqrt(expected.at(a, a) * expected.at(b, b)));
    }
  }
  // The diagonal of H is that of the whole damage, whatever the rank.
  for (int64_t a = 0; a < width; ++a) {
    const int32_t j = shaping.order[static_cast<size_t>(a)];
    double whole = j < kWidth ? 1 / layer.powers.row[static_cast<size_t>(j)] : 0;
    for (int64_t i = 0; i < kWidth; ++i) {
      whole += 0.5 * double{map.at(i, j)} * map.at(i, j) / layer.powers.value;
    }
    EXPECT_NEAR(expected.at(a, a), whole, 1e-5 * whole);
  }
}

// Iterations in single precision, on maps that amplify by up to cond(W_K), against an SVD in
// double: as much of the damage is in the factor, to the 1e-3 that iterations stop at.
TEST(Shaping, HoldsTheStrongestPartOfIllConditionedMaps) {
  constexpr int64_t kWide = 160;
  constexpr int64_t kRank = 24;
  for (const double condition : {1e2, 1e4, 1e6}) {
    const Dense keys = with_singular_values(kWide, geometric(kWide, condition), 11);
    const Dense values = random_matrix(kWide, kWide, 12);
    const ExactValueMap exact = exact_value_map(keys, values, kSpill);
    const RowPowers powers = with_spill(row_powers(keys, values, nullptr), exact.spill);
    const ExactShaping shaping = exact_shaping(row_map(exact), powers, {.rank = kRank});
    Dense scaled = widen(row_map(exact));
    for (int64_t i = 0; i < scaled.rows; ++i) {
      for (int64_t j = 0; j < scaled.columns; ++j) {
        scaled.at(i, j) *= std::sqrt(powers.row[static_cast<size_t>(j)]);
      }
    }
    const std::vector<double> strengths = svd(scaled).values;
    double expected = 0;
    for (int64_t c = 0; c < kRank; ++c) {
      expected += std::pow(strengths[static_cast<size_t>(c)], 2) * 0.5 / powers.value;
    }
    double found = 0;
    for (int64_t j = 0; j < shaping.low_rank.rows; ++j) {
      for (int64_t c = 0; c < kRank; ++c) {
        found += std::pow(shaping.low_rank.at(j, c), 2) * powers.row[static_cast<size_t>(j)];
      }
    }
    EXPECT_NEAR(found / expected, 1, 3e-3) << condition;
  }
}

// Mean squares, relative, of what sealing 640 random rows does to keys and values.
RowError measure(const Layer& layer, const RowFormat& format, const Shaping* shaping) {
  constexpr int64_t kTokens = 10 * kPageRows;
  const Dense x = random_matrix(kTokens, kWidth, 5);
  const Dense exact = naive_product(x, transpose(layer.rows));
  Dense error = exact;
  std::vector<std::byte> page(static_cast<size_t>(format.page_bytes()));
  std::vector<float> decoded(static_cast<size_t>(format.width));
  for (int64_t begin = 0; begin < kTokens; begin += kPageRows) {
    std::vector<float> rows(exact.row(begin), exact.row(begin) + kPageRows * format.width);
    seal_page(format, rows.data(), shaping, page.data());
    for (int64_t row = 0; row < kPageRows; ++row) {
      decode_sealed_row(format, page.data(), row, decoded.data());
      for (int64_t j = 0; j < format.width; ++j) {
        error.at(begin + row, j) = decoded[static_cast<size_t>(j)] - exact.at(begin + row, j);
      }
    }
  }
  RowError result;
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t j = 0; j < kWidth; ++j) {
      result.scores += error.at(t, j) * error.at(t, j) / layer.powers.row[static_cast<size_t>(j)];
    }
  }
  const Dense through = naive_product(error, transpose(widen(row_map(layer.map))));
  for (const double value : through.values) result.values += value * value / layer.powers.value;
  result.scores = std::sqrt(result.scores / static_cast<double>(kTokens * kWidth));
  result.values = std::sqrt(result.values / static_cast<double>(kTokens * kWidth));
  return result;
}

// With every direction in the factor the damage is that of nearest plane on all of H; 12 bits keep
// clear of the clipping that the recurrence meets in few bits. Less than half in values, while
// scores lose less than a factor of three: that is the trade that lambda makes.
TEST(Shaping, LowersTheDamageOfSealedRows) {
  const Layer layer;
  const RowFormat format{DType::f32, kWidth + kSpill, 12, Scaling::channel};
  const RowError plain = measure(layer, format, nullptr);
  double last = predicted_divergence(plain);
  for (const int64_t rank : {8, 32, 72}) {
    const ShapingFactor factor = shaping_factor(layer.map, layer.powers, {.rank = rank});
    EXPECT_EQ(factor.bytes(), (kWidth + kSpill) * (rank * 4 + 4));
    const Shaping view = factor.view();
    const RowError shaped = measure(layer, format, &view);
    EXPECT_LT(shaped.scores, 3 * plain.scores) << rank;
    EXPECT_LT(predicted_divergence(shaped), 1.001 * last) << rank;
    last = predicted_divergence(shaped);
    EXPECT_LT(shaped.values, (rank == 72 ? 0.5 : 1.0) * plain.values) << rank;
  }
}

// 640 rows and the spread of ranges between pages leave some percent; a fifth on amplitudes also
// covers that scales may be made with or without a middle (2.37 or 2.65 deviations).
TEST(Conditioning, PredictsWhatSealingDoes) {
  const Layer layer;
  const DenseF32 map = row_map(layer.map);
  const ShapingOptions options{.rank = 72};
  const ExactShaping exact = exact_shaping(map, layer.powers, options);
  const ShapingFactor factor = shaping_factor(layer.map, layer.powers, options);
  const Shaping view = factor.view();
  for (const int bits : {16, 12, 8}) {
    const RowFormat format{DType::f32, kWidth + kSpill, bits, Scaling::channel};
    const RowError plain = measure(layer, format, nullptr);
    const RowError plain_predicted = predict_keys(format, map, layer.powers);
    EXPECT_NEAR(plain_predicted.scores / plain.scores, 1, 0.2) << bits;
    EXPECT_NEAR(plain_predicted.values / plain.values, 1, 0.2) << bits;
    const RowError shaped = measure(layer, format, &view);
    const RowError shaped_predicted = predict_keys(format, map, layer.powers, &exact);
    EXPECT_NEAR(shaped_predicted.scores / shaped.scores, 1, 0.2) << bits;
    EXPECT_NEAR(shaped_predicted.values / shaped.values, 1, 0.2) << bits;
  }
}

TEST(Conditioning, KnowsTheNoiseOfFormats) {
  const auto noise = [](DType type, int bits) {
    return relative_noise({type, 32, bits, Scaling::group});
  };
  EXPECT_NEAR(noise(DType::bf16, 0), 0.189 / 128, 1e-9);
  EXPECT_NEAR(noise(DType::f16, 0) * 8, noise(DType::bf16, 0), 1e-9);
  EXPECT_LT(noise(DType::f32, 0), 1e-7);
  EXPECT_NEAR(noise(DType::i8, 0), 0.0046, 2e-4);
  EXPECT_DOUBLE_EQ(noise(DType::f32, 8), noise(DType::i8, 0));
  EXPECT_NEAR(noise(DType::f32, 5) / noise(DType::f32, 4), 7.0 / 15, 1e-12);
  EXPECT_EQ(predict_pair({DType::bf16, 32, 0, Scaling::group}).values, noise(DType::bf16, 0));
}

TEST(Conditioning, CountsDerivedBytes) {
  const Layer layer;
  const ShapingFactor factor = shaping_factor(layer.map, layer.powers, {.rank = 16});
  EXPECT_EQ(derived_bytes(kWidth, kWidth, kSpill, 16).total(), layer.map.bytes() + factor.bytes());
}

}  // namespace
}  // namespace slim
