// Keys as trained models have them, and worse: singular values a millionth of the largest, and none
// at all. In 16-bit floats the K-cache gives noise; with spill columns its sealed rows are closer
// to exact attention than kv in bf16, and the plan knows what it takes.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "attention/derived.h"
#include "attention/harness.h"
#include "attention/k_choices.h"
#include "attention/plan.h"
#include "attention/row_fit.h"
#include "attention/textbook.h"
#include "slim/error.h"

namespace slim::testing {
namespace {

AttentionSpec rotary() {
  AttentionSpec spec;
  spec.width = 64;
  spec.heads = spec.key_heads = 4;
  spec.head_width = 16;
  spec.scale = 0.25F;
  spec.rotary = true;
  const double frequencies[] = {1.0, 0.5, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001};
  spec.rotations = {std::make_shared<Rotation>(16, false, frequencies, 1.0, 300)};
  return spec;
}

// Shrinks `count` orthogonal directions of W_K's input by `factor`: the Householder vectors of a
// cosine transform, so that no column of the weight shows it.
void squash(Tensor& weight, int64_t count, double factor) {
  const int64_t width = weight.size(1);
  for (int64_t direction = 1; direction <= count; ++direction) {
    std::vector<double> u;
    for (int64_t i = 0; i < width; ++i) {
      const double angle = M_PI * (static_cast<double>(i) + 0.5) * static_cast<double>(direction) /
                           static_cast<double>(width);
      u.push_back(std::sqrt(2.0 / static_cast<double>(width)) * std::cos(angle));
    }
    for (int64_t n = 0; n < weight.size(0); ++n) {
      float* row = weight.writable<float>() + n * width;
      double along = 0;
      for (int64_t i = 0; i < width; ++i) {
        along += static_cast<double>(row[i]) * u[static_cast<size_t>(i)];
      }
      for (int64_t i = 0; i < width; ++i) {
        row[i] -= static_cast<float>((1 - factor) * along * u[static_cast<size_t>(i)]);
      }
    }
  }
}

// Inputs that W_K does not look at: exactly singular, `count` times.
void blind(Tensor& weight, int64_t count) {
  for (int64_t n = 0; n < weight.size(0); ++n) {
    std::fill_n(weight.writable<float>() + n * weight.size(1), count, 0.0F);
  }
}

class IllConditioned : public ::testing::Test {
 protected:
  IllConditioned()
      : weights_(random_weights(spec_, true, 400)), x_(random_tensor({200, 64}, 410)) {}

  void look() {
    known_ = find_conditioning(spec_, weights_);
    answer_ = {textbook(spec_, weights_, x_)};
  }
  double error_of(const char* kind, const RowChoice& rows, int64_t chunk = 200) {
    Layer layer(scheme(kind), spec_, weights_, rows, *kernels_);
    return relative_error(layer.run({x_}, chunks_of(chunk)), answer_);
  }
  LayerPlan planned(const CacheChoice& choice) const {
    return plan(std::vector{LayerRequest{0, spec_, known_}}, choice)[0];
  }
  // What auto chooses is no worse than kv in bf16, at less than 60 % of its bytes, on both paths.
  void expect_sound() {
    const LayerPlan layer = planned({});
    ASSERT_EQ(layer.kind, "k") << layer.reason;
    EXPECT_GE(layer.rows.spill, 8);
    EXPECT_LE(layer.predicted_error.value(), unit_roundoff(RowType::bf16));
    EXPECT_LT(layer.bytes_per_token * 10, layer.kv_bytes_per_token * 6);
    const double standard = error_of("kv", {RowType::bf16});
    EXPECT_LE(error_of("k", layer.rows), standard);
    EXPECT_LE(error_of("k", layer.rows, 7), standard);
  }

  AttentionSpec spec_ = rotary();
  AttentionWeights weights_;
  Tensor x_;
  Conditioning known_;
  std::vector<Tensor> answer_;
  std::unique_ptr<Kernels> kernels_ = make_kernels("reference", 1);
};

TEST_F(IllConditioned, ThreeTinySingularValues) {
  squash(weights_.k.weight, 3, 1e-6);
  look();
  EXPECT_GT(known_.condition_k.value(), 1e6);
  expect_sound();
  EXPECT_GT(error_of("k", {RowType::bf16}), 1.0);  // what it is all about
  EXPECT_GT(error_of("k", {RowType::i16}), 0.1);   // no spill
  EXPECT_LT(error_of("k", {RowType::i16, 8}), 1e-4);
  EXPECT_THROW(planned({.kind = "k", .spill = 0}), Error);
}

TEST_F(IllConditioned, ExactlySingular) {
  blind(weights_.k.weight, 1);
  look();
  EXPECT_GT(known_.condition_k.value(), 1e15);
  expect_sound();
  EXPECT_THROW(error_of("k", {RowType::i16}), Error);
  EXPECT_LT(error_of("k", {RowType::i16, 8}), 1e-4);
  EXPECT_THROW(planned({.kind = "k", .spill = 0}), Error);
  EXPECT_THROW(planned({.kind = "k", .row_type = RowType::i16, .spill = 0, .forced = true}), Error);
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  if (a.empty() || b.empty()) return a.empty() == b.empty();
  return a.type() == b.type() && a.shape() == b.shape() &&
         std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes())) == 0;
}

