// LAPACK stores matrices by columns and Dense by rows: the same bytes are the transpose. So the
// decompositions below hand LAPACK a^T and name its results accordingly; nothing is transposed.
#include "transforms/linalg.h"

#include <cblas.h>
#include <dlfcn.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "base/check.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr const char* kNoSvd = "The singular values of a weight matrix could not be computed.";
constexpr int kMostIterations = 40;

// Layers are transformed side by side, one a thread. OpenBLAS, where the system's BLAS is it, would
// start threads of its own for each of them, which wait for one another: three times slower.
bool keep_blas_to_one_thread() {
  using SetThreads = void (*)(int);
  void* const found = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
  if (found != nullptr) reinterpret_cast<SetThreads>(found)(1);
  return found != nullptr;
}

template <typename Gemm, typename T>
DenseOf<T> multiply(Gemm gemm, BlockOf<T> a, BlockOf<T> b, Transposed transposed) {
  const bool first = transposed == Transposed::first;
  const bool second = transposed == Transposed::second;
  const int64_t depth = first ? a.rows : a.columns;
  check(depth == (second ? b.columns : b.rows), "the sizes of a product fit");
  DenseOf<T> result(first ? a.columns : a.rows, second ? b.rows : b.columns);
  if (result.values.empty() || depth == 0) return result;
  gemm(CblasRowMajor, first ? CblasTrans : CblasNoTrans, second ? CblasTrans : CblasNoTrans,
       to_lapack(result.rows), to_lapack(result.columns), to_lapack(depth), T{1}, a.data,
       to_lapack(a.stride), b.data, to_lapack(b.stride), T{0}, result.values.data(),
       to_lapack(result.columns));
  return result;
}

}  // namespace

static_assert(sizeof(lapack_int) == sizeof(int32_t));

int32_t to_lapack(int64_t size) {
  [[maybe_unused]] static const bool alone = keep_blas_to_one_thread();
  check(size >= 0 && size <= 1 << 20, "a matrix has a size that LAPACK can count");
  return static_cast<lapack_int>(size);
}

// LAPACKE reports failed workspace allocation by two special codes; any other negative one means
// an argument of ours was wrong; a positive one is the numerical failure that `failure` describes.
void check_lapack(int32_t status, const char* failure) {
  if (status == LAPACK_WORK_MEMORY_ERROR || status == LAPACK_TRANSPOSE_MEMORY_ERROR) {
    throw Error(ErrorCode::out_of_memory, "There is no memory to decompose a weight matrix.");
  }
  check(status >= 0, "LAPACK accepts its arguments");
  if (status > 0) throw Error(ErrorCode::unsupported_model, failure);
}

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

DenseF32 narrow(const Dense& matrix) {
  DenseF32 result(matrix.rows, matrix.columns);
  std::transform(matrix.values.begin(), matrix.values.end(), result.values.begin(),
                 [](double value) { return static_cast<float>(value); });
  return result;
}

Dense widen(const DenseF32& matrix) {
  Dense result(matrix.rows, matrix.columns);
  std::copy(matrix.values.begin(), matrix.values.end(), result.values.begin());
  return result;
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
  return multiply(cblas_dgemm, a, b, transposed);
}

DenseF32 product(BlockF32 a, BlockF32 b, Transposed transposed) {
  return multiply(cblas_sgemm, a, b, transposed);
}

void subtract_product(Dense& from, DenseBlock a, DenseBlock b) {
  check(a.columns == b.rows && from.rows == a.rows && from.columns == b.columns,
        "the sizes of a product fit");
  if (from.values.empty() || a.columns == 0) return;
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, to_lapack(a.rows), to_lapack(b.columns),
              to_lapack(a.columns), -1.0, a.data, to_lapack(a.stride), b.data, to_lapack(b.stride),
              1.0, from.values.data(), to_lapack(from.columns));
}

Dense gram(DenseBlock a) {
  Dense result(a.rows, a.rows);
  if (result.values.empty() || a.columns == 0) return result;
  cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, to_lapack(a.rows), to_lapack(a.columns), 1.0,
              a.data, to_lapack(a.stride), 0.0, result.values.data(), to_lapack(a.rows));
  // In squares that stay in a cache.
  constexpr int64_t kSquare = 64;
  for (int64_t top = 0; top < a.rows; top += kSquare) {
    for (int64_t left = 0; left <= top; left += kSquare) {
      for (int64_t i = top; i < std::min(a.rows, top + kSquare); ++i) {
        for (int64_t j = left; j < std::min(i, left + kSquare); ++j) {
          result.at(j, i) = result.at(i, j);
        }
      }
    }
  }
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
  check_lapack(LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'S', columns, rows, work.values.data(), columns,
                              result.values.data(), result.v.values.data(), columns,
                              result.u.values.data(), to_lapack(count)),
               kNoSvd);
  return result;
}

