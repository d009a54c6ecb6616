// By columns the bytes of A are those of A^T: so LAPACK factors P A^T = L U; or A^T = L Q', and L^T
// is R.
#include "transforms/tall_factor.h"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace slim {
namespace {

constexpr int kIterations = 6;
constexpr const char* kNotFactored = "A weight matrix could not be factored.";
constexpr const char* kNotInverted = "A weight matrix could not be inverted.";

// z = sum over i of values_i u_i^T v_i, u_i and v_i rows, of a matrix whose rows fall in size by
// any factor, as iteration leaves them: one-sided Jacobi gets every triple to full relative
// accuracy, where an ordinary SVD would lose the small ones in the rounding of the large.
Svd graded_svd(Dense z) {
  const lapack_int length = to_lapack(z.columns);
  const lapack_int count = to_lapack(z.rows);
  Svd result{Dense(z.rows, z.rows), std::vector<double>(static_cast<size_t>(z.rows)),
             Dense(z.rows, z.columns)};
  if (count == 0) return result;
  double scales[7];
  lapack_int counts[3];
  check_lapack(LAPACKE_dgejsv(LAPACK_COL_MAJOR, 'C', 'U', 'V', 'N', 'N', 'N', length, count,
                              z.values.data(), length, result.values.data(), result.v.values.data(),
                              length, result.u.values.data(), count, scales, counts),
               "The smallest singular values of a weight matrix could not be computed.");
  for (double& value : result.values) value *= scales[0] / scales[1];
  return result;
}

}  // namespace

TallFactor::TallFactor(Dense matrix) : packed_(std::move(matrix)) {
  check(packed_.rows >= packed_.columns && packed_.columns > 0, "a tall matrix has rows enough");
  const lapack_int width = to_lapack(packed_.columns);
  if (square()) {
    pivots_.resize(static_cast<size_t>(width));
    // Positive where a pivot is zero, which is seen to below.
    check_lapack(
        std::min<lapack_int>(0, LAPACKE_dgetrf(LAPACK_COL_MAJOR, width, width,
                                               packed_.values.data(), width, pivots_.data())),
        kNotFactored);
  } else {
    tau_.resize(static_cast<size_t>(width));
    check_lapack(LAPACKE_dgelqf(LAPACK_COL_MAJOR, width, to_lapack(packed_.rows),
                                packed_.values.data(), width, tau_.data()),
                 kNotFactored);
  }
  // A pivot of zero has no inverse; one of a rounding error stands in for it.
  double largest = 0;
  for (int64_t i = 0; i < packed_.columns; ++i) {
    largest = std::max(largest, std::fabs(packed_.at(i, i)));
  }
  const double least = largest > 0 ? largest * std::numeric_limits<double>::epsilon() : 1.0;
  for (int64_t i = 0; i < packed_.columns; ++i) {
    if (std::fabs(packed_.at(i, i)) < least) packed_.at(i, i) = least;
  }
}

// By columns y A = x reads A^T y^T = x^T, and A^T is what was factored.
void TallFactor::divide(Dense& rows, bool transposed) const {
  if (rows.rows == 0) return;
  const lapack_int count = to_lapack(rows.rows);
  const lapack_int width = to_lapack(packed_.columns);
  if (square()) {
    // Without LAPACKE's search for NaNs in the factors, which takes as long as a few vectors do.
    check_lapack(LAPACKE_dgetrs_work(LAPACK_COL_MAJOR, transposed ? 'T' : 'N', width, count,
                                     packed_.values.data(), width, pivots_.data(),
                                     rows.values.data(), width),
                 kNotInverted);
    return;
  }
  cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, transposed ? CblasTrans : CblasNoTrans,
              CblasNonUnit, count, width, 1.0, packed_.values.data(), width, rows.values.data(),
              width);
}

Dense TallFactor::onto_columns(Dense rows) const {
  if (square() || rows.rows == 0) return rows;
  Dense result(rows.rows, packed_.rows);
  for (int64_t i = 0; i < rows.rows; ++i) {
    std::copy_n(rows.row(i), rows.columns, result.row(i));
  }
  const lapack_int width = to_lapack(packed_.columns);
  check_lapack(LAPACKE_dormlq(LAPACK_COL_MAJOR, 'L', 'T', to_lapack(packed_.rows),
                              to_lapack(rows.rows), width, packed_.values.data(), width,
                              tau_.data(), result.values.data(), to_lapack(packed_.rows)),
               kNotInverted);
  return result;
}

Dense TallFactor::through_inverse(Dense rows) const {
  check(rows.columns == packed_.columns, "rows are those of the matrix");
  divide(rows, false);
  return onto_columns(std::move(rows));
}

TallFactor::Triples TallFactor::smallest(int64_t count) const {
  const int64_t width = packed_.columns;
  check(count >= 0 && count <= width, "a matrix has as many singular values as columns");
  Dense vectors = random_rows(std::min(width, count + kSpareVectors), width);
  for (int i = 0; i < kIterations; ++i) {
    divide(vectors, false);
    orthonormalize(vectors);
    divide(vectors, true);
    orthonormalize(vectors);
  }
  divide(vectors, false);
  orthonormalize(vectors);
  const Dense left = vectors;  // y
  divide(vectors, true);       // R^-1 y, whose singular values are the inverses of those wanted
  const Svd parts = graded_svd(std::move(vectors));
  Triples triples;
  triples.right = copy(DenseBlock(parts.v, 0, count, 0, width));
  triples.left = onto_columns(product(DenseBlock(parts.u, 0, count, 0, left.rows), left));
  for (int64_t i = 0; i < count; ++i) {
    triples.values.push_back(1 / parts.values[static_cast<size_t>(i)]);
  }
  return triples;
}

}  // namespace slim
