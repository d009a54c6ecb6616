// LAPACK stores matrices by columns and Dense by rows: the same bytes are the transpose. So the
// decompositions below hand LAPACK a^T and name its results accordingly; nothing is transposed.
#include "transforms/linalg.h"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/check.h"
#include "slim/error.h"

namespace slim {
namespace {

lapack_int to_lapack(int64_t size) {
  check(size >= 0 && size <= 1 << 20, "a matrix has a size that LAPACK can count");
  return static_cast<lapack_int>(size);
}

// LAPACKE reports failed workspace allocation by two special codes; any other negative one means
// an argument of ours was wrong; a positive one is the numerical failure that `failure` describes.
void check_status(lapack_int status, const char* failure) {
  if (status == LAPACK_WORK_MEMORY_ERROR || status == LAPACK_TRANSPOSE_MEMORY_ERROR) {
    throw Error(ErrorCode::out_of_memory, "There is no memory to decompose a weight matrix.");
  }
  check(status >= 0, "LAPACK accepts its arguments");
  if (status > 0) throw Error(ErrorCode::unsupported_model, failure);
}

constexpr const char* kNoSvd = "The singular values of a weight matrix could not be computed.";

}  // namespace

Dense to_dense(const Tensor& weight, std::string_view name) {
  check(weight.shape().size() == 2, "a weight is a matrix");
  const Tensor values = weight.to_f32();
  Dense matrix(weight.size(0), weight.size(1));
  check(matrix.rows > 0 && matrix.columns > 0, "a weight has elements");
  std::copy_n(values.values<float>(), matrix.values.size(), matrix.values.begin());
  if (!std::all_of(matrix.values.begin(), matrix.values.end(),
                   [](double value) { return std::isfinite(value); })) {
    throw Error(ErrorCode::bad_file, "The " + std::string(name) +
                                         " weight of an attention layer holds a NaN or an " +
                                         "infinity.");
  }
  return matrix;
}

Tensor to_tensor(const Dense& matrix, DType type) {
  Tensor tensor = Tensor::allocate(host_device(), type, {matrix.rows, matrix.columns});
  if (type == DType::f32) {
    std::transform(matrix.values.begin(), matrix.values.end(), tensor.writable<float>(),
                   [](double value) { return static_cast<float>(value); });
    return tensor;
  }
  check(type == DType::f16, "derived weights are f32 or f16");
  std::transform(matrix.values.begin(), matrix.values.end(), tensor.writable<Half>(),
                 [](double value) { return to_half(static_cast<float>(value)); });
  return tensor;
}

Dense copy(DenseBlock block) {
  Dense result(block.rows, block.columns);
  for (int64_t i = 0; i < block.rows; ++i) {
    std::copy_n(block.data + i * block.stride, block.columns, result.row(i));
  }
  return result;
}

Dense transpose(DenseBlock block) {
  Dense result(block.columns, block.rows);
  for (int64_t i = 0; i < block.rows; ++i) {
    for (int64_t j = 0; j < block.columns; ++j) result.at(j, i) = block.data[i * block.stride + j];
  }
  return result;
}

Dense stack(DenseBlock above, DenseBlock below) {
  check(above.columns == below.columns, "stacked matrices have as many columns");
  Dense result = copy(above);
  const Dense rest = copy(below);
  result.values.insert(result.values.end(), rest.values.begin(), rest.values.end());
  result.rows += below.rows;
  return result;
}

Dense product(DenseBlock a, DenseBlock b, Transposed transposed) {
  const bool first = transposed == Transposed::first;
  const bool second = transposed == Transposed::second;
  const int64_t depth = first ? a.rows : a.columns;
  check(depth == (second ? b.columns : b.rows), "the sizes of a product fit");
  Dense result(first ? a.columns : a.rows, second ? b.rows : b.columns);
  if (result.values.empty() || depth == 0) return result;
  cblas_dgemm(CblasRowMajor, first ? CblasTrans : CblasNoTrans, second ? CblasTrans : CblasNoTrans,
              to_lapack(result.rows), to_lapack(result.columns), to_lapack(depth), 1.0, a.data,
              to_lapack(a.stride), b.data, to_lapack(b.stride), 0.0, result.values.data(),
              to_lapack(result.columns));
  return result;
}

Svd svd(const Dense& matrix) {
  const lapack_int rows = to_lapack(matrix.rows);
  const lapack_int columns = to_lapack(matrix.columns);
  const int64_t count = std::min(matrix.rows, matrix.columns);
  Svd result{Dense(matrix.rows, count), std::vector<double>(static_cast<size_t>(count)),
             Dense(count, matrix.columns)};
  Dense work = matrix;
  // a^T = v^T diag(values) u^T: LAPACK's U is our v, and its V^T our u.
  check_status(LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'S', columns, rows, work.values.data(), columns,
                              result.values.data(), result.v.values.data(), columns,
                              result.u.values.data(), to_lapack(count)),
               kNoSvd);
  return result;
}

