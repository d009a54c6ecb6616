// The value map by factors of W_K, and the rearrangement that absorbs W_K into queries.
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
// Of the largest value looked at: what iteration has made exact ((1/32)^12 is 2^-60), and what
// dividing by would magnify errors more than others do.
constexpr double kTiny = 1.0 / 32;

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
  subtract_product(rows, along, basis);
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
  const double largest = largest_value(narrow(matrix));
  const int64_t size = matrix.rows;
  const double smallest = TallFactor(std::move(matrix)).smallest(1).values.front();
  return condition(largest, smallest, size);
}

ValueMaps::ValueMaps(Dense key_weight, Dense value_weight, int64_t most)
    : largest_(largest_value(narrow(check_tall(key_weight)))),
      keys_(std::move(key_weight)),
      most_(most) {
  const int64_t width = keys_.width();
  check(width == value_weight.columns && most >= 0, "W_K and W_V have one input");
  if (most > width) {
    throw Error(
        ErrorCode::bad_request,
        fmt::format("The spill of a layer with {} inputs cannot have {} columns.", width, most));
  }
  small_ = keys_.smallest(std::min(width, most + kSpare));
  condition_ = slim::condition(largest_, small_.values.front(), small_.left.columns);
  const double zero = zero_beside(largest_, small_.left.columns);
  nullity_ = std::count_if(small_.values.begin(), small_.values.end(),
                           [&](double value) { return value <= zero; });
  tiny_ = std::count_if(small_.values.begin(), small_.values.begin() + most,
                        [&](double value) { return value <= kTiny * small_.values.back(); });
  small_.left = copy(DenseBlock(small_.left, 0, most, 0, small_.left.columns));
  small_.right = copy(DenseBlock(small_.right, 0, most, 0, width));
  along_ = project_out(small_.right, value_weight);
  rest_ = through_inverse(std::move(value_weight));
  if (most == 0) return;
  inverse_ = through_inverse(small_.right);
  for (int64_t i = 0; i < tiny_; ++i) {
    std::transform(small_.left.row(i), small_.left.row(i) + small_.left.columns, inverse_.row(i),
                   [&](double value) { return value / small_.values[static_cast<size_t>(i)]; });
  }
}

// Rows that have nothing along the tiny directions.
Dense ValueMaps::through_inverse(Dense rows) const {
  Dense through = keys_.through_inverse(std::move(rows));
  project_out(copy(DenseBlock(small_.left, 0, tiny_, 0, small_.left.columns)), through);
  return through;
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

// With the rows u_i of small_.right, whatever they are, y_i = u_i^T A^+:
//   M_r^T = rest - B^T P^T (without u_1 .. u_most) A^+ + sum over r < i <= most of
//           (W_V^T u_i - B^T P^T u_i) y_i
// which divides by no singular value that is left out. Errors of u_i would be along others that are
// smaller; where those are tiny, nothing is left of them in y_i and the first two.
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
    subtract_product(carried, result.spill_map, project_out(small_.right, spilled));
    subtract_product(result.map, result.spill_map, through_inverse(std::move(spilled)));
  }
  if (spill == most_) return result;
  for (double& value : carried.values) value = -value;
  subtract_product(result.map, DenseBlock(carried, 0, carried.rows, spill, most_ - spill),
                   DenseBlock(inverse_, spill, most_ - spill, 0, inverse_.columns));
  return result;
}

ExactValueMap exact_value_map(const Dense& key_weight, const Dense& value_weight, int64_t spill) {
  return ValueMaps(key_weight, value_weight, spill).at(spill);
}

ValueMap to_stored(const ExactValueMap& exact, std::optional<Dense> moments) {
  ValueMap result;
  if (moments) {
    RoundedMatrix rounded = round_rows(exact.map, *std::move(moments));
    result.map = std::move(rounded.integers);
    result.scale = std::move(rounded.scale);
  } else {
    result.map = to_tensor(exact.map, DType::f32);
  }
  if (exact.spill.rows > 0) {
    result.spill = to_tensor(exact.spill, DType::f16);
    result.spill_map = to_tensor(exact.spill_map, DType::f32);
  }
  return result;
}

ValueMap value_map(const Tensor& key_weight, const Tensor& value_weight,
                   const ValueMapOptions& options) {
  const ExactValueMap exact =
      ValueMaps(to_dense(key_weight, "key"), to_dense(value_weight, "value"), options.spill)
          .at(options.spill);
  if (!options.rounded) return to_stored(exact, std::nullopt);
  return to_stored(exact, output_moments(to_dense(key_weight, "key"), options.moments));
}

Tensor value_map(const Tensor& key_weight, const Tensor& value_weight) {
  return value_map(key_weight, value_weight, ValueMapOptions{}).map;
}

DenseF32 row_map(const ExactValueMap& map) {
  const int64_t keys = map.map.columns;
  const int64_t spill = map.spill_map.columns;
  DenseF32 result(map.map.rows, keys + spill);
  const auto to_float = [](double value) { return static_cast<float>(value); };
  for (int64_t i = 0; i < result.rows; ++i) {
    std::transform(map.map.row(i), map.map.row(i) + keys, result.row(i), to_float);
    if (spill == 0) continue;
    const double* from = map.spill_map.row(i);
    std::transform(from, from + spill, result.row(i) + keys, to_float);
  }
  return result;
}

DenseF32 row_map(const ValueMap& map) {
  ExactValueMap exact;
  exact.map = to_dense(map.map, "value map");
  for (int64_t i = 0; i < exact.map.rows && !map.scale.empty(); ++i) {
    const double scale = map.scale.values<float>()[i];
    std::for_each(exact.map.row(i), exact.map.row(i) + exact.map.columns,
                  [scale](double& value) { value *= scale; });
  }
  if (!map.spill_map.empty()) exact.spill_map = to_dense(map.spill_map, "spill map");
  return row_map(exact);
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
