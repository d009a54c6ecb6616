// Test matrices and their comparison.
#include "kernels/parity.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>
#include <utility>

#include "fmt/format.h"
#include "tensor/weight_blocks.h"

namespace slim {
namespace {

constexpr std::byte kCanary{0xA5};

bool same_kind(float actual, float expected) {
  if (std::isnan(expected)) return std::isnan(actual);
  return std::isinf(expected) ? actual == expected : std::isfinite(actual);
}

// A block's binary16 fields, and where its integers lie (scales of runs are neither).
struct BlockFields {
  std::vector<std::pair<int64_t, float>> halves;  // offset, largest magnitude
  int64_t integers = 0;
  int64_t end = 0;
};
BlockFields fields_of(DType type) {
  switch (type) {
    case DType::q8_0:
      return {{{0, 1.0F / 128.0F}}, 2, 34};
    case DType::q4_0:
      return {{{0, 1.0F / 8.0F}}, 2, 18};
    case DType::q4_k:
      return {{{0, 1.0F / 480.0F}, {2, 1.0F / 63.0F}}, 16, 144};
    case DType::q5_k:
      return {{{0, 1.0F / 960.0F}, {2, 1.0F / 63.0F}}, 16, 176};
    default:
      return {{{208, 1.0F / 2048.0F}}, 0, 192};
  }
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

TestWeight::TestWeight(unsigned seed, DType type, int64_t rows, int64_t columns, int64_t padding)
    : type_(type),
      rows_(rows),
      columns_(columns),
      stride_(columns + padding),
      bytes_(static_cast<size_t>(bytes_of(type, rows * stride_))) {
  std::mt19937 source(seed);
  const auto uniform = [&] { return static_cast<float>(source() >> 8) * 0x1p-23F - 1.0F; };
  for (std::byte& byte : bytes_) byte = static_cast<std::byte>(source() >> 24);
  if (!is_block_type(type)) {
    const float largest = type == DType::i8 ? 127.0F : 32767.0F;
    for (int64_t n = 0; n < rows; ++n) scales_.push_back(uniform() / largest);
    return;
  }
  const BlockFields fields = fields_of(type);
  const auto block = static_cast<size_t>(block_of(type).bytes);
  for (size_t at = 0; at < bytes_.size(); at += block) {
    for (const auto& [offset, largest] : fields.halves) {
      const Half half = to_half(uniform() * largest);
      std::memcpy(bytes_.data() + at + offset, &half, sizeof(half));
    }
  }
}

TestMatrix TestWeight::values() const {
  TestMatrix all(DType::f32, rows_, columns_);
  std::vector<float> row(static_cast<size_t>(columns_));
  for (int64_t n = 0; n < rows_; ++n) {
    if (type_ == DType::i8) std::copy_n(view().row<int8_t>(n), columns_, row.data());
    if (type_ == DType::i16) std::copy_n(view().row<int16_t>(n), columns_, row.data());
    if (is_block_type(type_)) decode_blocks(type_, view().row_bytes(n), columns_, row.data());
    const float factor = scales_.empty() ? 1.0F : scales_[static_cast<size_t>(n)];
    for (int64_t k = 0; k < columns_; ++k) all.set(n, k, row[static_cast<size_t>(k)] * factor);
  }
  return all;
}

TestMatrix TestWeight::magnitudes() const {
  const TestMatrix all = values();
  if (!is_block_type(type_) || type_ == DType::q8_0) return all.magnitudes();
  TestWeight zeros = *this;  // what integers of zero stand for is what the block subtracts
  const BlockFields fields = fields_of(type_);
  for (size_t at = 0; at < bytes_.size(); at += static_cast<size_t>(block_of(type_).bytes)) {
    std::memset(zeros.bytes_.data() + at + fields.integers, 0,
                static_cast<size_t>(fields.end - fields.integers));
  }
  const TestMatrix subtracted = zeros.values();
  TestMatrix result = all;
  for (int64_t n = 0; n < rows_; ++n) {
    for (int64_t k = 0; k < columns_; ++k) {
      result.set(n, k,
                 std::fabs(all.at(n, k) - subtracted.at(n, k)) + std::fabs(subtracted.at(n, k)));
    }
  }
  return result;
}

void TestWeight::spoil(int64_t row) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  if (!is_block_type(type_)) {
    scales_[static_cast<size_t>(row)] = kNaN;
    return;
  }
  const Half half = to_half(kNaN);
  const int64_t end = bytes_of(type_, row * stride_ + columns_);
  const int64_t offset = fields_of(type_).halves.back().first;
  std::memcpy(bytes_.data() + end - block_of(type_).bytes + offset, &half, sizeof(half));
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

std::vector<Implementation> candidates() {
  std::vector<Implementation> all;
  for (const std::string& name : test::test_device_names()) {
    // The island's own tests (staged_test.cpp) take seconds, these would take minutes there.
    if (name == "reference" || name == "island") continue;
    all.push_back({name, 1});
    if (name == "cpu") all.push_back({name, 3});
  }
  return all;
}

std::ostream& operator<<(std::ostream& stream, const Implementation& candidate) {
  return stream << fmt::format("{} with {} threads", candidate.name, candidate.threads);
}

std::string candidate_name(const testing::TestParamInfo<Implementation>& info) {
  std::string name = fmt::format("{}_threads_{}", info.param.name, info.param.threads);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

}  // namespace slim
