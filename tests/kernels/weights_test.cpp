// Parity of products with weights of integers and blocks, and of embedding from blocks.
//
// The tolerance is that of linear_test.cpp, where the magnitudes summed are those of the scaled
// integers and of what a block subtracts: a device may sum the two apart.
#include <limits>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

int64_t whole_blocks(DType type, int64_t columns) {
  const int64_t block = block_of(type).elements;
  return (columns + block - 1) / block * block;
}

class PackedWeights : public ParityTest {
 protected:
  struct Flags {
    bool bias = true;
    bool accumulate = false;
    Activation activation = Activation::none;
  };

  void expect_parity(const TestMatrix& x, const TestWeight& weight, const Flags& flags,
                     const std::string& what) {
    const auto bias = TestMatrix::random(3, DType::f32, 1, weight.view().rows);
    const auto before = TestMatrix::random(4, DType::f32, x.rows(), weight.view().rows, 3);
    const auto run = [&](Kernels& kernels) {
      TestMatrix y = before;
      kernels.linear({.x = x.view(),
                      .weight = weight.view(),
                      .scale = weight.scale(),
                      .bias = flags.bias ? bias.floats() : nullptr,
                      .y = y.view(),
                      .activation = flags.activation,
                      .accumulate = flags.accumulate});
      return y;
    };
    TestMatrix sums = before.magnitudes();
    const TestMatrix sizes = weight.magnitudes();
    const TestMatrix absolute = x.magnitudes();
    const TestMatrix added = bias.magnitudes();
    reference_->linear({.x = absolute.view(),
                        .weight = sizes.view(),
                        .bias = added.floats(),
                        .y = sums.view(),
                        .accumulate = flags.accumulate});
    const double share = 1.13 * sum_tolerance(x.columns()) + 16.0 * kUnit;
    const TestMatrix bounds =
        sums.map([&](float sum) { return static_cast<float>(share * static_cast<double>(sum)); });
    EXPECT_TRUE(agrees(run(*kernels_), run(*reference_), bounds)) << what;
  }
};

TEST_P(PackedWeights, OddSizes) {
  struct Size {
    int64_t tokens, outputs, inputs;
  };
  constexpr Size kSizes[] = {{1, 1, 1},     {1, 7, 33},    {2, 31, 65},  {3, 33, 100},
                             {4, 48, 257},  {5, 65, 512},  {9, 7, 700},  {13, 50, 1100},
                             {33, 100, 96}, {70, 33, 300}, {1, 503, 65}, {64, 20, 288}};
  for (const DType type : kPackedTypes) {
    for (const Size& size : kSizes) {
      for (const int64_t padding : {int64_t{0}, block_of(type).elements}) {
        const int64_t inputs = whole_blocks(type, size.inputs);
        expect_parity(TestMatrix::random(1, DType::f32, size.tokens, inputs, 5),
                      TestWeight(2, type, size.outputs, inputs, padding), {},
                      fmt::format("T {}, N {}, K {}, {}, padding {}", size.tokens, size.outputs,
                                  inputs, name_of(type), padding));
      }
    }
  }
}

TEST_P(PackedWeights, EveryNumberOfTokensUpTo70) {
  for (const DType type : kPackedTypes) {
    const int64_t inputs = whole_blocks(type, 45);
    const TestWeight weight(2, type, 37, inputs);
    for (int64_t tokens = 1; tokens <= 70; ++tokens) {
      expect_parity(TestMatrix::random(1, DType::f32, tokens, inputs), weight, {},
                    fmt::format("T {}, {}", tokens, name_of(type)));
    }
  }
}

TEST_P(PackedWeights, BiasActivationAndAccumulation) {
  for (const DType type : kPackedTypes) {
    const int64_t inputs = whole_blocks(type, 100);
    const TestWeight weight(2, type, 65, inputs);
    for (const int64_t tokens : {1, 6, 40}) {
      const auto x = TestMatrix::random(1, DType::f32, tokens, inputs);
      for (const Activation activation : kActivations) {
        for (const bool flag : {false, true}) {
          expect_parity(x, weight, {.bias = !flag, .accumulate = flag, .activation = activation},
                        fmt::format("T {}, {}, activation {}, accumulate {}", tokens, name_of(type),
                                    static_cast<int>(activation), flag));
        }
      }
    }
  }
}

// The largest and the smallest integers, with one sign: nothing may wrap or saturate.
TEST_P(PackedWeights, ManyEqualSigns) {
  for (const DType type : kPackedTypes) {
    const int64_t inputs = whole_blocks(type, 1024);
    for (const int64_t tokens : {1, 5, 33}) {
      const auto x = TestMatrix::random(1, DType::f32, tokens, inputs).magnitudes();
      expect_parity(x, TestWeight(5, type, 9, inputs), {},
                    fmt::format("T {}, {}", tokens, name_of(type)));
    }
  }
}

