// Parity of products of some rows, a batch of decoding steps, by weights that lie as models have
// them: rows aligned to 16 bytes, inputs beyond one step of a kernel that works by steps. Each case
// of what such a kernel may do apart: parts of tiles, inputs shared by several blocks, activations
// whose magnitude changes along a row, numbers that are not finite.
//
// The tolerance is that of linear_test.cpp.
#include <algorithm>
#include <limits>
#include <optional>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr DType kTypes[] = {DType::f16, DType::bf16, DType::i8, DType::i16};

struct Size {
  int64_t tokens, groups, outputs, inputs;  // outputs and inputs of one group
};

std::string name_of_case(const Size& size, DType type) {
  return fmt::format("T {}, groups {}, N {}, K {}, {}", size.tokens, size.groups, size.outputs,
                     size.inputs, name_of(type));
}

// Grouped products of one shape with all their memory: rows of x hold `spare` columns more a group.
class SomeRows : public ParityTest {
 protected:
  static constexpr int64_t kSpare = 4;

  struct Case {
    Case(const Size& shape, DType type)
        : size(shape),
          x(TestMatrix::random(1, DType::f32, shape.tokens,
                               shape.groups * (shape.inputs + kSpare))),
          floats(TestMatrix::random(2, integers(type) ? DType::f32 : type,
                                    shape.groups * shape.outputs, shape.inputs, padding(type))),
          bias(TestMatrix::random(3, DType::f32, 1, shape.groups * shape.outputs)),
          before(TestMatrix::random(4, DType::f32, shape.tokens, shape.groups * shape.outputs, 3)) {
      if (!integers(type)) return;
      packed.emplace(2, type, shape.groups * shape.outputs, shape.inputs, padding(type));
    }
    static bool integers(DType type) { return type == DType::i8 || type == DType::i16; }
    // To whole chunks of 16 bytes.
    int64_t padding(DType type) const {
      const int64_t chunk = 16 / size_of(type);
      return (chunk - size.inputs % chunk) % chunk;
    }
    GroupedLinear arguments(TestMatrix& y) const {
      return {.x = x.view(),
              .x_stride = size.inputs + kSpare,
              .weight = packed ? packed->view() : floats.view(),
              .scale = packed ? packed->scale() : nullptr,
              .bias = with_bias ? bias.floats() : nullptr,
              .y = y.view(),
              .groups = size.groups,
              .accumulate = accumulate};
    }
    TestMatrix run(Kernels& kernels) const {
      TestMatrix y = before;
      kernels.grouped_linear(arguments(y));
      return y;
    }
    TestMatrix bounds(Kernels& reference) const {
      const TestMatrix sizes = packed ? packed->magnitudes() : floats.magnitudes();
      const TestMatrix absolute = x.magnitudes();
      const TestMatrix added = bias.magnitudes();
      TestMatrix y = before.magnitudes();
      GroupedLinear all = arguments(y);
      all.x = absolute.view();
      all.weight = sizes.view();
      all.scale = nullptr;
      if (with_bias) all.bias = added.floats();
      reference.grouped_linear(all);
      return y.map([&](float sum) {
        return static_cast<float>(sum_tolerance(size.inputs) * static_cast<double>(sum));
      });
    }

    Size size;
    TestMatrix x;
    TestMatrix floats;                 // weights, if they are
    std::optional<TestWeight> packed;  // else
    TestMatrix bias, before;
    bool with_bias = false;
    bool accumulate = false;
  };

  void expect_parity(const Case& layer, const std::string& what) {
    const TestMatrix actual = layer.run(*kernels_);
    EXPECT_TRUE(agrees(actual, layer.run(*reference_), layer.bounds(*reference_))) << what;
    EXPECT_EQ(actual, layer.run(*kernels_)) << what;  // the same each time
  }
};

