// Parity of products whose x is rounded (Inputs).
//
// The integers and their sum are the reference's, exactly, so that what is left are the roundings
// of what follows: the sum to f32 (of two parts each to f32, 256 times the first of which may be as
// large as all magnitudes together), three products and the bias: eight units of the sum of
// magnitudes, with an activation as in linear_test.cpp.
#include <limits>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Inputs kRounded[] = {Inputs::i8, Inputs::i16};

struct RoundedCase {
  RoundedCase(int64_t tokens, int64_t outputs, int64_t inputs, int64_t padding = 0)
      : x(TestMatrix::random(1, DType::f32, tokens, inputs, padding)),
        weight(2, DType::i8, outputs, inputs, padding),
        bias(TestMatrix::random(3, DType::f32, 1, outputs)),
        y(TestMatrix::random(4, DType::f32, tokens, outputs, padding)) {}

  TestMatrix run(Kernels& kernels, Inputs inputs) const {
    TestMatrix result = y;
    kernels.linear({.x = x.view(),
                    .weight = weight.view(),
                    .scale = weight.scale(),
                    .bias = bias.floats(),
                    .y = result.view(),
                    .activation = activation,
                    .accumulate = accumulate,
                    .inputs = inputs});
    return result;
  }
  // The largest of a row for each of its numbers: no rounding makes them larger.
  TestMatrix largest() const {
    TestMatrix all = x;
    for (int64_t t = 0; t < x.rows(); ++t) {
      float most = 0.0F;
      for (int64_t k = 0; k < x.columns(); ++k) most = std::max(most, std::fabs(x.at(t, k)));
      for (int64_t k = 0; k < x.columns(); ++k) all.set(t, k, most);
    }
    return all;
  }
  TestMatrix sums(Kernels& reference, const TestMatrix& sizes) const {
    TestMatrix sums = y.magnitudes();
    const TestMatrix weights = weight.magnitudes();
    const TestMatrix added = bias.magnitudes();
    reference.linear({.x = sizes.view(),
                      .weight = weights.view(),
                      .bias = added.floats(),
                      .y = sums.view(),
                      .accumulate = accumulate});
    return sums;
  }

  TestMatrix x;
  TestWeight weight;
  TestMatrix bias, y;
  Activation activation = Activation::none;
  bool accumulate = false;
};

class RoundedInputs : public ParityTest {
 protected:
  void SetUp() override {
    ParityTest::SetUp();
    if (!IsSkipped() && !kernels_->takes(Inputs::i8)) GTEST_SKIP() << "its products are in f32";
  }

  void expect_parity(const RoundedCase& layer, const std::string& what) {
    const double share = layer.activation == Activation::none ? 8.0 * kUnit : 25.0 * kUnit;
    const TestMatrix sums = layer.sums(*reference_, layer.largest());
    const TestMatrix bounds =
        sums.map([&](float sum) { return static_cast<float>(share * static_cast<double>(sum)); });
    for (const Inputs inputs : kRounded) {
      EXPECT_TRUE(agrees(layer.run(*kernels_, inputs), layer.run(*reference_, inputs), bounds))
          << what << ", " << static_cast<int>(inputs);
    }
  }
};

TEST_P(RoundedInputs, OddSizes) {
  struct Size {
    int64_t tokens, outputs, inputs;
  };
  constexpr Size kSizes[] = {{0, 33, 64},    {1, 1, 1},     {1, 7, 2},     {2, 31, 7},
                             {3, 33, 31},    {7, 64, 33},   {5, 65, 64},   {33, 100, 65},
                             {1, 384, 100},  {6, 7, 1536},  {70, 33, 384}, {1, 1503, 65},
                             {64, 128, 128}, {250, 40, 130}};
  for (const Size& size : kSizes) {
    for (const int64_t padding : {0, 5}) {
      expect_parity(RoundedCase(size.tokens, size.outputs, size.inputs, padding),
                    fmt::format("T {}, N {}, K {}, padding {}", size.tokens, size.outputs,
                                size.inputs, padding));
    }
  }
}

TEST_P(RoundedInputs, BiasActivationAndAccumulation) {
  for (const int64_t tokens : {1, 5, 40}) {
    for (const Activation activation : kActivations) {
      RoundedCase layer(tokens, 65, 100, 3);
      layer.activation = activation;
      layer.accumulate = tokens == 5;
      expect_parity(layer,
                    fmt::format("T {}, activation {}", tokens, static_cast<int>(activation)));
    }
  }
}

