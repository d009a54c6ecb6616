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
DenseF32 unit_factor(Dense moments, const std::vector<int64_t>& order) {
  const int64_t size = moments.rows;
  Dense ordered(size, size);
  double trace = 0;
  for (int64_t i = 0; i < size; ++i) {
    trace += moments.at(i, i);
    const double* from = moments.row(order[static_cast<size_t>(i)]);
    for (int64_t j = 0; j < size; ++j) ordered.at(i, j) = from[order[static_cast<size_t>(j)]];
  }
  moments = Dense();
  // A zero C (no weights at all) takes any positive diagonal.
  const double damping = trace > 0 ? kDamping * trace / static_cast<double>(size) : 1.0;
  for (int64_t i = 0; i < size; ++i) ordered.at(i, i) += damping;
  const Dense lower = cholesky(std::move(ordered));
  std::vector<double> diagonal;
  for (int64_t j = 0; j < size; ++j) diagonal.push_back(lower.at(j, j));
  DenseF32 factor(size, size);
  for (int64_t i = 0; i < size; ++i) {
    std::transform(lower.row(i), lower.row(i) + i + 1, diagonal.begin(), factor.row(i),
                   [](double value, double by) { return static_cast<float>(value / by); });
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

// Rounds the columns of one matrix, in an order: those before the current block are still free,
// those behind it have left their errors. Columns are held as rows, each where the order has it.
class Rounder {
 public:
  Rounder(const Dense& matrix, const std::vector<int64_t>& order)
      : order_(order),
        rows_(matrix.columns, matrix.rows),
        errors_(matrix.columns, matrix.rows),
        integers_(rows_.values.size()) {
    for (int64_t i = 0; i < matrix.rows; ++i) {
      scales_.push_back(row_scale(matrix.row(i), matrix.columns));
    }
    in_strips(matrix.rows, [&](int64_t place, int64_t i) {
      rows_.at(place, i) = matrix.at(i, order_[static_cast<size_t>(place)]);
    });
  }

  // Rounds the column at `place`, each element less its part of `offset`.
  void round(int64_t place, const float* offset) {
    const double* row = rows_.row(place);
    float* errors = errors_.row(place);
    int16_t* integers = integers_.data() + place * rows_.columns;
    for (int64_t i = 0; i < rows_.columns; ++i) {
      const double value = row[i];
      const double scale = scales_[static_cast<size_t>(i)];
      const double wanted = scale > 0 ? (value - double{offset[i]}) / scale : 0;
      const double number = std::clamp(std::nearbyint(wanted), -kLargest, kLargest);
      integers[i] = static_cast<int16_t>(number);
      errors[i] = static_cast<float>(number * scale - value);
    }
  }

  // Of columns that are rounded, by place.
  const DenseF32& errors() const { return errors_; }

  RoundedMatrix take() const {
    const int64_t columns = rows_.rows;
    RoundedMatrix result{Tensor::allocate(host_device(), DType::i16, {rows_.columns, columns}),
                         Tensor::allocate(host_device(), DType::f32, {rows_.columns})};
    int16_t* integers = result.integers.writable<int16_t>();
    in_strips(rows_.columns, [&](int64_t place, int64_t i) {
      integers[i * columns + order_[static_cast<size_t>(place)]] =
          integers_[static_cast<size_t>(place * rows_.columns + i)];
    });
    std::copy(scales_.begin(), scales_.end(), result.scale.writable<float>());
    return result;
  }

 private:
  // Calls move(place, i) for all elements, by strips of rows i that stay in a cache.
  template <typename Move>
  void in_strips(int64_t rows, Move move) const {
    constexpr int64_t kStrip = 16;
    for (int64_t top = 0; top < rows; top += kStrip) {
      for (int64_t place = 0; place < std::ssize(order_); ++place) {
        for (int64_t i = top; i < std::min(rows, top + kStrip); ++i) move(place, i);
      }
    }
  }

  const std::vector<int64_t>& order_;
  Dense rows_;  // [columns, rows]
  DenseF32 errors_;
  std::vector<int16_t> integers_;
  std::vector<float> scales_;
};

// Each column by what the errors of those behind it ask of it.
void round_shaped(Rounder& rounder, const DenseF32& factor) {
  const DenseF32& errors = rounder.errors();
  const int64_t size = factor.rows;
  for (int64_t end = size; end > 0;) {
    const int64_t begin = std::max<int64_t>(0, end - kBlock);
    // Of the errors behind the block, then, column by column, those within it.
    DenseF32 offsets =
        product(BlockF32(factor, end, size - end, begin, end - begin),
                BlockF32(errors, end, size - end, 0, errors.columns), Transposed::first);
    for (int64_t j = end - 1; j >= begin; --j) {
      rounder.round(j, offsets.row(j - begin));
      const float* error = errors.row(j);
      for (int64_t other = begin; other < j; ++other) {
        const float share = factor.at(j, other);
        float* offset = offsets.row(other - begin);
        for (int64_t i = 0; i < errors.columns; ++i) offset[i] += share * error[i];
      }
    }
    end = begin;
  }
}

}  // namespace

RoundedMatrix round_rows(const Dense& matrix, Dense moments) {
  const int64_t size = matrix.columns;
  if (moments.rows == 0) {
    std::vector<int64_t> order(static_cast<size_t>(size));
    std::iota(order.begin(), order.end(), 0);
    Rounder rounder(matrix, order);
    const std::vector<float> none(static_cast<size_t>(matrix.rows));
    for (int64_t j = 0; j < size; ++j) rounder.round(j, none.data());
    return rounder.take();
  }
  check(moments.rows == size && moments.columns == size, "moments are of the matrix's input");
  const std::vector<int64_t> order = rounding_order(moments);
  const DenseF32 factor = unit_factor(std::move(moments), order);
  Rounder rounder(matrix, order);
  round_shaped(rounder, factor);
  return rounder.take();
}

}  // namespace slim
