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

// For callers of LAPACK: a size as it counts; and its status, where memory gives
// Error{out_of_memory} and a numerical failure Error{unsupported_model} with the sentence given.
int32_t to_lapack(int64_t size);
void check_lapack(int32_t status, const char* failure);

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
void subtract(Dense& from, const Dense& other);  // element by element
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

// The `count` largest singular values of a matrix [rows, n], descending, and their right vectors
// as rows [count, n]: subspace iteration on count + 16 vectors until the sum of the squares of the
// values changes by less than `tolerance` of itself (at most 40 times). Errors in the vectors are
// among those whose values are close. An iteration: 4 (count + 16) rows n operations.
struct LargestSingular {
  std::vector<double> values;
  Dense right;
};
LargestSingular largest_singular(const Dense& matrix, int64_t count, double tolerance);

// Iterations on blocks of vectors carry so many more than are asked for: the last ones converge
// slowly.
constexpr int64_t kSpareVectors = 16;
// Numbers in [-1, 1), the same ones each time: where iterations start.
Dense random_rows(int64_t rows, int64_t columns);
// Makes the rows, no more than columns, an orthonormal basis of what they span.
void orthonormalize(Dense& rows);

// The lower L of a symmetric positive definite matrix = L L^T. Throws Error{unsupported_model} if
// it is not positive definite.
Dense cholesky(const Dense& symmetric);

// X of a X = b, a square: LU with pivots. Throws Error{unsupported_model} if a is singular.
Dense solve(const Dense& a, const Dense& b);

}  // namespace slim
