// Parity of forbid and find_candidates: columns to the last one, logarithms as those of
// log_softmax.
#include <algorithm>
#include <limits>
#include <span>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class CandidateParity : public ParityTest {
 protected:
  struct Wanted {
    int64_t count = 1;
    int64_t tail = kNoTail;
    std::vector<int32_t> asked = {};
    std::vector<ForbiddenColumns> forbidden = {};
  };

  static std::vector<Candidate> found(Kernels& kernels, TestMatrix x, const Wanted& wanted) {
    std::vector<Candidate> candidates(static_cast<size_t>(x.rows() * wanted.count));
    if (!wanted.forbidden.empty()) kernels.forbid({x.view(), wanted.forbidden});
    EXPECT_TRUE(x.padding_intact());
    kernels.find_candidates({x.view(), wanted.count, wanted.tail, wanted.asked, candidates});
    return candidates;
  }
  std::vector<Candidate> found(const TestMatrix& x, const Wanted& wanted) {
    return found(*kernels_, x, wanted);
  }

  // Columns are the same, since nothing is computed on the way to them. A logarithm, x - largest -
  // log(sum), strays as that of log_softmax does.
  void expect_parity(const TestMatrix& x, const Wanted& wanted, const std::string& what) {
    const std::vector<Candidate> actual = found(*kernels_, x, wanted);
    const std::vector<Candidate> expected = found(*reference_, x, wanted);
    const double fixed = sum_tolerance(x.columns()) +
                         12.0 * kUnit * (std::log(static_cast<double>(x.columns())) + 1.0);
    for (size_t i = 0; i < actual.size(); ++i) {
      const std::string place =
          fmt::format("{}, candidate {} of row {}", what, i % wanted.count, i / wanted.count);
      ASSERT_EQ(actual[i].column, expected[i].column) << place;
      if (!std::isfinite(expected[i].log_probability)) {
        ASSERT_EQ(std::isnan(actual[i].log_probability), std::isnan(expected[i].log_probability))
            << place;
        if (!std::isnan(expected[i].log_probability)) {
          ASSERT_EQ(actual[i].log_probability, expected[i].log_probability) << place;
        }
        continue;
      }
      float largest = 0.0F;
      for (int64_t c = 0; c < x.columns(); ++c) {
        const float size = std::fabs(x.at(static_cast<int64_t>(i) / wanted.count, c));
        if (std::isfinite(size)) largest = std::max(largest, size);
      }
      ASSERT_NEAR(actual[i].log_probability, expected[i].log_probability,
                  fixed + 8.0 * kUnit * static_cast<double>(largest))
          << place;
    }
  }
};

TEST_P(CandidateParity, SizesAndSpreads) {
  for (const int64_t rows : {0, 1, 3, 33}) {
    for (const int64_t width : {1, 2, 31, 33, 100, 255, 257, 2048, 2049}) {
      for (const float spread : {1.0F, 30.0F, 1e30F}) {
        const auto x = TestMatrix::random(7, DType::f32, rows, width, width % 3).map([&](float v) {
          return v * spread;
        });
        for (const int64_t count : {1, 6}) {
          expect_parity(x, {.count = count},
                        fmt::format("{} of {} rows of {}, spread {}", count, rows, width, spread));
        }
      }
    }
  }
}

TEST_P(CandidateParity, Vocabularies) {
  expect_parity(TestMatrix::random(8, DType::f32, 320, 5003), {.count = 6}, "five beams");
  expect_parity(TestMatrix::random(8, DType::f32, 2, 51866), {.count = 6, .tail = 50365}, "speech");
  const auto large = TestMatrix::random(9, DType::f32, 1, 256000);
  for (const int64_t count : {int64_t{1}, int64_t{40}, kMostCandidates}) {
    expect_parity(large, {.count = count}, fmt::format("{} of a large vocabulary", count));
  }
  // A list that comes from one stretch alone, and from one thread's columns.
  auto rising = TestMatrix::random(9, DType::f32, 1, 9000);
  for (int64_t i = 0; i < 200; ++i) {
    rising.set(0, 3000 + i, 2.0F + static_cast<float>(i % 7));
    if (i < 16) rising.set(0, 6144 + 256 * (i % 8) + i / 8, 20.0F + static_cast<float>(i));
  }
  expect_parity(rising, {.count = kMostCandidates}, "together");
}

// More than are possible, and none at all.
TEST_P(CandidateParity, FewOrNoneMayCome) {
  for (const int64_t width : {5, 3000}) {
    auto x = TestMatrix::random(1, DType::f32, 4, width);
    std::vector<ForbiddenColumns> forbidden = {{0, 0, static_cast<int32_t>(width)},
                                               {1, 0, 2},
                                               {1, 3, static_cast<int32_t>(width)},
                                               {2, 1, static_cast<int32_t>(width)}};
    for (const int64_t tail : {int64_t{0}, int64_t{2}, kNoTail}) {
      expect_parity(x, {7, tail, {}, forbidden}, fmt::format("{} columns", width));
    }
    const std::vector<Candidate> few = found(x, {7, kNoTail, {}, forbidden});
    EXPECT_EQ(few[0].column, -1);
    EXPECT_EQ(few[0].log_probability, -kInfinity);
    EXPECT_EQ(few[7].column, 2);
    EXPECT_EQ(few[7].log_probability, 0.0F);
    EXPECT_EQ(few[8].column, -1);
    EXPECT_EQ(few[14].column, 0);
    EXPECT_GE(few[21].column, 0);
  }
}

