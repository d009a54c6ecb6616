// Factors of the damage that errors of sealed rows do, for shaped rounding.
#include "transforms/shaping.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace slim {
namespace {

// Scores do not see the spill; its weight in D is there for division's sake.
constexpr double kSpillWeight = 1e-9;

double dot(const double* a, const double* b, int64_t count) {
  return std::inner_product(a, a + count, b, 0.0);
}

// D of the scores: the relative error of every key counts the same. A key that is always zero is
// rounded to zero whatever its weight.
std::vector<double> score_weights(const std::vector<double>& powers, int64_t keys) {
  std::vector<double> weights(powers.size());
  double mean = 0;
  for (int64_t j = 0; j < keys; ++j) {
    const double power = powers[static_cast<size_t>(j)];
    weights[static_cast<size_t>(j)] = power > 0 ? 1 / power : 1;
    mean += weights[static_cast<size_t>(j)] / static_cast<double>(keys);
  }
  std::fill(weights.begin() + keys, weights.end(), kSpillWeight * mean);
  return weights;
}

// U: the strongest part of weight * N^T N once its channels are scaled to the errors that rounding
// makes in them. `row_map` is N^T; which vectors stand for values close together hardly matters.
Dense strongest_part(const DenseF32& row_map, double weight, const std::vector<double>& powers,
                     int64_t rank) {
  constexpr double kTolerance = 1e-3;
  std::vector<double> range;
  for (const double power : powers) range.push_back(std::sqrt(std::max(power, 0.0)));
  DenseF32 scaled = row_map;
  for (int64_t i = 0; i < scaled.rows; ++i) {
    std::transform(scaled.row(i), scaled.row(i) + scaled.columns, range.begin(), scaled.row(i),
                   [](double value, double by) { return static_cast<float>(value * by); });
  }
  const int64_t found = std::min(rank, row_map.rows);
  const LargestSingular parts = largest_singular(scaled, found, kTolerance);
  Dense low_rank(row_map.columns, rank);
  for (int64_t i = 0; i < low_rank.rows; ++i) {
    const double back = range[static_cast<size_t>(i)];
    for (int64_t c = 0; c < found && back > 0; ++c) {
      const double strength = std::sqrt(weight) * parts.values[static_cast<size_t>(c)];
      low_rank.at(i, c) = parts.right.at(c, i) * strength / back;
    }
  }
  return low_rank;
}

// The diagonal of N^T N.
std::vector<double> column_squares(const DenseF32& matrix) {
  std::vector<double> squares(static_cast<size_t>(matrix.columns));
  for (int64_t i = 0; i < matrix.rows; ++i) {
    const float* row = matrix.row(i);
    for (size_t j = 0; j < squares.size(); ++j) squares[j] += double{row[j]} * double{row[j]};
  }
  return squares;
}

// Rising: rounding goes from the last to the first.
std::vector<int32_t> rounding_order(const std::vector<double>& diagonal, const Dense& low_rank,
                                    const std::vector<double>& powers) {
  std::vector<double> sensitivity;
  for (int64_t j = 0; j < low_rank.rows; ++j) {
    const double own = dot(low_rank.row(j), low_rank.row(j), low_rank.columns);
    sensitivity.push_back((diagonal[static_cast<size_t>(j)] + own) *
                          powers[static_cast<size_t>(j)]);
  }
  std::vector<int32_t> order(sensitivity.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return sensitivity[static_cast<size_t>(a)] < sensitivity[static_cast<size_t>(b)];
  });
  return order;
}

// The Cholesky factor of D + U U^T, channel by channel: with S the inverse of I + sum u u^T / D
// over the channels before j, L_jj^2 = D_j + u_j^T S u_j and L_ij L_jj = u_i^T S u_j.
void factor(ExactShaping& shaping) {
  const int64_t rank = shaping.low_rank.columns;
  Dense inverse(rank, rank);
  for (int64_t c = 0; c < rank; ++c) inverse.at(c, c) = 1;
  std::vector<double> turned(static_cast<size_t>(rank));
  shaping.gains = Dense(shaping.low_rank.rows, rank);
  shaping.pivots.resize(shaping.diagonal.size());
  for (const int32_t j : shaping.order) {
    const double* u = shaping.low_rank.row(j);
    for (int64_t c = 0; c < rank; ++c) {
      turned[static_cast<size_t>(c)] = dot(inverse.row(c), u, rank);
    }
    const double pivot = shaping.diagonal[static_cast<size_t>(j)] + dot(turned.data(), u, rank);
    shaping.pivots[static_cast<size_t>(j)] = pivot;
    for (int64_t c = 0; c < rank; ++c) {
      const double gain = turned[static_cast<size_t>(c)] / pivot;
      shaping.gains.at(j, c) = gain;
      for (int64_t other = 0; other < rank; ++other) {
        inverse.at(c, other) -= gain * turned[static_cast<size_t>(other)];
      }
    }
  }
}

