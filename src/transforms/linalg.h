// Dense linear algebra in double precision, over BLAS and LAPACK: what computing value maps and
// shaping takes. Transforms run once a model, so these allocate freely and favour plain calls.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace slim {

// A matrix in double precision, by rows.
struct Dense {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<double> values;

  Dense() = default;
  Dense(int64_t row_count, int64_t column_count)
      : rows(row_count),
        columns(column_count),
        values(static_cast<size_t>(row_count * column_count)) {}

  double* row(int64_t index) { return values.data() + index * columns; }
  const double* row(int64_t index) const { return values.data() + index * columns; }
  double& at(int64_t i, int64_t j) { return row(i)[j]; }
  double at(int64_t i, int64_t j) const { return row(i)[j]; }
};

// Part of a matrix, by reference.
struct DenseBlock {
  const double* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;  // between row starts

  DenseBlock(const Dense& matrix)  // NOLINT(google-explicit-constructor)
      : data(matrix.values.data()),
        rows(matrix.rows),
        columns(matrix.columns),
        stride(matrix.columns) {}
  // Rows [row, row + row_count) and columns [column, column + column_count).
  DenseBlock(const Dense& matrix, int64_t row, int64_t row_count, int64_t column,
             int64_t column_count)
      : data(matrix.row(row) + column),
        rows(row_count),
        columns(column_count),
        stride(matrix.columns) {}
};

// The values of a matrix of any weight type. Throws Error{bad_file} if one is not finite (LAPACK
// may loop or lie where it meets NaN); `name` is the weight's in that sentence: "key".
Dense to_dense(const Tensor& weight, std::string_view name);
// Rounded to nearest even; f32 or f16.
Tensor to_tensor(const Dense& matrix, DType type);

Dense copy(DenseBlock block);
Dense transpose(DenseBlock block);
// The rows of `above`, then those of `below`.
Dense stack(DenseBlock above, DenseBlock below);

enum class Transposed : uint8_t { neither, first, second };
// a b, a^T b or a b^T. Cost: 2 * rows * columns * depth operations.
Dense product(DenseBlock a, DenseBlock b, Transposed transposed = Transposed::neither);

// a = u diag(values) v, descending; u [rows, n] and v [n, columns] with n = min(rows, columns).
struct Svd {
  Dense u;
  std::vector<double> values;
  Dense v;
};
// About 20 n^3 operations. Throws Error{unsupported_model} if it does not converge.
Svd svd(const Dense& matrix);
std::vector<double> singular_values(const Dense& matrix);  // about 8/3 n^3

// The `count` largest eigenvalues of a symmetric matrix, descending, and their unit eigenvectors
// as rows [count, n]. About 4/3 n^3 operations.
struct Eigen {
  std::vector<double> values;
  Dense vectors;
};
Eigen largest_eigenpairs(const Dense& symmetric, int64_t count);

// The lower L of a symmetric positive definite matrix = L L^T. Throws Error{unsupported_model} if
// it is not positive definite.
Dense cholesky(const Dense& symmetric);

// X of a X = b, a square: LU with pivots. Throws Error{unsupported_model} if a is singular.
Dense solve(const Dense& a, const Dense& b);

}  // namespace slim
