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

constexpr int64_t kSpare = 8;  // singular values beyond the spill that are looked at

double largest_value(const Dense& matrix) {
  return largest_singular(matrix, 1, 1e-10).values.front();
}

// Singular values up to this are zero to double precision.
double zero_beside(double largest, int64_t size) {
  if (largest == 0) return std::numeric_limits<double>::infinity();
  return largest * static_cast<double>(size) * std::numeric_limits<double>::epsilon();
}

double condition(double largest, double smallest, int64_t size) {
  if (smallest <= zero_beside(largest, size)) return std::numeric_limits<double>::infinity();
  return std::max(1.0, largest / smallest);
}

// Rows less what they have along an orthonormal basis; returns that, [rows, basis].
Dense project_out(const Dense& basis, Dense& rows) {
  Dense along = product(rows, basis, Transposed::second);
  subtract(rows, product(along, basis));
  return along;
}

const Dense& check_tall(const Dense& key_weight) {
  if (key_weight.rows >= key_weight.columns) return key_weight;
  throw Error(ErrorCode::unsupported_model,
              fmt::format("A value map needs keys at least as wide as the layer's input; this "
                          "key weight has {} outputs and {} inputs.",
                          key_weight.rows, key_weight.columns));
}

}  // namespace

double condition_number(const Tensor& weight) {
  Dense matrix = to_dense(weight, "key");
  if (matrix.rows < matrix.columns) matrix = transpose(matrix);
  const double smallest = TallFactor(matrix).smallest(1).values.front();
  return condition(largest_value(matrix), smallest, matrix.rows);
}

ValueMaps::ValueMaps(const Dense& key_weight, const Dense& value_weight, int64_t most)
    : keys_(check_tall(key_weight)), most_(most) {
  const int64_t width = key_weight.columns;
  check(width == value_weight.columns && most >= 0, "W_K and W_V have one input");
  if (most > width) {
    throw Error(
        ErrorCode::bad_request,
        fmt::format("The spill of a layer with {} inputs cannot have {} columns.", width, most));
  }
  small_ = keys_.smallest(std::min(width, most + kSpare));
  const double largest = largest_value(key_weight);
  condition_ = slim::condition(largest, small_.values.front(), key_weight.rows);
  const double zero = zero_beside(largest, key_weight.rows);
  nullity_ = std::count_if(small_.values.begin(), small_.values.end(),
                           [&](double value) { return value <= zero; });
  small_.left = copy(DenseBlock(small_.left, 0, most, 0, key_weight.rows));
  small_.right = copy(DenseBlock(small_.right, 0, most, 0, width));
  Dense rest = value_weight;
  along_ = project_out(small_.right, rest);
  rest_ = keys_.through_inverse(std::move(rest));
  project_out(small_.left, rest_);
}

void ValueMaps::check_spill(int64_t spill) const {
  check(spill >= 0 && spill <= most_, "value maps are made for as much spill as is asked of them");
  if (nullity_ <= spill) return;
  const int64_t width = keys_.width();
  const bool seen = nullity_ < std::ssize(small_.values);
  throw Error(ErrorCode::unsupported_model,
              fmt::format("The key weight is singular to double precision: its rank is {}{} of {}. "
                          "Values cannot be computed from keys and {} spill columns; it takes {}.",
                          seen ? "" : "at most ", width - nullity_, width, spill, nullity_));
}

// With the rows u_i of small_.right, v_i of small_.left, i = 1 the smallest:
//   M_r^T = rest - B^T P^T (without u_1 .. u_most) A^+ + sum over r < i <= most of
//           (W_V^T u_i - B^T P^T u_i) v_i^T / s_i
// which divides by no singular value that is left out; the first two are small as s_(most + 1).
ExactValueMap ValueMaps::at(int64_t spill) const {
  check_spill(spill);
  const int64_t width = keys_.width();
  ExactValueMap result;
  result.map = rest_;
  Dense carried = along_;  // what the value map owes each of the smallest directions
  if (spill > 0) {
    const DenseBlock left_out(small_.right, 0, spill, 0, width);  // U_r^T
    result.spill = to_dense(to_tensor(copy(left_out), DType::f16), "spill");
    const Dense right = transpose(DenseBlock(along_, 0, along_.rows, 0, spill));  // U_r^T W_V
    result.spill_map = transpose(solve(product(left_out, result.spill, Transposed::second), right));
    Dense spilled = result.spill;
    subtract(carried, product(result.spill_map, project_out(small_.right, spilled)));
    spilled = keys_.through_inverse(std::move(spilled));
    project_out(small_.left, spilled);
    subtract(result.map, product(result.spill_map, spilled));
  }
  if (spill == most_) return result;
  for (int64_t i = 0; i < carried.rows; ++i) {
    for (int64_t j = spill; j < most_; ++j) {
      carried.at(i, j) /= -small_.values[static_cast<size_t>(j)];
    }
  }
  subtract(result.map,
           product(DenseBlock(carried, 0, carried.rows, spill, most_ - spill),
                   DenseBlock(small_.left, spill, most_ - spill, 0, small_.left.columns)));
  return result;
}

ExactValueMap exact_value_map(const Dense& key_weight, const Dense& value_weight, int64_t spill) {
  return ValueMaps(key_weight, value_weight, spill).at(spill);
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