double mean_square(const Dense& matrix, int64_t column) {
  double sum = 0;
  for (int64_t i = 0; i < matrix.rows; ++i) sum += matrix.at(i, column) * matrix.at(i, column);
  return sum / static_cast<double>(matrix.rows);
}

// Only the products u_i . g_j matter: each pair of columns is scaled to the same size, for f16.
void balance(Dense& u, Dense& g) {
  for (int64_t c = 0; c < u.columns; ++c) {
    const double of_u = mean_square(u, c);
    const double of_g = mean_square(g, c);
    if (!(of_u > 0 && of_g > 0)) continue;
    const double factor = std::sqrt(std::sqrt(of_g / of_u));
    for (int64_t i = 0; i < u.rows; ++i) {
      u.at(i, c) *= factor;
      g.at(i, c) /= factor;
    }
  }
}

}  // namespace

RowPowers row_powers(const Dense& key_weight, const Dense& value_weight, InputMoments moments) {
  RowPowers powers{output_powers(key_weight, moments), key_weight.rows, 0};
  const std::vector<double> values = output_powers(value_weight, moments);
  powers.value =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  return powers;
}

RowPowers with_spill(RowPowers powers, const Dense& spill, InputMoments moments) {
  const std::vector<double> added = output_powers(spill, moments);
  powers.row.insert(powers.row.end(), added.begin(), added.end());
  return powers;
}

RowPowers row_powers(const Tensor& key_weight, const Tensor& value_weight, const ValueMap& map,
                     InputMoments moments) {
  RowPowers powers =
      row_powers(to_dense(key_weight, "key"), to_dense(value_weight, "value"), moments);
  if (map.spill.empty()) return powers;
  return with_spill(std::move(powers), to_dense(map.spill, "spill"), moments);
}

Shaping ShapingFactor::view() const {
  return {.width = u.size(0),
          .rank = u.size(1),
          .u = u.values<Half>(),
          .g = g.values<Half>(),
          .order = order.values<int32_t>()};
}

ExactShaping exact_shaping(const DenseF32& row_map, const RowPowers& powers,
                           const ShapingOptions& options) {
  const int64_t width = row_map.columns;
  check(powers.row.size() == static_cast<size_t>(width), "powers are of whole rows");
  check(options.rank > 0 && options.rank <= width && options.lambda >= 0,
        "the factor of shaped rounding has a rank");
  const double weight = powers.value > 0 ? options.lambda / powers.value : 0;
  const std::vector<double> damage = column_squares(row_map);

  ExactShaping shaping;
  shaping.lambda = options.lambda;
  shaping.low_rank = strongest_part(row_map, weight, powers.row, options.rank);
  shaping.diagonal = score_weights(powers.row, powers.keys);
  for (int64_t j = 0; j < width; ++j) {
    const double* u = shaping.low_rank.row(j);
    const double whole = weight * damage[static_cast<size_t>(j)];
    shaping.residual.push_back(std::max(whole - dot(u, u, options.rank), 1e-6 * whole));
    shaping.diagonal[static_cast<size_t>(j)] += shaping.residual.back();
  }
  shaping.order = rounding_order(shaping.diagonal, shaping.low_rank, powers.row);
  factor(shaping);
  return shaping;
}

ShapingFactor shaping_factor(const ValueMap& map, const RowPowers& powers,
                             const ShapingOptions& options) {
  return shaping_factor(exact_shaping(row_map(map), powers, options));
}

ShapingFactor shaping_factor(ExactShaping shaping) {
  balance(shaping.low_rank, shaping.gains);
  ShapingFactor factor{
      to_tensor(shaping.low_rank, DType::f16), to_tensor(shaping.gains, DType::f16),
      Tensor::allocate(host_device(), DType::i32, {static_cast<int64_t>(shaping.order.size())})};
  std::copy(shaping.order.begin(), shaping.order.end(), factor.order.writable<int32_t>());
  return factor;
}

}  // namespace slim