// Few rows and many, alone and together, on few and many threads: the same bits.
TEST_P(RoundedInputs, ARowDoesNotDependOnOthers) {
  for (const Inputs inputs : kRounded) {
    const RoundedCase batch(70, 83, 203, 3);
    const TestMatrix together = batch.run(*kernels_, inputs);
    for (const int64_t count : {1, 2, 3, 5, 16, 17, 40}) {
      for (const int64_t first : {int64_t{0}, int64_t{13}, 70 - count}) {
        TestMatrix some(DType::f32, count, 83);
        kernels_->linear({.x = batch.x.view().rows_from(first, count),
                          .weight = batch.weight.view(),
                          .scale = batch.weight.scale(),
                          .bias = batch.bias.floats(),
                          .y = some.view(),
                          .inputs = inputs});
        for (int64_t t = 0; t < count; ++t) {
          for (int64_t n = 0; n < 83; ++n) {
            ASSERT_EQ(some.at(t, n), together.at(first + t, n)) << count << ", " << first;
          }
        }
      }
    }
  }
}

// Within the bound that kernels.h states, of what products in f32 give.
TEST_P(RoundedInputs, StaysWithinItsBound) {
  for (const Inputs inputs : kRounded) {
    const double step = inputs == Inputs::i8 ? 1.0 / 254 : 1.0 / (2 * 32639);
    for (const int64_t tokens : {1, 40}) {
      const RoundedCase layer(tokens, 65, 515);
      const TestMatrix bounds = layer.sums(*reference_, layer.largest()).map([&](float sum) {
        return static_cast<float>((step + 40 * kUnit) * static_cast<double>(sum));
      });
      const auto compared =
          compare(layer.run(*kernels_, inputs), layer.run(*reference_, Inputs::f32), bounds);
      EXPECT_EQ(compared.outside, 0) << compared.first;
      EXPECT_GT(compared.absolute, 0.0) << "nothing was rounded";
    }
  }
}

// The largest integers on both sides, with one sign: nothing may wrap or saturate.
TEST_P(RoundedInputs, ExtremeIntegers) {
  for (const float x : {1.0F, -1.0F, 1e32F, -1e-30F}) {
    for (const int64_t tokens : {1, 5, 40}) {
      for (const int8_t w : {int8_t{127}, int8_t{-127}, int8_t{-128}}) {
        constexpr int64_t kInputs = 4097, kOutputs = 37;
        const std::vector<int8_t> weights(static_cast<size_t>(kInputs * kOutputs), w);
        const std::vector<float> scales(kOutputs, 0x1p-20F);
        const TestMatrix same =
            TestMatrix(DType::f32, tokens, kInputs).map([&](float) { return x; });
        for (const Inputs inputs : kRounded) {
          TestMatrix y(DType::f32, tokens, kOutputs);
          kernels_->linear({.x = same.view(),
                            .weight = {reinterpret_cast<const std::byte*>(weights.data()),
                                       DType::i8, kOutputs, kInputs, kInputs},
                            .scale = scales.data(),
                            .y = y.view(),
                            .inputs = inputs});
          const double exact = double{x} * w * 0x1p-20 * kInputs;
          for (int64_t n = 0; n < kOutputs; ++n) {
            EXPECT_NEAR(y.at(tokens - 1, n), exact, std::fabs(exact) * 8 * kUnit);
          }
        }
      }
    }
  }
}

// As deep as may be: the sum is just within 32 bits, whatever its parts on the way are.
TEST_P(RoundedInputs, DeepestInputs) {
  constexpr int64_t kInputs = int64_t{1} << 17, kOutputs = 17;
  const std::vector<float> scales(kOutputs, 0x1p-20F);
  for (const int8_t w : {int8_t{127}, int8_t{-128}}) {
    const std::vector<int8_t> weights(static_cast<size_t>(kInputs * kOutputs), w);
    for (const int64_t tokens : {2, 18}) {
      const TestMatrix ones =
          TestMatrix(DType::f32, tokens, kInputs).map([](float) { return 1.0F; });
      for (const Inputs inputs : kRounded) {
        TestMatrix y(DType::f32, tokens, kOutputs);
        kernels_->linear({.x = ones.view(),
                          .weight = {reinterpret_cast<const std::byte*>(weights.data()), DType::i8,
                                     kOutputs, kInputs, kInputs},
                          .scale = scales.data(),
                          .y = y.view(),
                          .inputs = inputs});
        const double exact = w * 0x1p-20 * kInputs;
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t n = 0; n < kOutputs; ++n) {
            EXPECT_NEAR(y.at(t, n), exact, std::fabs(exact) * 8 * kUnit) << t << ", " << n;
          }
        }
      }
    }
  }
}

// Half steps go to the even integer, as everywhere.
TEST_P(RoundedInputs, RoundsToNearestEven) {
  const std::vector<float> x = {127.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -2.5F, 0.49F};
  const std::vector<double> expected = {127, 0, 2, 2, 0, -2, -2, 0};
  std::vector<int8_t> weights(64);
  for (size_t n = 0; n < 8; ++n) weights[n * 8 + n] = 1;
  const std::vector<float> scales(8, 1.0F);
  TestMatrix y(DType::f32, 1, 8);
  const TestMatrix row = TestMatrix::of(x, 1, 8);
  kernels_->linear(
      {.x = row.view(),
       .weight = {reinterpret_cast<const std::byte*>(weights.data()), DType::i8, 8, 8, 8},
       .scale = scales.data(),
       .y = y.view(),
       .inputs = Inputs::i8});
  for (int64_t n = 0; n < 8; ++n) EXPECT_EQ(y.at(0, n), expected[static_cast<size_t>(n)]) << n;
}

