// The value map by SVD, and the rearrangement that absorbs W_K into queries.
#include "transforms/value_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "slim/error.h"
#include "transforms/matrix_rounding.h"

namespace slim {
namespace {

// How many singular values are zero to double precision.
int64_t nullity(const std::vector<double>& values, int64_t size) {
  const double zero =
      values.front() * static_cast<double>(size) * std::numeric_limits<double>::epsilon();
  return std::count_if(values.begin(), values.end(), [&](double value) { return value <= zero; });
}

void check_spill(const Svd& keys, int64_t spill) {
  const int64_t width = keys.v.columns;
  if (spill > width) {
    throw Error(
        ErrorCode::bad_request,
        fmt::format("The spill of a layer with {} inputs cannot have {} columns.", width, spill));
  }
  const int64_t lost = nullity(keys.values, keys.u.rows);
  if (lost <= spill) return;
  throw Error(ErrorCode::unsupported_model,
              fmt::format("The key weight is singular to double precision: its rank is {} of {}. "
                          "Values cannot be computed from keys and {} spill columns; it takes {}.",
                          width - lost, width, spill, lost));
}

}  // namespace

double condition_number(const Tensor& weight) {
  const std::vector<double> values = singular_values(to_dense(weight, "key"));
  if (values.back() == 0) return std::numeric_limits<double>::infinity();
  return values.front() / values.back();
}

ExactValueMap exact_value_map(const Dense& key_weight, const Dense& value_weight, int64_t spill) {
  if (key_weight.rows < key_weight.columns) {
    throw Error(ErrorCode::unsupported_model,
                fmt::format("A value map needs keys at least as wide as the layer's input; this "
                            "key weight has {} outputs and {} inputs.",
                            key_weight.rows, key_weight.columns));
  }
  return exact_value_map(svd(key_weight), value_weight, spill);
}

// W_K^T = u diag(s) v: the rows of v are the U of value_map.h, the columns of u its V.
ExactValueMap exact_value_map(const Svd& keys, const Dense& value_weight, int64_t spill) {
  const int64_t width = keys.v.columns;
  check(width == value_weight.columns && width == keys.v.rows && spill >= 0,
        "W_K and W_V have one input, no wider than the keys");
  check_spill(keys, spill);
  const int64_t kept = width - spill;

  ExactValueMap result;
  Dense rest = value_weight;  // (W_V - P B)^T
  if (spill > 0) {
    const DenseBlock small(keys.v, kept, spill, 0, width);  // U_r^T
    result.spill = to_dense(to_tensor(copy(small), DType::f16), "spill");
    const Dense right = product(small, value_weight, Transposed::second);  // U_r^T W_V
    result.spill_map = transpose(solve(product(small, result.spill, Transposed::second), right));
    const Dense spilled = product(result.spill_map, result.spill);
    std::transform(rest.values.begin(), rest.values.end(), spilled.values.begin(),
                   rest.values.begin(), std::minus<>());
  }
  const DenseBlock large(keys.v, 0, kept, 0, width);
  Dense turned = product(rest, large, Transposed::second);  // (W_V - P B)^T U_k
  for (int64_t i = 0; i < turned.rows; ++i) {
    for (int64_t j = 0; j < kept; ++j) turned.at(i, j) /= keys.values[static_cast<size_t>(j)];
  }
  result.map = product(turned, DenseBlock(keys.u, 0, keys.u.rows, 0, kept), Transposed::second);
  result.singular_values = std::move(keys.values);
  return result;
}

ValueMap value_map(const Tensor& key_weight, const Tensor& value_weight,
                   const ValueMapOptions& options) {
  const Dense keys = to_dense(key_weight, "key");
  ExactValueMap exact = exact_value_map(keys, to_dense(value_weight, "value"), options.spill);
  ValueMap result;
  if (options.rounded) {
    RoundedMatrix rounded = round_rows(exact.map, output_moments(keys, options.moments));
    result.map = std::move(rounded.integers);
    result.scale = std::move(rounded.scale);
  } else {
    result.map = to_tensor(exact.map, DType::f32);
  }
  if (options.spill > 0) {
    result.spill = to_tensor(exact.spill, DType::f16);
    result.spill_map = to_tensor(exact.spill_map, DType::f32);
  }
  result.singular_values = std::move(exact.singular_values);
  return result;
}

Tensor value_map(const Tensor& key_weight, const Tensor& value_weight) {
  return value_map(key_weight, value_weight, ValueMapOptions{}).map;
}

Dense row_map(const ValueMap& map) {
  const Dense keys = to_dense(map.map, "value map");
  const Dense spill =
      map.spill_map.empty() ? Dense(keys.rows, 0) : to_dense(map.spill_map, "spill map");
  Dense result(keys.rows, keys.columns + spill.columns);
  for (int64_t i = 0; i < keys.rows; ++i) {
    const double scale = map.scale.empty() ? 1.0 : double{map.scale.values<float>()[i]};
    std::transform(keys.row(i), keys.row(i) + keys.columns, result.row(i),
                   [scale](double value) { return value * scale; });
    std::copy_n(spill.row(i), spill.columns, result.row(i) + keys.columns);
  }
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
