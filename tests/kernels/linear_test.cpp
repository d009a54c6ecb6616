// Parity of linear and grouped_linear.
//
// Beyond the sum: an activation passes an error on with a slope of at most 1.13 (gelu), and may
// itself err by 16 units of its argument's magnitude (a polynomial erf or exp in f32, and the
// cancellation in 1 + erf).
#include <limits>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A linear layer with all its memory.
struct LinearCase {
  LinearCase(int64_t tokens, int64_t outputs, int64_t inputs, DType type, int64_t padding = 0)
      : x(TestMatrix::random(1, DType::f32, tokens, inputs, padding)),
        weight(TestMatrix::random(2, type, outputs, inputs, padding)),
        bias(TestMatrix::random(3, DType::f32, 1, outputs)),
        y(TestMatrix::random(4, DType::f32, tokens, outputs, padding)) {}

  Linear arguments(TestMatrix& result) const {
    return {.x = x.view(),
            .weight = weight.view(),
            .bias = with_bias ? bias.floats() : nullptr,
            .y = result.view(),
            .activation = activation,
            .accumulate = accumulate};
  }
  TestMatrix run(Kernels& kernels) const {
    TestMatrix result = y;
    kernels.linear(arguments(result));
    return result;
  }
  TestMatrix bounds(Kernels& reference) const {
    LinearCase absolute = *this;
    for (TestMatrix* matrix : {&absolute.x, &absolute.weight, &absolute.bias, &absolute.y}) {
      *matrix = matrix->magnitudes();
    }
    absolute.activation = Activation::none;
    const double slope = activation == Activation::none ? 1.0 : 1.13;
    const double own = activation == Activation::none ? 0.0 : 16.0 * kUnit;
    const double share = slope * sum_tolerance(x.columns()) + own;
    return absolute.run(reference).map(
        [&](float sum) { return static_cast<float>(share * static_cast<double>(sum)); });
  }

  TestMatrix x, weight, bias, y;
  bool with_bias = true;
  bool accumulate = false;
  Activation activation = Activation::none;
};

class LinearParity : public ParityTest {
 protected:
  void expect_parity(const LinearCase& layer, const std::string& what) {
    EXPECT_TRUE(agrees(layer.run(*kernels_), layer.run(*reference_), layer.bounds(*reference_)))
        << what;
  }
};

TEST_P(LinearParity, OddSizesAndWeightTypes) {
  struct Size {
    int64_t tokens, outputs, inputs;
  };
  constexpr Size kSizes[] = {{1, 1, 1},    {1, 7, 2},     {2, 31, 7},    {3, 33, 31},
                             {7, 64, 33},  {5, 65, 64},   {33, 100, 65}, {1, 384, 100},
                             {6, 7, 1536}, {70, 33, 384}, {1, 1503, 65}, {64, 128, 128}};
  for (const DType type : kWeightTypes) {
    for (const Size& size : kSizes) {
      for (const int64_t padding : {0, 5}) {
        expect_parity(LinearCase(size.tokens, size.outputs, size.inputs, type, padding),
                      fmt::format("T {}, N {}, K {}, {}, padding {}", size.tokens, size.outputs,
                                  size.inputs, name_of(type), padding));
      }
    }
  }
}

TEST_P(LinearParity, EveryNumberOfTokensUpTo70) {
  for (int64_t tokens = 1; tokens <= 70; ++tokens) {
    for (const DType type : kWeightTypes) {
      expect_parity(LinearCase(tokens, 37, 45, type),
                    fmt::format("T {}, {}", tokens, name_of(type)));
    }
  }
}

TEST_P(LinearParity, BiasActivationAndAccumulation) {
  for (const DType type : kWeightTypes) {
    for (const int64_t tokens : {1, 5, 40}) {
      for (const Activation activation : kActivations) {
        for (const int flags : {0, 1, 2, 3}) {
          LinearCase layer(tokens, 65, 100, type, 3);
          layer.activation = activation;
          layer.with_bias = (flags & 1) != 0;
          layer.accumulate = (flags & 2) != 0;
          expect_parity(layer, fmt::format("T {}, {}, activation {}, bias {}, accumulate {}",
                                           tokens, name_of(type), static_cast<int>(activation),
                                           layer.with_bias, layer.accumulate));
        }
      }
    }
  }
}

TEST_P(LinearParity, NoTokensWriteNothing) {
  expect_parity(LinearCase(0, 33, 64, DType::f32), "T 0");
  expect_parity(LinearCase(0, 33, 64, DType::f16, 2), "T 0, f16");
}

// A NaN of one token is that token's alone, wherever it stands; activations let it through.
TEST_P(LinearParity, NaNStaysInItsRow) {
  for (const DType type : kWeightTypes) {
    for (const int64_t tokens : {1, 9, 40}) {
      for (const Activation activation : kActivations) {
        LinearCase layer(tokens, 35, 67, type);
        layer.activation = activation;
        layer.x.set(tokens / 2, 66, kNaN);
        expect_parity(layer, fmt::format("T {}, {}, activation {}", tokens, name_of(type),
                                         static_cast<int>(activation)));
        EXPECT_TRUE(std::isnan(layer.run(*kernels_).at(tokens / 2, 34)));
      }
    }
  }
}