std::vector<double> singular_values(const Dense& matrix) {
  const lapack_int rows = to_lapack(matrix.rows);
  const lapack_int columns = to_lapack(matrix.columns);
  std::vector<double> values(static_cast<size_t>(std::min(matrix.rows, matrix.columns)));
  Dense work = matrix;
  check_status(LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', columns, rows, work.values.data(), columns,
                              values.data(), nullptr, columns, nullptr, rows),
               kNoSvd);
  return values;
}

Eigen largest_eigenpairs(const Dense& symmetric, int64_t count) {
  check(symmetric.rows == symmetric.columns && count >= 0 && count <= symmetric.rows,
        "eigenpairs are of a square matrix");
  Eigen result{std::vector<double>(static_cast<size_t>(symmetric.rows)),
               Dense(count, symmetric.rows)};
  if (count == 0) return {};
  const lapack_int size = to_lapack(symmetric.rows);
  Dense work = symmetric;
  Dense ascending(count, symmetric.rows);
  lapack_int found = 0;
  std::vector<lapack_int> support(static_cast<size_t>(2 * count));
  check_status(LAPACKE_dsyevr(LAPACK_COL_MAJOR, 'V', 'I', 'L', size, work.values.data(), size, 0, 0,
                              size - to_lapack(count) + 1, size, 0, &found, result.values.data(),
                              ascending.values.data(), size, support.data()),
               "The eigenvalues of a symmetric matrix could not be computed.");
  check(found == to_lapack(count), "LAPACK finds the eigenvalues asked for");
  result.values.resize(static_cast<size_t>(count));
  std::reverse(result.values.begin(), result.values.end());
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(ascending.row(count - 1 - i), ascending.columns, result.vectors.row(i));
  }
  return result;
}

Dense cholesky(const Dense& symmetric) {
  check(symmetric.rows == symmetric.columns, "a symmetric matrix is square");
  Dense lower = symmetric;
  const lapack_int size = to_lapack(symmetric.rows);
  // By columns LAPACK's upper triangle R, a = R^T R, is by rows our lower L = R^T.
  check_status(LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', size, lower.values.data(), size),
               "A matrix of second moments is not positive definite.");
  for (int64_t i = 0; i < lower.rows; ++i) {
    std::fill(lower.row(i) + i + 1, lower.row(i) + lower.columns, 0.0);
  }
  return lower;
}

Dense solve(const Dense& a, const Dense& b) {
  check(a.rows == a.columns && b.rows == a.rows, "as many equations as unknowns are solved");
  Dense factor = a;
  Dense solution = b;
  std::vector<lapack_int> pivots(static_cast<size_t>(a.rows));
  // By rows, for b by columns would be its transpose, not the same bytes.
  check_status(LAPACKE_dgesv(LAPACK_ROW_MAJOR, to_lapack(a.rows), to_lapack(b.columns),
                             factor.values.data(), to_lapack(a.columns), pivots.data(),
                             solution.values.data(), to_lapack(b.columns)),
               "A matrix to be solved for is singular.");
  return solution;
}

}  // namespace slim
