// Parity of the operations on whole matrices that are not plain products: norm, embed,
// convolve and log_softmax.
#include <algorithm>
#include <limits>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class LayerNormParity : public ParityTest {
 protected:
  // Beyond the sums: the mean, which is subtracted, strays with the sum of magnitudes; so an
  // element is allowed sum_tolerance(D) of (|x| + mean|x|) / deviation * |gain| + |offset|. A
  // variance taken as mean(x^2) - mean(x)^2 does not keep this where the mean is large.
  TestMatrix bounds(const TestMatrix& x, const TestMatrix* gain, const TestMatrix* offset) {
    TestMatrix result = x;
    for (int64_t t = 0; t < x.rows(); ++t) {
      double mean = 0.0, size = 0.0, square = 0.0;
      const auto width = static_cast<double>(x.columns());
      for (int64_t i = 0; i < x.columns(); ++i) {
        mean += static_cast<double>(x.at(t, i)) / width;
        size += std::fabs(static_cast<double>(x.at(t, i))) / width;
      }
      for (int64_t i = 0; i < x.columns(); ++i) {
        square += std::pow(static_cast<double>(x.at(t, i)) - mean, 2.0) / width;
      }
      for (int64_t i = 0; i < x.columns(); ++i) {
        const double factor = gain == nullptr ? 1.0 : std::fabs(gain->at(0, i));
        const double added = offset == nullptr ? 0.0 : std::fabs(offset->at(0, i));
        const double magnitude = std::fabs(static_cast<double>(x.at(t, i))) + size;
        result.set(t, i,
                   static_cast<float>(sum_tolerance(x.columns()) *
                                      (magnitude / std::sqrt(square + 1e-5) * factor + added)));
      }
    }
    return result;
  }

  void expect_parity(const TestMatrix& x, bool affine, const std::string& what) {
    const auto gain = TestMatrix::random(2, DType::f32, 1, x.columns());
    const auto offset = TestMatrix::random(3, DType::f32, 1, x.columns());
    const auto run = [&](Kernels& kernels, bool in_place) {
      TestMatrix y = x;
      const ConstMatrix from = in_place ? ConstMatrix(y.view()) : x.view();
      kernels.norm({.x = from,
                    .gain = affine ? gain.floats() : nullptr,
                    .offset = affine ? offset.floats() : nullptr,
                    .y = y.view()});
      return y;
    };
    const TestMatrix actual = run(*kernels_, false);
    EXPECT_TRUE(agrees(actual, run(*reference_, false),
                       bounds(x, affine ? &gain : nullptr, affine ? &offset : nullptr)))
        << what;
    EXPECT_EQ(actual, run(*kernels_, true)) << "in place, " << what;
  }
};

TEST_P(LayerNormParity, Sizes) {
  for (const int64_t tokens : {0, 1, 2, 7, 33, 70}) {
    for (const int64_t width : {2, 7, 31, 33, 64, 65, 100, 384, 1280}) {
      for (const bool affine : {false, true}) {
        expect_parity(TestMatrix::random(1, DType::f32, tokens, width, affine ? 3 : 0), affine,
                      fmt::format("T {}, D {}, affine {}", tokens, width, affine));
      }
    }
  }
}

// A window of sound is one row.
TEST_P(LayerNormParity, LongRows) {
  for (const int64_t width : {4095, 4097, 300000}) {
    expect_parity(TestMatrix::random(1, DType::f32, 1, width).map([](float v) { return v + 3.0F; }),
                  true, fmt::format("D {}", width));
  }
}

TEST_P(LayerNormParity, LargeMeansOutliersAndConstantRows) {
  auto x = TestMatrix::random(1, DType::f32, 5, 384).map([](float v) { return v + 1000.0F; });
  expect_parity(x, true, "mean of 1000");
  x = TestMatrix::random(1, DType::f32, 5, 384);
  for (int64_t t = 0; t < 5; ++t) x.set(t, 7 * t, 3000.0F);
  expect_parity(x, true, "one element of 3000");
  expect_parity(x.map([](float) { return 0.0F; }), true, "zeros");
}

TEST_P(LayerNormParity, NaNAndInfinityStayInTheirRow) {
  auto x = TestMatrix::random(1, DType::f32, 9, 65);
  x.set(2, 64, kNaN);
  x.set(5, 0, kInfinity);
  expect_parity(x, true, "NaN and infinity");
}

INSTANTIATE_TEST_SUITE_P(Kernels, LayerNormParity, testing::ValuesIn(candidates()), candidate_name);