TEST_P(LinearParity, InfinityAndNaNOfTheWeightsReachTheirColumn) {
  for (const DType type : kWeightTypes) {
    for (const int64_t tokens : {1, 9, 40}) {
      LinearCase layer(tokens, 35, 67, type);
      layer.weight.set(3, 0, kInfinity);
      layer.weight.set(34, 66, kNaN);
      layer.x.set(0, 5, -kInfinity);
      layer.weight.set(7, 5, 0.0F);  // infinity times zero
      expect_parity(layer, fmt::format("T {}, {}", tokens, name_of(type)));
    }
  }
}

// Saturated activations: neither exp nor tanh may overflow into NaN.
TEST_P(LinearParity, LargeArgumentsOfActivations) {
  for (const Activation activation : kActivations) {
    LinearCase layer(3, 40, 16, DType::f32);
    layer.activation = activation;
    layer.x = layer.x.map([](float x) { return x * 1e4F; });
    expect_parity(layer, fmt::format("activation {}", static_cast<int>(activation)));
  }
}

// A value has one result, whatever is computed beside it, and the same one each time.
TEST_P(LinearParity, RowsAreIndependentAndRunsRepeat) {
  for (const DType type : kWeightTypes) {
    const LinearCase batch(40, 65, 100, type);
    const TestMatrix together = batch.run(*kernels_);
    EXPECT_EQ(together, batch.run(*kernels_)) << name_of(type);
    const TestMatrix bounds = batch.bounds(*reference_);
    for (const int64_t t : {0, 17, 39}) {
      TestMatrix alone(DType::f32, 1, 65);
      kernels_->linear({.x = batch.x.view().rows_from(t, 1),
                        .weight = batch.weight.view(),
                        .bias = batch.bias.floats(),
                        .y = alone.view()});
      for (int64_t n = 0; n < 65; ++n) {
        EXPECT_NEAR(alone.at(0, n), together.at(t, n), 2.0F * bounds.at(t, n)) << name_of(type);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, LinearParity, testing::ValuesIn(candidates()), candidate_name);

class GroupedLinearParity : public ParityTest {};

TEST_P(GroupedLinearParity, SizesGroupsAndWeightTypes) {
  struct Size {
    int64_t tokens, groups, outputs, inputs;  // outputs and inputs of one group
  };
  // The first of each pair absorbs W_K into queries, the second applies W_V to mixed rows.
  constexpr Size kSizes[] = {{1, 1, 1, 1},    {1, 6, 100, 16},  {1, 6, 16, 100}, {5, 6, 384, 64},
                             {5, 6, 64, 384}, {3, 20, 65, 7},   {2, 20, 7, 65},  {70, 3, 33, 31},
                             {33, 2, 31, 33}, {1, 20, 1280, 9}, {7, 1, 2, 64}};
  for (const DType type : kWeightTypes) {
    for (const Size& size : kSizes) {
      for (const bool with_bias : {false, true}) {
        const int64_t padding = with_bias ? 7 : 0;
        const int64_t outputs = size.groups * size.outputs;
        const auto x =
            TestMatrix::random(1, DType::f32, size.tokens, size.groups * size.inputs, padding);
        const auto weight = TestMatrix::random(2, type, outputs, size.inputs, padding);
        const auto bias = TestMatrix::random(3, DType::f32, 1, outputs);
        const auto run = [&](Kernels& kernels, bool absolute) {
          TestMatrix y(DType::f32, size.tokens, outputs, padding);
          const TestMatrix left = absolute ? x.magnitudes() : x;
          const TestMatrix right = absolute ? weight.magnitudes() : weight;
          const TestMatrix added = absolute ? bias.magnitudes() : bias;
          kernels.grouped_linear({.x = left.view(),
                                  .weight = right.view(),
                                  .bias = with_bias ? added.floats() : nullptr,
                                  .y = y.view(),
                                  .groups = size.groups});
          return y;
        };
        const TestMatrix bounds = run(*reference_, true).map([&](float sum) {
          return static_cast<float>(sum_tolerance(size.inputs) * static_cast<double>(sum));
        });
        const TestMatrix actual = run(*kernels_, false);
        EXPECT_TRUE(agrees(actual, run(*reference_, false), bounds))
            << fmt::format("T {}, groups {}, N {}, K {}, {}, bias {}", size.tokens, size.groups,
                           size.outputs, size.inputs, name_of(type), with_bias);
        EXPECT_EQ(actual, run(*kernels_, false));
      }
    }
  }
}

TEST_P(GroupedLinearParity, NaNStaysInItsRowAndGroup) {
  for (const int64_t tokens : {1, 9}) {
    auto x = TestMatrix::random(1, DType::f32, tokens, 3 * 17);
    x.set(tokens / 2, 17 + 4, kNaN);
    const auto weight = TestMatrix::random(2, DType::f16, 3 * 21, 17);
    TestMatrix y(DType::f32, tokens, 3 * 21);
    kernels_->grouped_linear({.x = x.view(), .weight = weight.view(), .y = y.view(), .groups = 3});
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t n = 0; n < 3 * 21; ++n) {
        EXPECT_EQ(std::isnan(y.at(t, n)), t == tokens / 2 && n / 21 == 1) << t << ", " << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, GroupedLinearParity, testing::ValuesIn(candidates()),
                         candidate_name);

}  // namespace
}  // namespace slim
