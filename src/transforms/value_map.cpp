// Condition numbers and value maps by LAPACK, and the rearrangement that absorbs W_K into queries.
//
// LAPACK stores matrices by columns and files store W^T by rows: the same bytes. So the buffer of
// W_K^T [e, d] is LAPACK's W_K, that of W_V^T is its W_V, and the solution M of W_K M = W_V comes
// out, read by rows, as M^T: what grouped_linear takes. Nothing is ever transposed.
#include "transforms/value_map.h"

#include <lapacke.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/check.h"
#include "slim/error.h"

namespace slim {
namespace {

// The weight in double precision; LAPACK may loop or lie where it meets NaN or infinity.
std::vector<double> widen(const Tensor& weight, const char* name) {
  check(weight.shape().size() == 2, "a weight is a matrix");
  const Tensor values = weight.to_f32();
  std::vector<double> wide(static_cast<size_t>(values.elements()));
  std::copy_n(values.values<float>(), wide.size(), wide.begin());
  if (!std::all_of(wide.begin(), wide.end(), [](double value) { return std::isfinite(value); })) {
    throw Error(ErrorCode::bad_file, std::string("The ") + name +
                                         " weight of an attention layer holds a NaN or an " +
                                         "infinity.");
  }
  return wide;
}

// LAPACKE reports failed workspace allocation by two special codes; any other negative one means
// an argument of ours was wrong.
void check_status(lapack_int status) {
  if (status == LAPACK_WORK_MEMORY_ERROR || status == LAPACK_TRANSPOSE_MEMORY_ERROR) {
    throw Error(ErrorCode::out_of_memory, "There is no memory to decompose a weight matrix.");
  }
  check(status >= 0, "LAPACK accepts its arguments");
}

// Solves factor * x = right in place; `size` equations for as many right-hand sides. Returns the
// reciprocal condition number of `factor` in the 1-norm, 0 where it is exactly singular.
double solve(std::vector<double>& factor, std::vector<double>& right, lapack_int size) {
  const double norm = LAPACKE_dlange(LAPACK_COL_MAJOR, '1', size, size, factor.data(), size);
  std::vector<lapack_int> pivots(static_cast<size_t>(size));
  const lapack_int status = LAPACKE_dgesv(LAPACK_COL_MAJOR, size, size, factor.data(), size,
                                          pivots.data(), right.data(), size);
  check_status(status);
  if (status > 0) return 0;
  double reciprocal = 0;
  check_status(LAPACKE_dgecon(LAPACK_COL_MAJOR, '1', size, factor.data(), size, norm, &reciprocal));
  return reciprocal;
}

}  // namespace

double condition_number(const Tensor& weight) {
  std::vector<double> matrix = widen(weight, "key");
  const auto columns = static_cast<lapack_int>(weight.size(0));
  const auto rows = static_cast<lapack_int>(weight.size(1));
  check(rows > 0 && columns > 0, "a weight has elements");
  std::vector<double> singular(static_cast<size_t>(std::min(rows, columns)));
  const lapack_int status = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', rows, columns, matrix.data(),
                                           rows, singular.data(), nullptr, rows, nullptr, columns);
  check_status(status);
  // Not converging within 30 sweeps a value is unheard of for finite matrices: then nothing is
  // known, and the safe answer is the worst one.
  if (status > 0 || singular.back() == 0) return std::numeric_limits<double>::infinity();
  return singular.front() / singular.back();
}

Tensor value_map(const Tensor& key_weight, const Tensor& value_weight) {
  check(key_weight.shape() == value_weight.shape(), "W_K and W_V have one shape");
  std::vector<double> keys = widen(key_weight, "key");
  std::vector<double> map = widen(value_weight, "value");
  const int64_t size = key_weight.size(0);
  if (size != key_weight.size(1)) {
    throw Error(ErrorCode::unsupported_model,
                "A value map needs a square key weight; this one has " + std::to_string(size) +
                    " outputs and " + std::to_string(key_weight.size(1)) + " inputs.");
  }
  const double reciprocal = solve(keys, map, static_cast<lapack_int>(size));
  if (!(reciprocal >= std::numeric_limits<double>::epsilon())) {
    throw Error(ErrorCode::unsupported_model,
                "The key weight is singular to double precision, so values cannot be computed "
                "from keys.");
  }
  Tensor result = Tensor::allocate(host_device(), DType::f32, {size, size});
  std::transform(map.begin(), map.end(), result.writable<float>(),
                 [](double value) { return static_cast<float>(value); });
  return result;
}

Tensor absorb_key(const Tensor& key_weight, int64_t heads) {
  check(key_weight.shape().size() == 2 && heads > 0 && key_weight.size(0) % heads == 0,
        "a key weight is a matrix of whole heads");
  const int64_t head_width = key_weight.size(0) / heads;
  const int64_t width = key_weight.size(1);
  Tensor absorbed = Tensor::allocate(host_device(), key_weight.type(), {heads * width, head_width});
  visit(key_weight.type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = key_weight.values<T>();
    T* to = absorbed.writable<T>();
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t column = 0; column < width; ++column) {
        for (int64_t c = 0; c < head_width; ++c) {
          *to++ = from[(head * head_width + c) * width + column];
        }
      }
    }
  });
  return absorbed;
}

}  // namespace slim
