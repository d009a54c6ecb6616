// Dense linear algebra over BLAS and LAPACK: what computing value maps and shaping takes.
// Transforms run once a model, so these allocate freely and favour plain calls. In double precision
// where condition numbers multiply errors; in single, twice as fast, where a matrix is rounded
// anyway.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace slim {

// A matrix by rows.
template <typename T>
struct DenseOf {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<T> values;

  DenseOf() = default;
  DenseOf(int64_t row_count, int64_t column_count)
      : rows(row_count),
        columns(column_count),
        values(static_cast<size_t>(row_count * column_count)) {}

  T* row(int64_t index) { return values.data() + index * columns; }
  const T* row(int64_t index) const { return values.data() + index * columns; }
  T& at(int64_t i, int64_t j) { return row(i)[j]; }
  T at(int64_t i, int64_t j) const { return row(i)[j]; }
};
using Dense = DenseOf<double>;
using DenseF32 = DenseOf<float>;

// Part of a matrix, by reference.
template <typename T>
struct BlockOf {
  const T* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;  // between row starts

  BlockOf(const DenseOf<T>& matrix)  // NOLINT(google-explicit-constructor)
      : data(matrix.values.data()),
        rows(matrix.rows),
        columns(matrix.columns),
        stride(matrix.columns) {}
  // Rows [row, row + row_count) and columns [column, column + column_count).
  BlockOf(const DenseOf<T>& matrix, int64_t row, int64_t row_count, int64_t column,
          int64_t column_count)
      : data(matrix.row(row) + column),
        rows(row_count),
        columns(column_count),
        stride(matrix.columns) {}
};
using DenseBlock = BlockOf<double>;
using BlockF32 = BlockOf<float>;

// For callers of LAPACK: a size as it counts; and its status, where memory gives
// Error{out_of_memory} and a numerical failure Error{unsupported_model} with the sentence given.
int32_t to_lapack(int64_t size);
void check_lapack(int32_t status, const char* failure);

// The values of a matrix of any weight type. Throws Error{bad_file} if one is not finite (LAPACK
// may loop or lie where it meets NaN); `name` is the weight's in that sentence: "key".
Dense to_dense(const Tensor& weight, std::string_view name);
// Rounded to nearest even; f32 or f16.
Tensor to_tensor(const Dense& matrix, DType type);

// To single precision, each rounded to nearest even; and back.
DenseF32 narrow(const Dense& matrix);
Dense widen(const DenseF32& matrix);

Dense copy(DenseBlock block);
Dense transpose(DenseBlock block);
// The rows of `above`, then those of `below`.
Dense stack(DenseBlock above, DenseBlock below);

enum class Transposed : uint8_t { neither, first, second };
// a b, a^T b or a b^T. Cost: 2 * rows * columns * depth operations.
Dense product(DenseBlock a, DenseBlock b, Transposed transposed = Transposed::neither);
DenseF32 product(BlockF32 a, BlockF32 b, Transposed transposed = Transposed::neither);
// from - a b, in place.
void subtract_product(Dense& from, DenseBlock a, DenseBlock b);
// a a^T, in half the operations of a product.
Dense gram(DenseBlock a);

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
// among those whose values are close, and products in single precision leave 1e-6 of the largest.
// An iteration: 4 (count + 16) rows n operations. `start`: rows [any, n] that are close to such
// vectors, which saves iterations; or none.
struct LargestSingular {
  std::vector<double> values;
  Dense right;
};
LargestSingular largest_singular(const DenseF32& matrix, int64_t count, double tolerance,
                                 const Dense& start = {});

// The largest alone, to a part in 400 even where the others are as close as those of a random
// matrix: in the Krylov space of 4 vectors over 11 products with a^T a.
double largest_value(const DenseF32& matrix);

// Iterations on blocks of vectors carry so many more than are asked for: the last ones converge
// slowly.
constexpr int64_t kSpareVectors = 16;
// Numbers in [-1, 1), the same ones each time: where iterations start.
Dense random_rows(int64_t rows, int64_t columns);
// Makes the rows, no more than columns, an orthonormal basis of what they span.
void orthonormalize(Dense& rows);

// The lower L of a symmetric positive definite matrix = L L^T. Throws Error{unsupported_model} if
// it is not positive definite.
Dense cholesky(Dense symmetric);

// X of a X = b, a square: LU with pivots. Throws Error{unsupported_model} if a is singular.
Dense solve(const Dense& a, const Dense& b);

}  // namespace slim