TEST_P(PackedWeights, NaNStaysInItsRowAndColumn) {
  for (const DType type : kPackedTypes) {
    const int64_t inputs = whole_blocks(type, 67);
    for (const int64_t tokens : {1, 3, 9, 40}) {
      auto x = TestMatrix::random(1, DType::f32, tokens, inputs);
      TestWeight weight(2, type, 35, inputs);
      const std::string what = fmt::format("T {}, {}", tokens, name_of(type));
      weight.spoil(34);
      expect_parity(x, weight, {}, what + ", of a weight");
      x.set(tokens / 2, inputs - 1, kNaN);
      expect_parity(x, weight, {}, what + ", of x too");
    }
  }
}

TEST_P(PackedWeights, Groups) {
  struct Size {
    int64_t tokens, groups, outputs, inputs, stride;  // outputs and inputs of one group
  };
  constexpr Size kSizes[] = {{1, 1, 1, 1, 0},      {1, 4, 16, 640, 0},   {2, 6, 100, 16, 20},
                             {5, 3, 64, 384, 300}, {16, 2, 128, 512, 0}, {40, 3, 33, 70, 100}};
  for (const DType type :
       {DType::f32, DType::f16, DType::i8, DType::i16, DType::q4_0, DType::q8_0, DType::q4_k}) {
    const bool plain = type == DType::f32 || type == DType::f16;
    for (const Size& size : kSizes) {
      for (const bool accumulate : {false, true}) {
        const int64_t inputs = whole_blocks(type, size.inputs);
        const int64_t stride = size.stride == 0 ? inputs : size.stride;
        const int64_t outputs = size.groups * size.outputs;
        const auto x =
            TestMatrix::random(1, DType::f32, size.tokens, (size.groups - 1) * stride + inputs, 3);
        const TestWeight packed(2, plain ? DType::i8 : type, outputs, inputs);
        const auto floats = TestMatrix::random(2, plain ? type : DType::f32, outputs, inputs);
        const ConstMatrix weight = plain ? floats.view() : packed.view();
        const TestMatrix sizes = plain ? floats.magnitudes() : packed.magnitudes();
        const auto before = TestMatrix::random(4, DType::f32, size.tokens, outputs, 2);
        const auto run = [&](Kernels& kernels, bool absolute) {
          TestMatrix y = absolute ? before.magnitudes() : before;
          const TestMatrix left = absolute ? x.magnitudes() : x;
          kernels.grouped_linear({.x = left.view(),
                                  .x_stride = size.stride,
                                  .weight = absolute ? sizes.view() : weight,
                                  .scale = absolute || plain ? nullptr : packed.scale(),
                                  .y = y.view(),
                                  .groups = size.groups,
                                  .accumulate = accumulate});
          return y;
        };
        const TestMatrix bounds = run(*reference_, true).map([&](float sum) {
          return static_cast<float>(sum_tolerance(inputs) * static_cast<double>(sum));
        });
        EXPECT_TRUE(agrees(run(*kernels_, false), run(*reference_, false), bounds))
            << fmt::format("T {}, groups {}, N {}, K {}, stride {}, {}, accumulate {}", size.tokens,
                           size.groups, size.outputs, inputs, stride, name_of(type), accumulate);
      }
    }
  }
}

// A decoded value has at most one rounding, as has its product with the factor.
TEST_P(PackedWeights, EmbeddingIsExact) {
  for (const DType type : kPackedTypes) {
    if (!is_block_type(type)) continue;
    for (const int64_t blocks : {1, 3}) {
      const int64_t width = blocks * block_of(type).elements;
      const TestWeight table(1, type, 50, width, block_of(type).elements);
      const auto positions = TestMatrix::random(2, DType::f16, 20, width);
      const std::vector<int32_t> ids{0, 49, 7, 7, 31};
      const std::vector<int32_t> places{19, 0, 3, 4, 5};
      for (const bool placed : {false, true}) {
        const auto run = [&](Kernels& kernels) {
          TestMatrix y(DType::f32, 5, width, 3);
          Embed embed{.ids = ids, .table = table.view(), .factor = 11.3F, .y = y.view()};
          if (placed) {
            embed.places = places;
            embed.positions = positions.view();
          }
          kernels.embed(embed);
          return y;
        };
        EXPECT_EQ(run(*kernels_), run(*reference_)) << name_of(type) << ", D " << width;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, PackedWeights, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