// A layer that is run by the thread that planned it is the one that a stored plan gives. f32 rows
// and spill that planning does not look at included.
TEST_F(IllConditioned, DerivesTheSameWithAndWithoutAPlan) {
  squash(weights_.k.weight, 3, 1e-6);
  const LayerTransforms planned(spec_, weights_);
  EXPECT_EQ(planned.conditioning().key_errors.size(), key_choices().size());
  for (const RowChoice rows : {RowChoice{RowType::i16, 8, 0}, RowChoice{RowType::i8, 16, 64},
                               RowChoice{RowType::i12, 8, 16}, RowChoice{RowType::i12, 40, 8},
                               RowChoice{RowType::f32, 0, 0}}) {
    const DerivedWeights a = planned.derive(rows);
    const DerivedWeights b = derive_weights(weights_, rows);
    EXPECT_TRUE(same_bytes(a.value_map.weight, b.value_map.weight)) << rows.spill;
    EXPECT_TRUE(same_bytes(a.value_map.scale, b.value_map.scale)) << rows.spill;
    EXPECT_TRUE(same_bytes(a.spill, b.spill)) << rows.spill;
    EXPECT_TRUE(same_bytes(a.spill_map, b.spill_map)) << rows.spill;
    EXPECT_TRUE(same_bytes(a.shaping_u, b.shaping_u)) << rows.spill;
    EXPECT_TRUE(same_bytes(a.shaping_g, b.shaping_g)) << rows.spill;
    EXPECT_TRUE(same_bytes(a.shaping_order, b.shaping_order)) << rows.spill;
    EXPECT_EQ(a.spill.empty(), rows.spill == 0);
    EXPECT_EQ(a.shaping_u.empty(), rows.rank == 0);
  }
}

TEST_F(IllConditioned, MoreThanSpillCanCarry) {
  blind(weights_.k.weight, 40);
  look();
  const LayerPlan layer = planned({});
  EXPECT_EQ(layer.kind, "kv");
  EXPECT_NE(layer.reason.find("k does not fit"), std::string::npos) << layer.reason;
  EXPECT_THROW(planned({.kind = "k", .forced = true}), Error);
  for (const int64_t spill : {0, 8, 32}) {
    EXPECT_THROW(error_of("k", {RowType::i16, spill}), Error);
  }
  EXPECT_LT(error_of("k", {RowType::i16, 40}), 1e-4);
}

// The predictions that a plan trusts: of every choice whose error is not noise, the error measured
// is between a twentieth and one of that predicted. (The attention output is a mean over rows, in
// which errors average out; measured: 0.06 to 0.4.)
TEST_F(IllConditioned, PredictionsBoundWhatIsMeasured) {
  squash(weights_.k.weight, 3, 1e-2);
  look();
  for (const KeyError& key : known_.key_errors) {
    if (key.rows.spill == 16 || key.rows.rank == 64) continue;
    const double predicted = key.error * unit_roundoff(RowType::bf16);
    if (predicted > 0.5 || key.rows.type == RowType::i16) continue;
    const double measured = error_of("k", key.rows);
    EXPECT_LE(measured, predicted)
        << name_of(key.rows.type) << ", r = " << key.rows.spill << ", rank " << key.rows.rank;
    EXPECT_GE(measured, predicted / 20)
        << name_of(key.rows.type) << ", r = " << key.rows.spill << ", rank " << key.rows.rank;
  }
}

TEST_F(IllConditioned, WeightsThatAreNotFiniteAreRefused) {
  weights_.k.weight.writable<float>()[5] = std::nanf("");
  EXPECT_THROW(find_conditioning(spec_, weights_), Error);
  EXPECT_THROW(error_of("k", {RowType::i16, 8}), Error);
}

}  // namespace
}  // namespace slim::testing
