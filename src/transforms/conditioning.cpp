// Predictions of what rounding rows does to the scores and values of attention.
#include "transforms/conditioning.h"

#include <cmath>
#include <numeric>

#include "base/check.h"

namespace slim {
namespace {

double square(double value) { return value * value; }

int significant_bits(DType type) {
  switch (type) {
    case DType::f32:
      return 24;
    case DType::f16:
      return 11;
    default:
      return 8;  // bf16
  }
}

double dot(const double* a, const double* b, int64_t count) {
  return std::inner_product(a, a + count, b, 0.0);
}

// What plain rounding leaves: E |e^T N|^2.
double plain_damage(const DenseF32& row_map, const std::vector<double>& errors) {
  double sum = 0;
  for (int64_t i = 0; i < row_map.rows; ++i) {
    for (int64_t j = 0; j < row_map.columns; ++j) {
      sum += square(double{row_map.at(i, j)}) * errors[static_cast<size_t>(j)];
    }
  }
  return sum;
}

// Turns the variances of the rounding residuals w into those of the errors e; returns
// lambda E |e^T N|^2 / var(v).
double shape_errors(const ExactShaping& shaping, std::vector<double>& variances) {
  const int64_t rank = shaping.low_rank.columns;
  Dense covariance(rank, rank);  // A
  std::vector<double> turned(static_cast<size_t>(rank));
  for (size_t place = shaping.order.size(); place-- > 0;) {
    const int32_t j = shaping.order[place];
    const double* u = shaping.low_rank.row(j);
    const double* g = shaping.gains.row(j);
    for (int64_t c = 0; c < rank; ++c) {
      turned[static_cast<size_t>(c)] = dot(covariance.row(c), g, rank);
    }
    double& variance = variances[static_cast<size_t>(j)];
    variance += dot(turned.data(), g, rank);
    // With t = A g and var(e) = n^2 var + g^T t:  A - u t^T - t u^T + u u^T var(e).
    for (int64_t c = 0; c < rank; ++c) {
      const double own = u[c] * variance - turned[static_cast<size_t>(c)];
      for (int64_t other = 0; other < rank; ++other) {
        covariance.at(c, other) += own * u[other] - u[c] * turned[static_cast<size_t>(other)];
      }
    }
  }
  double damage = 0;
  for (int64_t c = 0; c < rank; ++c) damage += covariance.at(c, c);
  for (size_t j = 0; j < variances.size(); ++j) damage += shaping.residual[j] * variances[j];
  return damage;
}

}  // namespace

double relative_noise(const RowFormat& format) {
  if (!format.sealed() && format.type == DType::i16) {
    return std::sqrt(static_cast<double>(format.width)) / 46000.0 / std::sqrt(12.0);
  }
  if (!format.sealed() && format.type != DType::i8) {
    return 0.189 * std::ldexp(1.0, 1 - significant_bits(format.type));
  }
  const bool channel = format.sealed() && format.scaling == Scaling::channel;
  const double range = channel ? 4.74 : 4.07;
  const int bits = format.sealed() ? format.bits : 8;
  return range / 2 / (std::ldexp(1.0, bits - 1) - 1) / std::sqrt(12.0);
}

RowError predict_pair(const RowFormat& format) {
  const double noise = relative_noise(format);
  return {noise, noise};
}

RowError predict_keys(const RowFormat& format, const DenseF32& row_map, const RowPowers& powers,
                      const ExactShaping* shaping) {
  check(powers.row.size() == static_cast<size_t>(row_map.columns), "powers are of whole rows");
  std::vector<double> errors;
  for (const double power : powers.row) errors.push_back(square(relative_noise(format)) * power);
  const auto outputs = static_cast<double>(row_map.rows);
  double values = 0;
  if (shaping == nullptr) {
    if (powers.value > 0) values = plain_damage(row_map, errors) / powers.value / outputs;
  } else if (shaping->lambda > 0) {
    values = shape_errors(*shaping, errors) / shaping->lambda / outputs;
  }
  double scores = 0;
  for (int64_t j = 0; j < powers.keys; ++j) {
    const double power = powers.row[static_cast<size_t>(j)];
    if (power > 0) scores += errors[static_cast<size_t>(j)] / power;
  }
  return {std::sqrt(scores / static_cast<double>(powers.keys)), std::sqrt(values)};
}

double predicted_divergence(const RowError& error) {
  return 2.0 * square(error.scores) + 0.48 * square(error.values);
}

DerivedBytes derived_bytes(int64_t width, int64_t keys, int64_t spill, int64_t rank) {
  const int64_t row = keys + spill;
  return {.map = keys * keys * 2 + keys * 4,
          .spill = spill * (width * 2 + keys * 4),
          .shaping = rank > 0 ? row * (rank * 4 + 4) : 0};
}

}  // namespace slim