TEST_P(SomeRows, Sizes) {
  constexpr Size kSizes[] = {
      {9, 1, 128, 64},  {16, 1, 130, 72}, {17, 1, 64, 200}, {32, 1, 60, 136},  {33, 1, 100, 264},
      {64, 1, 129, 96}, {65, 1, 72, 520}, {130, 1, 40, 72}, {16, 2, 64, 640},  {16, 3, 136, 64},
      {40, 2, 128, 77}, {24, 5, 1, 8},    {64, 2, 50, 129}, {20, 2, 33, 1051}, {290, 1, 5, 40}};
  for (const DType type : kTypes) {
    for (const Size& size : kSizes) expect_parity(Case(size, type), name_of_case(size, type));
  }
}

TEST_P(SomeRows, BiasAndAccumulation) {
  for (const DType type : kTypes) {
    for (const int64_t tokens : {9, 20, 64}) {
      for (const int flags : {1, 2, 3}) {
        Case layer({tokens, 2, 70, 300}, type);
        layer.with_bias = (flags & 1) != 0;
        layer.accumulate = (flags & 2) != 0;
        expect_parity(layer, fmt::format("{}, flags {}", name_of_case(layer.size, type), flags));
      }
    }
  }
}

// Rows of every magnitude, growing and falling along themselves, with zeros at the beginning; so
// long that a part of the inputs is several steps.
TEST_P(SomeRows, MagnitudesOfActivations) {
  for (const DType type : kTypes) {
    for (const int64_t tokens : {12, 50}) {
      Case layer({tokens, 1, 20, 10240}, type);
      for (int64_t t = 0; t < tokens; ++t) {
        const int way = t % 3 == 0 ? 4 : t % 3 == 1 ? -4 : 0;
        for (int64_t k = 0; k < layer.size.inputs; ++k) {
          const int exponent = static_cast<int>(t * 150 / tokens - 75 + way * (k / 64 % 5));
          const bool zero = k < 130 && t % 5 == 0;
          layer.x.set(t, k, zero ? 0.0F : std::ldexp(layer.x.at(t, k), exponent));
        }
      }
      expect_parity(layer, name_of_case(layer.size, type));
    }
  }
}

TEST_P(SomeRows, NaNAndInfinityOfActivations) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const DType type : kTypes) {
    for (const int64_t tokens : {9, 64}) {
      Case layer({tokens, 2, 35, 200}, type);
      layer.x.set(1, 130, std::numeric_limits<float>::quiet_NaN());
      layer.x.set(3, 5, kInfinity);
      layer.x.set(3, 199, -1e30F);
      layer.x.set(4, 7, -kInfinity);
      layer.x.set(5, 204 + 60, kInfinity);  // of the second group
      // The largest whose products are finite.
      const float largest = layer.packed ? 0x1p100F : std::numeric_limits<float>::max();
      layer.x.set(6, 0, largest);
      layer.x.set(6, 1, -largest);
      const TestMatrix actual = layer.run(*kernels_);
      const TestMatrix expected = layer.run(*reference_);
      EXPECT_TRUE(agrees(actual, expected, layer.bounds(*reference_).map([](float bound) {
        return std::isfinite(bound) ? bound : std::numeric_limits<float>::max();
      }))) << name_of_case(layer.size, type);
    }
  }
}

TEST_P(SomeRows, InfinityAndNaNOfWeights) {
  for (const DType type : {DType::f16, DType::bf16}) {
    for (const int64_t tokens : {9, 64}) {
      const auto x = TestMatrix::random(1, DType::f32, tokens, 192);
      auto weight = TestMatrix::random(2, type, 40, 192);
      weight.set(3, 0, std::numeric_limits<float>::infinity());
      weight.set(17, 191, -std::numeric_limits<float>::infinity());
      weight.set(39, 70, std::numeric_limits<float>::quiet_NaN());
      const auto run = [&](Kernels& kernels) {
        TestMatrix y(DType::f32, tokens, 40);
        kernels.linear({.x = x.view(), .weight = weight.view(), .y = y.view()});
        return y;
      };
      const TestMatrix actual = run(*kernels_);
      EXPECT_TRUE(agrees(actual, run(*reference_), actual.map([](float) { return 1e-4F; })))
          << tokens << ", " << name_of(type);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, SomeRows, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
