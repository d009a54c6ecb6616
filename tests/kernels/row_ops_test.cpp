// Parity of what language models do to rows beside products: norms by root mean square and of
// parts, gates, limits and rotation.
#include <limits>
#include <vector>

#include "fmt/format.h"
#include "kernels/parity.h"
#include "tensor/rotation.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class NormParity : public ParityTest {
 protected:
  struct Case {
    NormKind kind = NormKind::rms;
    int64_t groups = 1;
    bool accumulate = false;
    bool affine = true;
  };

  // As for LayerNormParity; without a mean there is nothing but the value itself to stray. What is
  // added to rounds by its own magnitude.
  void expect_parity(const TestMatrix& x, const Case& is, const std::string& what) {
    const auto gain = TestMatrix::random(2, DType::f32, 1, x.columns());
    const auto offset = TestMatrix::random(3, DType::f32, 1, x.columns());
    const auto before = TestMatrix::random(4, DType::f32, x.rows(), x.columns(), 2);
    std::vector<float> inverses[2];
    const auto run = [&](Kernels& kernels, std::vector<float>& inverse) {
      TestMatrix y = before;
      inverse.assign(static_cast<size_t>(x.rows()), -1.0F);
      kernels.norm({.kind = is.kind,
                    .x = x.view(),
                    .gain = is.affine ? gain.floats() : nullptr,
                    .offset = is.affine ? offset.floats() : nullptr,
                    .epsilon = 1e-6F,
                    .groups = is.groups,
                    .accumulate = is.accumulate,
                    .y = y.view(),
                    .inverse = is.groups == 1 ? inverse.data() : nullptr});
      return y;
    };
    const TestMatrix actual = run(*kernels_, inverses[0]);
    const TestMatrix expected = run(*reference_, inverses[1]);
    EXPECT_TRUE(agrees(actual, expected, bounds(x, is, before))) << what;
    for (size_t t = 0; is.groups == 1 && t < inverses[0].size(); ++t) {
      if (std::isnan(inverses[1][t])) {
        EXPECT_TRUE(std::isnan(inverses[0][t])) << what;
        continue;
      }
      // A sum of squares has no cancellation, but layer norm takes them from the mean.
      const double share = sum_tolerance(x.columns()) * (is.kind == NormKind::rms ? 1.0 : 4.0);
      EXPECT_NEAR(inverses[0][t], inverses[1][t], share * std::fabs(inverses[1][t])) << what;
    }
  }

 private:
  static TestMatrix bounds(const TestMatrix& x, const Case& is, const TestMatrix& before) {
    TestMatrix result(DType::f32, x.rows(), x.columns());
    const int64_t width = x.columns() / is.groups;
    for (int64_t part = 0; part < x.rows() * is.groups; ++part) {
      const int64_t t = part / is.groups;
      const int64_t first = part % is.groups * width;
      double mean = 0.0, size = 0.0, square = 0.0;
      for (int64_t i = first; i < first + width && is.kind == NormKind::layer; ++i) {
        mean += static_cast<double>(x.at(t, i)) / static_cast<double>(width);
        size += std::fabs(static_cast<double>(x.at(t, i))) / static_cast<double>(width);
      }
      for (int64_t i = first; i < first + width; ++i) {
        square +=
            std::pow(static_cast<double>(x.at(t, i)) - mean, 2.0) / static_cast<double>(width);
      }
      for (int64_t i = first; i < first + width; ++i) {
        const double magnitude = std::fabs(static_cast<double>(x.at(t, i))) + size;
        const double added = 1.0 + std::fabs(static_cast<double>(before.at(t, i)));
        result.set(t, i,
                   static_cast<float>(sum_tolerance(width) *
                                      (magnitude / std::sqrt(square + 1e-6) + added)));
      }
    }
    return result;
  }
};

