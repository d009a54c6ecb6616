// Test matrices and their comparison.
#include "kernels/parity.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "fmt/format.h"

namespace slim {
namespace {

constexpr std::byte kCanary{0xA5};

bool same_kind(float actual, float expected) {
  if (std::isnan(expected)) return std::isnan(actual);
  return std::isinf(expected) ? actual == expected : std::isfinite(actual);
}

}  // namespace

TestMatrix::TestMatrix(DType type, int64_t rows, int64_t columns, int64_t padding)
    : type_(type),
      rows_(rows),
      columns_(columns),
      stride_(columns + padding),
      // One element more, so that an empty matrix has an address too.
      bytes_(static_cast<size_t>((rows * stride_ + 1) * size_of(type)), kCanary) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) set(r, c, 0.0F);
  }
}

TestMatrix TestMatrix::random(unsigned seed, DType type, int64_t rows, int64_t columns,
                              int64_t padding) {
  std::mt19937 source(seed);
  return TestMatrix(type, rows, columns, padding).map([&](float) {
    return static_cast<float>(source() >> 8) * 0x1p-23F - 1.0F;
  });
}

TestMatrix TestMatrix::of(std::span<const float> values, int64_t rows, int64_t columns) {
  auto next = values.begin();
  return TestMatrix(DType::f32, rows, columns).map([&](float) { return *next++; });
}

Matrix TestMatrix::view() { return {bytes_.data(), type_, rows_, columns_, stride_}; }

ConstMatrix TestMatrix::view() const { return {bytes_.data(), type_, rows_, columns_, stride_}; }

const std::byte* TestMatrix::address(int64_t row, int64_t column) const {
  return bytes_.data() + (row * stride_ + column) * size_of(type_);
}

float TestMatrix::at(int64_t row, int64_t column) const {
  float value = 0.0F;
  decode_row({type_, 1}, address(row, column), &value);
  return value;
}

void TestMatrix::set(int64_t row, int64_t column, float value) {
  const int64_t offset = address(row, column) - bytes_.data();
  encode_row({type_, 1}, &value, bytes_.data() + offset);
}

const float* TestMatrix::floats() const { return view().row<float>(0); }

bool TestMatrix::padding_intact() const {
  for (int64_t r = 0; r < rows_; ++r) {
    const std::byte* end = address(r, stride_);
    if (!std::all_of(address(r, columns_), end, [](std::byte b) { return b == kCanary; })) {
      return false;
    }
  }
  return true;
}

Comparison compare(const TestMatrix& actual, const TestMatrix& expected, const TestMatrix& bounds) {
  Comparison result;
  double largest = 0.0;
  double product = 0.0;
  double actual_square = 0.0;
  double expected_square = 0.0;
  double bound_square = 0.0;
  const auto fail = [&](int64_t& counter, int64_t r, int64_t c) {
    ++counter;
    if (!result.first.empty()) return;
    result.first = fmt::format("[{}, {}] is {} instead of {}, with a bound of {}", r, c,
                               actual.at(r, c), expected.at(r, c), bounds.at(r, c));
  };
  for (int64_t r = 0; r < expected.rows(); ++r) {
    for (int64_t c = 0; c < expected.columns(); ++c) {
      if (!same_kind(actual.at(r, c), expected.at(r, c))) fail(result.misplaced, r, c);
      if (!std::isfinite(actual.at(r, c)) || !std::isfinite(expected.at(r, c))) continue;
      const double a = actual.at(r, c);
      const double e = expected.at(r, c);
      const double bound = bounds.at(r, c);
      const double difference = std::fabs(a - e);
      if (!(difference <= bound && std::isfinite(bound))) fail(result.outside, r, c);
      if (difference > 0.0) {
        result.largest_share = std::max(result.largest_share, difference / bound);
      }
      result.absolute = std::max(result.absolute, difference);
      largest = std::max(largest, std::fabs(e));
      product += a * e;
      actual_square += a * a;
      expected_square += e * e;
      bound_square += bound * bound;
    }
  }
  if (largest > 0.0) result.relative = result.absolute / largest;
  const double norms = std::sqrt(actual_square) * std::sqrt(expected_square);
  if (norms > 0.0) {
    result.cosine = product / norms;
    // An error at right angles, of length r times the whole, leaves 1 - r^2 / 2; 1e-12 is for the
    // sums above.
    result.cosine_bound = 1.0 - bound_square / 16.0 / expected_square / 2.0 - 1e-12;
  }
  return result;
}

testing::AssertionResult agrees(const TestMatrix& actual, const TestMatrix& expected,
                                const TestMatrix& bounds) {
  if (actual.rows() != expected.rows() || actual.columns() != expected.columns() ||
      bounds.rows() != expected.rows() || bounds.columns() != expected.columns()) {
    return testing::AssertionFailure() << "the shapes differ";
  }
  if (!actual.padding_intact()) {
    return testing::AssertionFailure() << "the padding between rows was written";
  }
  const Comparison found = compare(actual, expected, bounds);
  if (found.misplaced == 0 && found.outside == 0 && found.cosine >= found.cosine_bound) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << fmt::format(
             "of {} elements {} are misplaced and {} outside ({:.3g} of the bound at most); "
             "absolute {:.3g}, relative {:.3g}, 1 - cosine {:.3g} of {:.3g}; {}",
             expected.rows() * expected.columns(), found.misplaced, found.outside,
             found.largest_share, found.absolute, found.relative, 1.0 - found.cosine,
             1.0 - found.cosine_bound, found.first);
}

std::vector<Candidate> candidates() {
  std::vector<Candidate> all;
  for (const std::string& name : kernel_names()) {
    if (name == "reference") continue;
    all.push_back({name, 1});
    const bool has_target = name.find(':') != std::string::npos;
    if (!has_target) all.push_back({name, 3});
  }
  return all;
}

std::ostream& operator<<(std::ostream& stream, const Candidate& candidate) {
  return stream << fmt::format("{} with {} threads", candidate.name, candidate.threads);
}

std::string candidate_name(const testing::TestParamInfo<Candidate>& info) {
  std::string name = fmt::format("{}_threads_{}", info.param.name, info.param.threads);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

}  // namespace slim