// Two values are added and rounded once: nothing is left to tolerate.
class EmbedParity : public ParityTest {
 protected:
  void expect_exact(DType type, DType position_type, int64_t width, int64_t tokens) {
    const auto table = TestMatrix::random(1, type, 50, width, 2);
    const auto positions = TestMatrix::random(2, position_type, 448, width, 1);
    std::vector<int32_t> ids, places;
    for (int32_t t = 0; t < tokens; ++t) {
      ids.push_back(t * 7 % 50);
      places.push_back(447 - t * 5 % 448);
    }
    const auto run = [&](Kernels& kernels) {
      TestMatrix y(DType::f32, tokens, width, 3);
      kernels.embed({.ids = ids,
                     .table = table.view(),
                     .places = places,
                     .positions = positions.view(),
                     .y = y.view()});
      return y;
    };
    EXPECT_EQ(run(*kernels_), run(*reference_))
        << fmt::format("{} + {}, D {}, T {}", name_of(type), name_of(position_type), width, tokens);
  }
};

TEST_P(EmbedParity, IsExact) {
  for (const DType type : kWeightTypes) {
    for (const int64_t width : {1, 7, 33, 64, 100, 384}) {
      for (const int64_t tokens : {0, 1, 2, 33, 70}) expect_exact(type, type, width, tokens);
    }
    for (const DType position_type : kWeightTypes) expect_exact(type, position_type, 65, 9);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, EmbedParity, testing::ValuesIn(candidates()), candidate_name);

class ConvolveParity : public ParityTest {
 protected:
  struct Size {
    int64_t batch, frames, inputs, outputs;
    int64_t taps = 3, around = 1;  // frames of zeros at both ends
  };
  // As for linear, of taps * inputs terms.
  void expect_parity(const TestMatrix& x, const Size& size, int64_t stride, DType type,
                     Activation activation) {
    const int64_t padding = size.inputs % 2;
    const int64_t terms = size.taps * size.inputs;
    const auto weight = TestMatrix::random(2, type, size.outputs, terms, padding);
    const auto bias = TestMatrix::random(3, DType::f32, 1, size.outputs);
    const bool with_bias = stride == 1;
    const auto run = [&](Kernels& kernels, bool absolute) {
      const int64_t steps = (size.frames + 2 * size.around - size.taps) / stride + 1;
      TestMatrix y(DType::f32, size.batch * steps, size.outputs, padding);
      const TestMatrix left = absolute ? x.magnitudes() : x;
      const TestMatrix right = absolute ? weight.magnitudes() : weight;
      const TestMatrix added = absolute ? bias.magnitudes() : bias;
      kernels.convolve({left.view(), right.view(), with_bias ? added.floats() : nullptr, y.view(),
                        size.batch, stride, absolute ? Activation::none : activation, size.taps,
                        size.around});
      return y;
    };
    const double share = 1.13 * sum_tolerance(terms) + 16.0 * kUnit;
    const TestMatrix bounds = run(*reference_, true).map([&](float sum) {
      return static_cast<float>(share * static_cast<double>(sum));
    });
    EXPECT_TRUE(agrees(run(*kernels_, false), run(*reference_, false), bounds)) << fmt::format(
        "batch {}, frames {}, {} to {} channels, {} taps, {} around, stride {}, {}, "
        "activation {}",
        size.batch, size.frames, size.inputs, size.outputs, size.taps, size.around, stride,
        name_of(type), static_cast<int>(activation));
  }
};

TEST_P(ConvolveParity, SizesStridesAndWeightTypes) {
  constexpr Size kSizes[] = {{1, 1, 1, 1},    {1, 2, 7, 2},     {2, 3, 31, 7},
                             {3, 7, 33, 31},  {2, 64, 80, 33},  {1, 65, 64, 9},
                             {1, 100, 7, 65}, {2, 101, 16, 16}, {1, 1500, 8, 5}};
  for (const DType type : kWeightTypes) {
    for (const Size& size : kSizes) {
      for (const int64_t stride : {1, 2}) {
        const auto x = TestMatrix::random(1, DType::f32, size.batch * size.frames, size.inputs,
                                          size.inputs % 2);
        expect_parity(x, size, stride, type, Activation::gelu);
      }
    }
  }
}

// Rows of x that follow each other without a gap, and others.
TEST_P(ConvolveParity, TapsAndPadding) {
  constexpr Size kSizes[] = {{1, 895, 1, 24, 127, 0}, {2, 13, 16, 9, 7, 0}, {1, 5, 3, 2, 5, 0},
                             {2, 200, 8, 33, 7, 3},   {1, 9, 7, 5, 5, 1},   {3, 40, 1, 3, 4, 1},
                             {1, 900, 48, 24, 3, 0},  {1, 6, 2, 2, 1, 0}};
  for (const DType type : kWeightTypes) {
    for (const Size& size : kSizes) {
      for (const int64_t stride : {1, 2, 3, 64}) {
        for (const int64_t gap : {0, 2}) {
          const auto x =
              TestMatrix::random(1, DType::f32, size.batch * size.frames, size.inputs, gap);
          expect_parity(x, size, stride, type, Activation::tanh);
        }
      }
    }
  }
}

TEST_P(ConvolveParity, Activations) {
  const Size size{2, 9, 20, 11};
  for (const Activation activation : kActivations) {
    expect_parity(TestMatrix::random(1, DType::f32, 18, 20), size, 2, DType::f16, activation);
  }
}

// A NaN reaches the outputs whose taps touch its frame, and no other run.
TEST_P(ConvolveParity, NaNReachesThreeFrames) {
  const Size size{2, 9, 20, 11};
  auto x = TestMatrix::random(1, DType::f32, 18, 20);
  x.set(8, 3, kNaN);  // the last frame of the first run
  for (const int64_t stride : {1, 2}) {
    expect_parity(x, size, stride, DType::f32, Activation::none);
    expect_parity(x, size, stride, DType::bf16, Activation::none);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, ConvolveParity, testing::ValuesIn(candidates()), candidate_name);

class LogSoftmaxParity : public ParityTest {
 protected:
  // x - largest - log(sum): the sum strays by its tolerance, which the logarithm turns from a
  // relative into an absolute error; each subtraction rounds; exp errs by the size of its argument,
  // where that matters by at most log(V) + 1.
  void expect_parity(const TestMatrix& x, const std::string& what) {
    TestMatrix bounds = x;
    for (int64_t t = 0; t < x.rows(); ++t) {
      float largest = -kInfinity;
      for (int64_t i = 0; i < x.columns(); ++i) largest = std::max(largest, x.at(t, i));
      const auto count = static_cast<double>(x.columns());
      const double fixed = sum_tolerance(x.columns()) + 8.0 * kUnit * (std::log(count) + 1.0);
      for (int64_t i = 0; i < x.columns(); ++i) {
        const double sizes = std::fabs(x.at(t, i)) + std::fabs(largest);
        bounds.set(t, i, static_cast<float>(fixed + 4.0 * kUnit * sizes));
      }
    }
    const auto run = [&](Kernels& kernels, bool in_place) {
      TestMatrix y = x;
      kernels.log_softmax({in_place ? ConstMatrix(y.view()) : x.view(), y.view()});
      return y;
    };
    const TestMatrix actual = run(*kernels_, false);
    EXPECT_TRUE(agrees(actual, run(*reference_, false), bounds)) << what;
    EXPECT_EQ(actual, run(*kernels_, true)) << "in place, " << what;
  }
};

TEST_P(LogSoftmaxParity, SizesAndSpreads) {
  for (const int64_t rows : {0, 1, 2, 5, 33}) {
    for (const int64_t width : {1, 2, 7, 31, 33, 64, 65, 100, 1503}) {
      for (const float spread : {1.0F, 30.0F, 1e4F, 1e30F}) {
        const auto x = TestMatrix::random(1, DType::f32, rows, width, width % 3).map([&](float v) {
          return v * spread;
        });
        expect_parity(x, fmt::format("{} rows of {}, spread {}", rows, width, spread));
      }
    }
  }
  expect_parity(TestMatrix::random(1, DType::f32, 2, 51865), "a vocabulary");
}

// Suppressed tokens are minus infinity, and stay so; they may be all but one.
TEST_P(LogSoftmaxParity, SuppressedTokens) {
  for (const int64_t kept : {0, 50, 99}) {
    auto x = TestMatrix::random(1, DType::f32, 3, 100);
    for (int64_t i = 0; i < 100; ++i) {
      if (i != kept) x.set(1, i, -kInfinity);
      if (i < 64) x.set(2, i, -kInfinity);
    }
    expect_parity(x, fmt::format("token {} kept", kept));
  }
}

TEST_P(LogSoftmaxParity, NaNFillsItsRow) {
  for (const int64_t place : {0, 37, 99}) {
    auto x = TestMatrix::random(1, DType::f32, 3, 100);
    x.set(1, place, kNaN);
    expect_parity(x, fmt::format("NaN at {}", place));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, LogSoftmaxParity, testing::ValuesIn(candidates()),
                         candidate_name);

}  // namespace
}  // namespace slim