Dense random_rows(int64_t rows, int64_t columns) {
  Dense result(rows, columns);
  uint64_t state = 1;
  for (double& value : result.values) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    value = std::ldexp(static_cast<double>(state >> 11), -52) - 1;
  }
  return result;
}

void orthonormalize(Dense& rows) {
  check(rows.rows <= rows.columns, "a basis has no more rows than columns");
  if (rows.rows == 0) return;
  const lapack_int length = to_lapack(rows.columns);
  const lapack_int count = to_lapack(rows.rows);
  std::vector<double> tau(static_cast<size_t>(count));
  constexpr const char* kFailure = "A basis could not be computed.";
  check_lapack(
      LAPACKE_dgeqrf(LAPACK_COL_MAJOR, length, count, rows.values.data(), length, tau.data()),
      kFailure);
  check_lapack(LAPACKE_dorgqr(LAPACK_COL_MAJOR, length, count, count, rows.values.data(), length,
                              tau.data()),
               kFailure);
}

LargestSingular largest_singular(const DenseF32& matrix, int64_t count, double tolerance,
                                 const Dense& start) {
  const int64_t rank = std::min(matrix.rows, matrix.columns);
  check(count >= 0 && count <= rank, "a matrix has as many singular values as its smaller side");
  check(start.rows == 0 || start.columns == matrix.columns, "vectors to start from are rows");
  Dense right = random_rows(std::min(rank, count + kSpareVectors), matrix.columns);
  std::copy_n(start.values.begin(), std::min(start.values.size(), right.values.size()),
              right.values.begin());
  orthonormalize(right);
  double before = 0;
  for (int i = 0;; ++i) {
    Dense left = widen(product(narrow(right), matrix, Transposed::second));
    double sum = 0;
    for (const double value : left.values) sum += value * value;
    if (sum - before <= tolerance * sum || i == kMostIterations) {
      const Svd parts = svd(left);
      const Dense turned = product(parts.u, right, Transposed::first);
      LargestSingular result;
      result.values.assign(parts.values.begin(), parts.values.begin() + count);
      result.right = copy(DenseBlock(turned, 0, count, 0, matrix.columns));
      return result;
    }
    before = sum;
    // The squares of small or large values might not be floats.
    for (double& value : left.values) value /= std::sqrt(sum);
    right = widen(product(narrow(left), matrix));
    orthonormalize(right);
  }
}

double largest_value(const DenseF32& matrix) {
  constexpr int64_t kBlock = 4;
  constexpr int64_t kSteps = 12;
  const int64_t rank = std::min(matrix.rows, matrix.columns);
  const int64_t block = std::min(kBlock, rank);
  const int64_t steps = std::min(kSteps, rank / block);
  // What rows span, for there may be few.
  Dense basis = widen(product(narrow(random_rows(block, matrix.rows)), matrix));
  orthonormalize(basis);
  Dense images(0, matrix.rows);  // of the basis: they lose nothing where its rows change signs
  for (int64_t step = 0;; ++step) {
    const DenseF32 last = narrow(copy(DenseBlock(basis, step * block, block, 0, matrix.columns)));
    const DenseF32 left = product(last, matrix, Transposed::second);
    images = stack(images, widen(left));
    if (step + 1 == steps) return svd(images).values.front();
    basis = stack(basis, widen(product(left, matrix)));
    orthonormalize(basis);
  }
}

Dense cholesky(Dense symmetric) {
  check(symmetric.rows == symmetric.columns, "a symmetric matrix is square");
  Dense lower = std::move(symmetric);
  const lapack_int size = to_lapack(lower.rows);
  // By columns LAPACK's upper triangle R, a = R^T R, is by rows our lower L = R^T.
  check_lapack(LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', size, lower.values.data(), size),
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
  check_lapack(LAPACKE_dgesv(LAPACK_ROW_MAJOR, to_lapack(a.rows), to_lapack(b.columns),
                             factor.values.data(), to_lapack(a.columns), pivots.data(),
                             solution.values.data(), to_lapack(b.columns)),
               "A matrix to be solved for is singular.");
  return solution;
}

}  // namespace slim