TEST_P(NormParity, KindsGroupsAndAccumulation) {
  struct Size {
    int64_t tokens, width, groups;
  };
  constexpr Size kSizes[] = {{0, 8, 1},    {1, 2, 1},    {2, 33, 1},   {7, 100, 1},
                             {1, 2048, 1}, {3, 64, 4},   {5, 99, 3},   {33, 320, 4},
                             {2, 31, 31},  {70, 128, 2}, {1, 1280, 10}};
  for (const NormKind kind : {NormKind::layer, NormKind::rms}) {
    for (const Size& size : kSizes) {
      if (kind == NormKind::layer && size.width == size.groups) continue;  // all zeros
      for (const int flags : {0, 1, 2, 3}) {
        expect_parity(
            TestMatrix::random(1, DType::f32, size.tokens, size.width, 1),
            {.kind = kind,
             .groups = size.groups,
             .accumulate = (flags & 1) != 0,
             .affine = (flags & 2) != 0},
            fmt::format("kind {}, T {}, D {}, groups {}, flags {}", static_cast<int>(kind),
                        size.tokens, size.width, size.groups, flags));
      }
    }
  }
}

TEST_P(NormParity, OutliersZerosAndNaN) {
  auto x = TestMatrix::random(1, DType::f32, 6, 96);
  x.set(0, 95, 3000.0F);
  for (int64_t i = 0; i < 96; ++i) x.set(1, i, 0.0F);
  x.set(2, 95, kNaN);
  x.set(3, 0, kInfinity);
  for (const int64_t groups : {1, 3}) {
    expect_parity(x, {.groups = groups}, fmt::format("groups {}", groups));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, NormParity, testing::ValuesIn(candidates()), candidate_name);

class GateParity : public ParityTest {
 protected:
  // An activation may err as in linear_test.cpp; the product rounds once more.
  void expect_parity(const TestMatrix& gate, const TestMatrix& up, Activation activation,
                     const std::string& what) {
    TestMatrix bounds(DType::f32, gate.rows(), gate.columns());
    for (int64_t t = 0; t < gate.rows(); ++t) {
      for (int64_t i = 0; i < gate.columns(); ++i) {
        bounds.set(
            t, i,
            static_cast<float>(18.0 * kUnit) * std::fabs(gate.at(t, i)) * std::fabs(up.at(t, i)));
      }
    }
    // y may be neither, gate or up.
    const auto run = [&](Kernels& kernels, int where) {
      TestMatrix from = gate;
      TestMatrix factor = up;
      TestMatrix other(DType::f32, gate.rows(), gate.columns(), 3);
      TestMatrix& y = where == 0 ? other : where == 1 ? from : factor;
      kernels.gate(
          {.gate = from.view(), .up = factor.view(), .activation = activation, .y = y.view()});
      return y;
    };
    const TestMatrix expected = run(*reference_, 0);
    for (const int where : {0, 1, 2}) {
      EXPECT_TRUE(agrees(run(*kernels_, where), expected, bounds)) << what << ", y " << where;
    }
  }
};

TEST_P(GateParity, SizesAndActivations) {
  for (const Activation activation : kActivations) {
    for (const int64_t tokens : {0, 1, 5, 70}) {
      for (const int64_t width : {1, 7, 33, 64, 100, 1403}) {
        expect_parity(
            TestMatrix::random(1, DType::f32, tokens, width).map([](float v) { return 10.0F * v; }),
            TestMatrix::random(2, DType::f32, tokens, width, 1), activation,
            fmt::format("activation {}, T {}, F {}", static_cast<int>(activation), tokens, width));
      }
    }
  }
}

TEST_P(GateParity, NaNStaysInItsPlace) {
  auto gate = TestMatrix::random(1, DType::f32, 3, 50);
  auto up = TestMatrix::random(2, DType::f32, 3, 50);
  gate.set(1, 49, kNaN);
  up.set(2, 0, kNaN);
  gate.set(0, 3, 1e4F);
  for (const Activation activation : kActivations) {
    expect_parity(gate, up, activation, fmt::format("activation {}", static_cast<int>(activation)));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, GateParity, testing::ValuesIn(candidates()), candidate_name);

class ClampParity : public ParityTest {};

TEST_P(ClampParity, IsExact) {
  for (const int64_t tokens : {0, 1, 5, 70}) {
    for (const int64_t width : {1, 7, 33, 64, 100}) {
      auto x = TestMatrix::random(1, DType::f32, tokens, width, 3);
      if (tokens > 1) {
        x.set(0, width - 1, kInfinity);
        x.set(1, width / 2, -kInfinity);
      }
      if (tokens > 2) x.set(2, 0, kNaN);
      TestMatrix actual = x;
      TestMatrix expected = x;
      kernels_->clamp({.x = actual.view(), .limit = 0.375F});
      reference_->clamp({.x = expected.view(), .limit = 0.375F});
      EXPECT_TRUE(agrees(actual, expected, x.map([](float) { return 0.0F; })))
          << tokens << " x " << width;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, ClampParity, testing::ValuesIn(candidates()), candidate_name);

class RotateParity : public ParityTest {
 protected:
  struct Case {
    int64_t tokens, heads, head_width, width;
    bool interleaved;
  };
  static constexpr int64_t kPositions = 1000;

  static Rotation rotation_of(const Case& is, double magnitude) {
    std::vector<double> frequencies;
    for (int64_t i = 0; i < is.width / 2; ++i) {
      frequencies.push_back(
          std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(is.width)));
    }
    return {is.width, is.interleaved, frequencies, magnitude, kPositions};
  }

  // A turned value is a sum of two products of x with a sum of two products of table entries, which
  // are at most 1; each multiplication and addition rounds, the magnitude once or twice.
  void expect_parity(const TestMatrix& x, const Case& is, const std::string& what) {
    const Rotation rotation = rotation_of(is, 1.25);
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < is.tokens; ++t) {
      positions.push_back(static_cast<int32_t>(t == 1 ? kPositions - 1 : t * 37 % kPositions));
    }
    const auto run = [&](Kernels& kernels, bool in_place) {
      TestMatrix y = x;
      TestMatrix other(DType::f32, x.rows(), x.columns(), 5);
      kernels.rotate({.x = in_place ? ConstMatrix(y.view()) : x.view(),
                      .positions = positions,
                      .rotation = &rotation,
                      .head_width = is.head_width,
                      .y = in_place ? y.view() : other.view()});
      return in_place ? y : other;
    };
    TestMatrix bounds(DType::f32, x.rows(), x.columns());
    for (int64_t t = 0; t < x.rows(); ++t) {
      for (int64_t i = 0; i < x.columns(); ++i) {
        const int64_t head = i / is.head_width * is.head_width;
        const int64_t at = i - head;
        if (at >= is.width) continue;  // copied
        const int64_t half = is.width / 2;
        const int64_t partner = is.interleaved ? at ^ 1 : (at < half ? at + half : at - half);
        const float sizes = std::fabs(x.at(t, i)) + std::fabs(x.at(t, head + partner));
        bounds.set(t, i, static_cast<float>(1.25 * 6.0 * kUnit) * sizes);
      }
    }
    const TestMatrix expected = run(*reference_, false);
    const TestMatrix actual = run(*kernels_, false);
    EXPECT_TRUE(agrees(actual, expected, bounds)) << what;
    EXPECT_TRUE(agrees(run(*kernels_, true), actual, bounds.map([](float) { return 0.0F; })))
        << "in place, " << what;
  }
};

TEST_P(RotateParity, SizesAndForms) {
  constexpr Case kCases[] = {{0, 2, 64, 64, false},   {1, 1, 2, 2, false},
                             {5, 3, 64, 64, false},   {7, 4, 80, 80, false},
                             {70, 2, 96, 32, false},  {3, 5, 100, 50, false},
                             {2, 32, 128, 128, false}};
  for (Case is : kCases) {
    for (const bool interleaved : {false, true}) {
      is.interleaved = interleaved;
      expect_parity(TestMatrix::random(1, DType::f32, is.tokens, is.heads * is.head_width, 3), is,
                    fmt::format("T {}, {} heads of {}, {} turned, interleaved {}", is.tokens,
                                is.heads, is.head_width, is.width, interleaved));
    }
  }
}

TEST_P(RotateParity, NaNReachesItsPartnerOnly) {
  for (const bool interleaved : {false, true}) {
    const Case is{3, 2, 40, 24, interleaved};
    auto x = TestMatrix::random(1, DType::f32, 3, 80);
    x.set(1, 47, kNaN);  // turned
    x.set(2, 30, kNaN);  // copied
    expect_parity(x, is, fmt::format("interleaved {}", interleaved));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, RotateParity, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