TEST_P(CandidateParity, WhatIsForbidden) {
  for (const int64_t rows : {1, 9}) {
    const auto x = TestMatrix::random(3, DType::f32, rows, 5000, 5);
    expect_parity(x,
                  {.count = 6,
                   .forbidden = {{-1, 17, 18},
                                 {-1, 4999, 5000},
                                 {0, 1000, 4000},
                                 {static_cast<int32_t>(rows - 1), 0, 300},
                                 {-1, 30, 30},
                                 {-1, 40, 700}}},
                  fmt::format("{} rows", rows));
  }
  // What is forbidden may be anything.
  auto x = TestMatrix::random(3, DType::f32, 2, 300);
  x.set(0, 7, kNaN);
  x.set(1, 8, kInfinity);
  const std::vector<Candidate> likeliest = found(x, {1, kNoTail, {}, {{-1, 7, 9}}});
  for (const Candidate& one : likeliest) EXPECT_TRUE(std::isfinite(one.log_probability));
}

TEST_P(CandidateParity, OfEqualsTheFirst) {
  for (const int32_t first : {0, 1, 40, 2047, 2048, 4500}) {
    auto x = TestMatrix::random(1, DType::f32, 1, 5000);
    for (const int32_t place : {first, first + 1, 4777, 4999}) x.set(0, place, 50.0F);
    const std::vector<Candidate> likeliest = found(x, {4});
    const std::vector<int32_t> places = {first, first + 1, 4777, 4999};
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(likeliest[i].column, places[i]);
  }
  auto zeros = TestMatrix(DType::f32, 1, 3000);
  for (int64_t i = 0; i < 3000; i += 3) zeros.set(0, i, -0.0F);
  expect_parity(zeros, {6}, "zeros are equal");
  // Few levels, so that every choice is among many equals.
  const auto levels =
      TestMatrix::random(5, DType::f32, 3, 7001).map([](float v) { return std::floor(v * 3.0F); });
  for (const int64_t tail : {kNoTail, int64_t{6500}, int64_t{100}}) {
    expect_parity(levels, {kMostCandidates, tail}, "levels");
  }
}

// The tail wins or not, by its sum; its border may lie anywhere.
TEST_P(CandidateParity, ATailStandsTogether) {
  for (const int64_t tail : {0, 1, 50, 2047, 2048, 2049, 4999, 5000, 6000}) {
    for (const float better : {0.0F, 2.0F, 5.0F, 9.0F}) {
      auto x = TestMatrix::random(6, DType::f32, 3, 5000);
      for (int64_t t = 0; t < 3; ++t) {
        if (tail > 0) x.set(t, (tail - 1) / 2, 1.0F + better);
      }
      for (const int64_t count : {1, 6}) {
        expect_parity(x, {count, tail}, fmt::format("tail from {}, {} better", tail, better));
      }
    }
  }
  // 0.4 against 0.35 + 0.25.
  auto x = TestMatrix(DType::f32, 1, 4).map([](float) { return -kInfinity; });
  x.set(0, 1, std::log(0.4F));
  x.set(0, 2, std::log(0.35F));
  x.set(0, 3, std::log(0.25F));
  std::vector<Candidate> likeliest = found(x, {3, 2});
  EXPECT_EQ(likeliest[0].column, 2);
  EXPECT_NEAR(likeliest[0].log_probability, std::log(0.35 / 0.6), 1e-6);
  EXPECT_EQ(likeliest[1].column, 3);
  EXPECT_EQ(likeliest[2].column, -1);
  // As likely together as the other one: not more.
  x.set(0, 1, 0.0F);
  x.set(0, 2, 0.0F);
  x.set(0, 3, -kInfinity);
  likeliest = found(x, {2, 2});
  EXPECT_EQ(likeliest[0].column, 1);
  EXPECT_EQ(likeliest[1].column, 2);
}

TEST_P(CandidateParity, AColumnIsAskedFor) {
  auto x = TestMatrix::random(2, DType::f32, 5, 3000);
  x.set(2, 5, -kInfinity);
  x.set(3, 5, kNaN);
  for (const int64_t tail : {kNoTail, int64_t{10}}) {
    for (const int64_t count : {1, 3}) {
      expect_parity(x, {count, tail, {2999, -1, 5, 5, 0}}, "asked");
    }
  }
}

// A NaN or +infinity anywhere is told of, and never taken.
TEST_P(CandidateParity, NoFiniteNumbers) {
  for (const int64_t width : {70, 3000}) {
    auto x = TestMatrix::random(1, DType::f32, 6, width);
    for (int64_t i = 0; i < width; ++i) {
      if (i != width - 5) x.set(0, i, -kInfinity);
      x.set(1, i, -kInfinity);
      x.set(4, i, kNaN);
    }
    x.set(2, width - 1, kNaN);
    x.set(3, 7, kInfinity);
    for (const int64_t tail : {kNoTail, int64_t{60}, int64_t{5}}) {
      for (const int64_t count : {1, 6}) {
        expect_parity(x, {count, tail}, fmt::format("{} columns, tail {}", width, tail));
      }
    }
    const std::vector<Candidate> likeliest = found(x, {1});
    EXPECT_EQ(likeliest[0].column, width - 5);
    EXPECT_EQ(likeliest[0].log_probability, 0.0F);
    EXPECT_EQ(likeliest[1].log_probability, -kInfinity);
    for (const size_t t : {2, 3, 4}) {
      EXPECT_TRUE(std::isnan(likeliest[t].log_probability)) << t;
      EXPECT_EQ(likeliest[t].column, -1) << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, CandidateParity, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
