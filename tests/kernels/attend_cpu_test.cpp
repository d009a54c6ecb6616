// What the CPU's attention promises beyond parity: the algebra of its softmax state, and the same
// bits for any number of threads and any company in the batch.
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "kernels/cpu/attend_state.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

// The state and mixture of some scores, the value of score s being s itself.
struct Part {
  explicit Part(const std::vector<float>& scores) {
    for (const float score : scores) {
      mixed *= state.raise(score);
      const float weight = std::exp(score - state.origin());
      state.sum += weight;
      mixed += weight * score;
    }
  }
  void join(const Part& other) { merge_softmax(state, &mixed, other.state, &other.mixed, 1); }
  float result() const {
    float out = 0.0F;
    normalise_softmax(state, &mixed, 1, &out);
    return out;
  }
  SoftmaxState state;
  float mixed = 0.0F;
};

TEST(SoftmaxState, JoinsPartsInAnyOrder) {
  const float expected = Part({1.0F, -2.0F, 3.0F, 90.0F, 89.0F}).result();
  Part rising({1.0F, -2.0F, 3.0F});
  rising.join(Part({90.0F, 89.0F}));
  Part falling({90.0F, 89.0F});
  falling.join(Part({1.0F, -2.0F, 3.0F}));
  // Two roundings apart at most: 2^-23 of 90.
  EXPECT_NEAR(rising.result(), expected, 2e-5F);
  EXPECT_NEAR(falling.result(), expected, 2e-5F);
}

TEST(SoftmaxState, EmptyIsNeutralOnBothSides) {
  const Part some({0.5F, -1.0F});
  Part left({});
  left.join(some);
  Part right = some;
  right.join(Part({}));
  EXPECT_EQ(left.result(), some.result());
  EXPECT_EQ(right.result(), some.result());
  Part none({});
  none.join(Part({}));
  EXPECT_EQ(none.state.sum, 0.0F);
  EXPECT_EQ(none.mixed, 0.0F);
}

TEST(SoftmaxState, NaNAndInfinityStay) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    Part first({bad});
    first.join(Part({1.0F}));
    Part last({1.0F});
    last.join(Part({bad}));
    EXPECT_TRUE(std::isnan(first.result())) << bad;
    EXPECT_TRUE(std::isnan(last.result())) << bad;
  }
  // Rows that weigh nothing do not spoil those that do.
  Part low({-kInfinity});
  EXPECT_EQ(low.state.sum, 0.0F);
  SoftmaxState joined = low.state;
  float mixed = 0.0F;
  const Part some({2.0F});
  merge_softmax(joined, &mixed, some.state, &some.mixed, 1);
  EXPECT_EQ(mixed / joined.sum, 2.0F);
}

// Sequences around the boundaries of tiles (64 rows) and parts (192 rows), some with several
// tokens.
TEST(AttendCpu, BitsDependOnNeitherThreadsNorCompany) {
  constexpr int64_t kHeads = 3, kWidth = 48;
  const RowFormat formats[] = {{DType::f16, kWidth}};
  struct Size {
    int64_t count, rows;
  };
  constexpr Size kSizes[] = {{1, 1500}, {1, 192}, {2, 193}, {5, 400}, {40, 449}, {1, 3100}};
  std::vector<PagedRows> sequences;
  std::vector<Slice> slices;
  int64_t tokens = 0;
  for (const auto& [count, rows] : kSizes) {
    const auto values = TestMatrix::random(static_cast<unsigned>(rows), DType::f32, rows, kWidth);
    sequences.emplace_back(formats, rows);
    for (int64_t s = 0; s < rows; ++s) {
      sequences.back().set_row(0, s, values.view().row<float>(s));
    }
    slices.push_back(sequences.back().slice(tokens, count));
    tokens += count;
  }
  const auto queries = TestMatrix::random(1, DType::f32, tokens, kHeads * kWidth);
  const auto run = [&](Kernels& kernels, std::span<const Slice> chosen, TestMatrix& mixed) {
    const Plane plane = sequences.front().plane(0);
    kernels.attend_shared({queries.view(), mixed.view(), chosen, plane, plane, kHeads, kWidth, 0,
                           kWidth, 0, 1, 0.5F, true});
  };
  TestMatrix expected(DType::f32, tokens, kHeads * kWidth);
  run(*make_kernels("cpu", 1), slices, expected);
  for (const int threads : {1, 2, 3, 8}) {
    const auto kernels = make_kernels("cpu", threads);
    TestMatrix together(DType::f32, tokens, kHeads * kWidth);
    run(*kernels, slices, together);
    EXPECT_EQ(together, expected) << threads << " threads, all sequences at once";
    TestMatrix alone(DType::f32, tokens, kHeads * kWidth);
    for (const Slice& slice : slices) run(*kernels, {&slice, 1}, alone);
    EXPECT_EQ(alone, expected) << threads << " threads, one sequence at a time";
  }
}

}  // namespace
}  // namespace slim
