// Rounding of a matrix to integers, row by row, with errors that make up for each other.
#include "transforms/matrix_rounding.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace slim {
namespace {

constexpr int64_t kBlock = 64;      // columns rounded between two matrix products
constexpr double kLargest = 32767;  // of the integers

// Adds to the diagonal, as a part of its mean. C of ill-conditioned weights has eigenvalues down
// to cond^-2 = 1e-18 of the largest, below what double precision factors; errors along those do no
// harm, so nothing is lost by treating them as 1e-10.
constexpr double kDamping = 1e-10;

// Columns by rising power: they are rounded from the last, and the strongest must come first,
// while there are others left to make up for their errors.
std::vector<int64_t> rounding_order(const Dense& moments) {
  std::vector<int64_t> order(static_cast<size_t>(moments.rows));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return moments.at(a, a) < moments.at(b, b); });
  return order;
}

// L_ij / L_jj of the ordered and damped C.
Dense unit_factor(const Dense& moments, const std::vector<int64_t>& order) {
  const int64_t size = moments.rows;
  Dense ordered(size, size);
  double trace = 0;
  for (int64_t i = 0; i < size; ++i) {
    trace += moments.at(i, i);
    const double* from = moments.row(order[static_cast<size_t>(i)]);
    for (int64_t j = 0; j < size; ++j) ordered.at(i, j) = from[order[static_cast<size_t>(j)]];
  }
  // A zero C (no weights at all) takes any positive diagonal.
  const double damping = trace > 0 ? kDamping * trace / static_cast<double>(size) : 1.0;
  for (int64_t i = 0; i < size; ++i) ordered.at(i, i) += damping;
  Dense factor = cholesky(ordered);
  std::vector<double> diagonal;
  for (int64_t j = 0; j < size; ++j) diagonal.push_back(factor.at(j, j));
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j <= i; ++j) factor.at(i, j) /= diagonal[static_cast<size_t>(j)];
  }
  return factor;
}

// Smallest f32 with which no number of a row exceeds the largest integer.
float row_scale(const double* row, int64_t columns) {
  double largest = 0;
  for (int64_t j = 0; j < columns; ++j) largest = std::max(largest, std::fabs(row[j]));
  const auto scale = static_cast<float>(largest / kLargest);
  if (double{scale} * kLargest >= largest) return scale;
  return std::nextafter(scale, std::numeric_limits<float>::infinity());
}

// Rounds the columns of one matrix: those before the current block are still free, those behind
// it have left their errors.
class Rounder {
 public:
  explicit Rounder(const Dense& matrix)
      : matrix_(matrix),
        errors_(matrix.columns, matrix.rows),
        result_{Tensor::allocate(host_device(), DType::i16, {matrix.rows, matrix.columns}),
                Tensor::allocate(host_device(), DType::f32, {matrix.rows})},
        integers_(result_.integers.writable<int16_t>()),
        scales_(result_.scale.writable<float>()) {
    for (int64_t i = 0; i < matrix.rows; ++i) scales_[i] = row_scale(matrix.row(i), matrix.columns);
  }

  // Rounds column `column` of the matrix, each element less its part of `offset`; the errors go
  // into row `place`.
  void round(int64_t column, const double* offset, int64_t place) {
    double* errors = errors_.row(place);
    for (int64_t i = 0; i < matrix_.rows; ++i) {
      const double value = matrix_.at(i, column);
      const double scale = scales_[i];
      const double wanted = scale > 0 ? (value - offset[i]) / scale : 0;
      const double number = std::clamp(std::nearbyint(wanted), -kLargest, kLargest);
      integers_[i * matrix_.columns + column] = static_cast<int16_t>(number);
      errors[i] = number * scale - value;
    }
  }

  const Dense& errors() const { return errors_; }
  RoundedMatrix take() { return std::move(result_); }

 private:
  const Dense& matrix_;
  Dense errors_;  // [columns in their order, rows]
  RoundedMatrix result_;
  int16_t* integers_;
  float* scales_;
};

}  // namespace

RoundedMatrix round_rows(const Dense& matrix, const Dense& moments) {
  Rounder rounder(matrix);
  const int64_t size = matrix.columns;
  if (moments.rows == 0) {
    const std::vector<double> none(static_cast<size_t>(matrix.rows));
    for (int64_t j = 0; j < size; ++j) rounder.round(j, none.data(), j);
    return rounder.take();
  }
  check(moments.rows == size && moments.columns == size, "moments are of the matrix's input");
  const std::vector<int64_t> order = rounding_order(moments);
  const Dense factor = unit_factor(moments, order);
  for (int64_t end = size; end > 0;) {
    const int64_t begin = std::max<int64_t>(0, end - kBlock);
    // What the errors behind the block ask of it, then, column by column, those within it.
    Dense offsets =
        product(DenseBlock(factor, end, size - end, begin, end - begin),
                DenseBlock(rounder.errors(), end, size - end, 0, matrix.rows), Transposed::first);
    for (int64_t j = end - 1; j >= begin; --j) {
      rounder.round(order[static_cast<size_t>(j)], offsets.row(j - begin), j);
      const double* errors = rounder.errors().row(j);
      for (int64_t other = begin; other < j; ++other) {
        const double share = factor.at(j, other);
        double* offset = offsets.row(other - begin);
        for (int64_t i = 0; i < matrix.rows; ++i) offset[i] += share * errors[i];
      }
    }
    end = begin;
  }
  return rounder.take();
}

}  // namespace slim