TEST_P(RoundedInputs, ZerosAndTinyNumbersGiveZeros) {
  for (const float x : {0.0F, -0.0F, 1e-45F, 0x1p-111F}) {
    for (const int64_t tokens : {1, 5, 40}) {
      const TestWeight weight(2, DType::i8, 37, 67);
      const TestMatrix row = TestMatrix(DType::f32, tokens, 67).map([&](float) { return x; });
      for (const Inputs inputs : kRounded) {
        TestMatrix y = TestMatrix::random(3, DType::f32, tokens, 37);
        kernels_->linear({.x = row.view(),
                          .weight = weight.view(),
                          .scale = weight.scale(),
                          .y = y.view(),
                          .inputs = inputs});
        EXPECT_EQ(y.magnitudes(), TestMatrix(DType::f32, tokens, 37)) << x;
      }
    }
  }
}

TEST_P(RoundedInputs, NaNAndInfinityFillTheirRow) {
  for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity}) {
    for (const int64_t tokens : {1, 3, 9, 40}) {
      RoundedCase layer(tokens, 35, 67);
      layer.x.set(tokens / 2, 66, bad);
      layer.weight.spoil(3);
      for (const Inputs inputs : kRounded) {
        const TestMatrix y = layer.run(*kernels_, inputs);
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t n = 0; n < 35; ++n) {
            EXPECT_EQ(std::isnan(y.at(t, n)), t == tokens / 2 || n == 3) << t << ", " << n;
          }
        }
      }
    }
  }
}

TEST_P(RoundedInputs, OtherWeightsAreMultipliedInF32) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    const auto x = TestMatrix::random(1, DType::f32, 5, 67);
    const auto weight = TestMatrix::random(2, type, 33, 67);
    TestMatrix asked(DType::f32, 5, 33), plain(DType::f32, 5, 33);
    kernels_->linear(
        {.x = x.view(), .weight = weight.view(), .y = asked.view(), .inputs = Inputs::i8});
    kernels_->linear({.x = x.view(), .weight = weight.view(), .y = plain.view()});
    EXPECT_EQ(asked, plain) << name_of(type);
  }
}

TEST_P(RoundedInputs, GroupsAreRoundedByThemselves) {
  struct Size {
    int64_t tokens, groups, outputs, inputs, stride;  // outputs and inputs of one group
  };
  constexpr Size kSizes[] = {{1, 4, 16, 640, 0},
                             {2, 6, 100, 16, 20},
                             {5, 3, 64, 384, 300},
                             {16, 2, 128, 512, 0},
                             {40, 3, 33, 70, 100}};
  for (const Size& size : kSizes) {
    const int64_t stride = size.stride == 0 ? size.inputs : size.stride;
    const int64_t outputs = size.groups * size.outputs;
    const auto x =
        TestMatrix::random(1, DType::f32, size.tokens, (size.groups - 1) * stride + size.inputs, 3);
    const TestWeight weight(2, DType::i8, outputs, size.inputs);
    for (const Inputs inputs : kRounded) {
      TestMatrix y(DType::f32, size.tokens, outputs, 2), apart(DType::f32, size.tokens, outputs, 2);
      kernels_->grouped_linear({.x = x.view(),
                                .x_stride = size.stride,
                                .weight = weight.view(),
                                .scale = weight.scale(),
                                .y = y.view(),
                                .groups = size.groups,
                                .inputs = inputs});
      for (int64_t g = 0; g < size.groups; ++g) {
        kernels_->linear({.x = x.view().columns_from(g * stride, size.inputs),
                          .weight = weight.view().rows_from(g * size.outputs, size.outputs),
                          .scale = weight.scale() + g * size.outputs,
                          .y = apart.view().columns_from(g * size.outputs, size.outputs),
                          .inputs = inputs});
      }
      EXPECT_EQ(y, apart);
    }
  }
}

// Rows of an i8 table: each product has one rounding.
TEST_P(RoundedInputs, EmbeddingFromBytesIsExact) {
  for (const int64_t width : {1, 37, 64}) {
    const TestWeight table(1, DType::i8, 50, width, 3);
    const auto positions = TestMatrix::random(2, DType::f16, 20, width);
    const std::vector<int32_t> ids{0, 49, 7, 7, 31};
    const std::vector<int32_t> places{19, 0, 3, 4, 5};
    const auto run = [&](Kernels& kernels) {
      TestMatrix y(DType::f32, 5, width, 3);
      kernels.embed({.ids = ids,
                     .table = table.view(),
                     .scale = table.scale(),
                     .factor = 11.3F,
                     .places = places,
                     .positions = positions.view(),
                     .y = y.view()});
      return y;
    };
    EXPECT_EQ(run(*kernels_), run(*reference_)) << width;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, RoundedInputs, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
