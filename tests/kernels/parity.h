// The parity harness: every operation of every kernel implementation against the reference.
//
// Tolerances. With u = 2^-24, a sum of n terms in f32 strays from the exact one by at most n * u *
// sum|terms|, whatever its order; as roundings are as good as independent, it stays below
// 4 * sqrt(n) * u * sum|terms| but once in a thousand times, and in practice far below, since the
// partial sums are smaller than sum|terms|. So each element is allowed
//   (4 * sqrt(n) + 8) * u * sum|terms|,
// the 8 being for the handful of roundings around the sum. sum|terms| is computed by the reference,
// on absolute values. This is tight enough to tell a factor rounded to bf16 (2^-9) or f16 (2^-12)
// from an f32 one at every size tested. What an operation adds is said in its test.
#pragma once

#include <cmath>
#include <cstddef>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/kernels.h"
#include "kernels/staged_kernels.h"

namespace slim {

constexpr double kUnit = 0x1p-24;  // the relative rounding error of f32

// What a sum of `terms` products in f32 may stray, as a share of the sum of their magnitudes.
inline double sum_tolerance(int64_t terms) {
  return (4.0 * std::sqrt(static_cast<double>(terms)) + 8.0) * kUnit;
}

// What a softmax over `rows` scores and the sum it weighs may stray, as a share of the weighed
// magnitudes. `score` is what the products of a score come to, by magnitude. The error e of a score
// makes its weight wrong by a factor of exp(e), above and below the fraction; exp itself, and the
// rescaling to a new maximum, cost a few roundings more.
inline double attention_tolerance(int64_t rows, int64_t key_width, double score) {
  return 2.0 * sum_tolerance(key_width) * score + sum_tolerance(rows) + 16.0 * kUnit;
}

// A matrix with memory of its own. Its row starts lie `padding` elements further apart than a row
// is long, and what lies between must stay as it is.
class TestMatrix {
 public:
  TestMatrix(DType type, int64_t rows, int64_t columns, int64_t padding = 0);
  // Uniform in [-1, 1), the same for the same seed everywhere.
  static TestMatrix random(unsigned seed, DType type, int64_t rows, int64_t columns,
                           int64_t padding = 0);
  // f32 values, row by row.
  static TestMatrix of(std::span<const float> values, int64_t rows, int64_t columns);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  Matrix view();
  ConstMatrix view() const;
  float at(int64_t row, int64_t column) const;
  void set(int64_t row, int64_t column, float value);  // rounds to the type
  const float* floats() const;                         // the first element, of an f32 matrix
  bool padding_intact() const;
  // The same matrix with f applied to every value.
  template <typename Function>
  TestMatrix map(Function f) const {
    TestMatrix other = *this;
    for (int64_t r = 0; r < rows_; ++r) {
      for (int64_t c = 0; c < columns_; ++c) other.set(r, c, f(at(r, c)));
    }
    return other;
  }
  TestMatrix magnitudes() const {
    return map([](float value) { return std::fabs(value); });
  }
  friend bool operator==(const TestMatrix&, const TestMatrix&) = default;  // to the last bit

 private:
  const std::byte* address(int64_t row, int64_t column) const;
  DType type_;
  int64_t rows_, columns_, stride_;
  std::vector<std::byte> bytes_;
};

// A random weight of integers or blocks, as a file holds it: every byte is random but for the
// binary16 fields of blocks, which keep the values within [-2, 2] or so.
class TestWeight {
 public:
  // `padding` as for TestMatrix; of block types, whole blocks.
  TestWeight(unsigned seed, DType type, int64_t rows, int64_t columns, int64_t padding = 0);

  ConstMatrix view() const { return {bytes_.data(), type_, rows_, columns_, stride_}; }
  const float* scale() const { return scales_.empty() ? nullptr : scales_.data(); }
  // The numbers it stands for, scales multiplied.
  TestMatrix values() const;
  // What a product may add up for each: |scale * integer| + |what the block subtracts|.
  TestMatrix magnitudes() const;
  // Makes the number of the last binary16 field of a row, or its scale, a NaN.
  void spoil(int64_t row);

 private:
  DType type_;
  int64_t rows_, columns_, stride_;
  std::vector<std::byte> bytes_;
  std::vector<float> scales_;
};

// How far two matrices of one shape are apart. Where both are finite they are compared as numbers;
// elsewhere both must be NaN, or the same infinity.
struct Comparison {
  int64_t misplaced = 0;       // elements that are not NaN, or not infinite, where they should be
  int64_t outside = 0;         // finite elements further apart than their bound
  double largest_share = 0.0;  // of the bound, over all elements
  double absolute = 0.0;       // largest difference
  double relative = 0.0;       // the same over the largest finite magnitude expected
  double cosine = 1.0;
  double cosine_bound = 1.0;
  std::string first;  // the first element that fails
};

// bounds holds the largest difference allowed of each element; one that is not finite fails.
Comparison compare(const TestMatrix& actual, const TestMatrix& expected, const TestMatrix& bounds);

// compare(), judged: fails with any element misplaced or outside its bound, with padding
// written, or with a cosine below what a quarter of every bound leaves: bounds are four times what
// is usual, so errors that fill them everywhere are a fault too.
testing::AssertionResult agrees(const TestMatrix& actual, const TestMatrix& expected,
                                const TestMatrix& bounds);

// One implementation as it is to be tested.
struct Implementation {
  std::string name;
  int threads = 1;
};
std::ostream& operator<<(std::ostream& stream, const Implementation& candidate);
// All but the reference, with one thread; the CPU's also with three, once: how work is split does
// not depend on the target. "cuda" is among them on every machine, and skipped without a card.
std::vector<Implementation> candidates();
std::string candidate_name(const testing::TestParamInfo<Implementation>& info);

// A test of one candidate. Derive one class an operation, and instantiate it over candidates().
class ParityTest : public testing::TestWithParam<Implementation> {
 protected:
  void SetUp() override {
    if (kernels_ == nullptr) GTEST_SKIP() << test::kNoCard;
  }

  std::unique_ptr<Kernels> reference_ = make_kernels("reference", 1);
  std::unique_ptr<Kernels> kernels_ = test::test_kernels(GetParam().name, GetParam().threads);
};

constexpr DType kWeightTypes[] = {DType::f32, DType::f16, DType::bf16};
constexpr DType kPackedTypes[] = {DType::i8,   DType::i16,  DType::q8_0, DType::q4_0,
                                  DType::q4_k, DType::q5_k, DType::q6_k};
constexpr DType kRowTypes[] = {DType::f32, DType::f16, DType::bf16, DType::i8, DType::i16};
// Whether kernels have rows of this type that stand alone.
inline bool has_rows(const Kernels& kernels, DType type) {
  return type != DType::i16 || kernels.takes(Inputs::i16);
}
constexpr Activation kActivations[] = {Activation::none,      Activation::relu, Activation::gelu,
                                       Activation::gelu_tanh, Activation::silu, Activation::tanh};

}  // namespace slim
