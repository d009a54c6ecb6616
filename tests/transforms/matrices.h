// Matrices that the tests of transforms are made from: random ones, and ones with singular values
// of the test's choosing. Products are naive, so that BLAS does not judge itself.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "slim/error.h"
#include "transforms/linalg.h"

namespace slim {

inline Dense random_matrix(int64_t rows, int64_t columns, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Dense matrix(rows, columns);
  for (double& value : matrix.values) value = normal(generator);
  return matrix;
}

inline Dense naive_product(const Dense& a, const Dense& b) {
  Dense result(a.rows, b.columns);
  for (int64_t i = 0; i < a.rows; ++i) {
    for (int64_t k = 0; k < a.columns; ++k) {
      for (int64_t j = 0; j < b.columns; ++j) result.at(i, j) += a.at(i, k) * b.at(k, j);
    }
  }
  return result;
}

// Orthonormal rows by Gram-Schmidt, twice.
inline Dense orthonormal(int64_t rows, int64_t columns, uint32_t seed) {
  Dense q = random_matrix(rows, columns, seed);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t other = 0; other < 2 * i; ++other) {
      const double* base = q.row(other % i);
      double dot = 0;
      for (int64_t c = 0; c < columns; ++c) dot += q.at(i, c) * base[c];
      for (int64_t c = 0; c < columns; ++c) q.at(i, c) -= dot * base[c];
    }
    double norm = 0;
    for (int64_t c = 0; c < columns; ++c) norm += q.at(i, c) * q.at(i, c);
    for (int64_t c = 0; c < columns; ++c) q.at(i, c) /= std::sqrt(norm);
  }
  return q;
}

// [rows, columns] with these singular values, as many as columns; rows >= columns.
inline Dense with_singular_values(int64_t rows, const std::vector<double>& values, uint32_t seed) {
  const auto columns = static_cast<int64_t>(values.size());
  Dense scaled = orthonormal(columns, columns, seed);
  for (int64_t i = 0; i < columns; ++i) {
    for (int64_t j = 0; j < columns; ++j) scaled.at(i, j) *= values[static_cast<size_t>(i)];
  }
  return naive_product(transpose(orthonormal(columns, rows, seed + 1)), scaled);
}

// Falling evenly in logarithm from 1 to 1 / condition.
inline std::vector<double> geometric(int64_t count, double condition) {
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(std::pow(condition, -static_cast<double>(i) / static_cast<double>(count - 1)));
  }
  return values;
}

inline Tensor stored(const Dense& matrix) { return to_tensor(matrix, DType::f32); }

template <typename Function>
Error error_of(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorCode::internal, ""};
}

}  // namespace slim
