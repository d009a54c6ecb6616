// Parity of kernels with memory of their own, without a card: the CPU's on the island, staged. And
// the two wrappers themselves: what they are to catch, they catch.
#include <stdexcept>

#include "gtest/gtest.h"
#include "kernels/island_kernels.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"
#include "kernels/staged_kernels.h"

namespace slim {
namespace {

using test::island_device;
using test::IslandKernels;
using test::StagedKernels;

class Staged : public testing::Test {
 protected:
  std::unique_ptr<Kernels> plain_ = make_kernels("cpu", 2);
  std::unique_ptr<Kernels> staged_ = test::staged(std::make_unique<IslandKernels>("cpu", 2));

  // What an operation leaves, on either: not a bit may differ.
  template <typename Run>
  void expect_same(Run run) {
    EXPECT_EQ(run(*plain_), run(*staged_));
  }
};

TEST_F(Staged, IsOfTheHostsMemory) {
  EXPECT_TRUE(staged_->device().host());
  EXPECT_EQ(staged_->name(), "island");
  EXPECT_EQ(test::test_kernels("cpu", 1)->name(), "cpu");
}

TEST_F(Staged, ProductsWithPaddingScalesAndBiases) {
  const TestMatrix x = TestMatrix::random(1, DType::f32, 9, 64, 3);
  const TestMatrix bias = TestMatrix::random(2, DType::f32, 1, 40);
  for (const DType type : {DType::f16, DType::f32}) {
    const TestMatrix weight = TestMatrix::random(3, type, 40, 64, 5);
    for (const bool accumulate : {false, true}) {
      expect_same([&](Kernels& kernels) {
        TestMatrix y = TestMatrix::random(4, DType::f32, 9, 40, 7);
        kernels.linear({.x = x.view(),
                        .weight = weight.view(),
                        .bias = bias.floats(),
                        .y = y.view(),
                        .activation = Activation::gelu,
                        .accumulate = accumulate});
        EXPECT_TRUE(y.padding_intact());
        return y;
      });
    }
  }
  for (const DType type : {DType::i8, DType::i16, DType::q4_k}) {
    const TestWeight weight(5, type, 24, 256, type == DType::q4_k ? 256 : 3);
    const TestMatrix wide = TestMatrix::random(6, DType::f32, 9, 256);
    expect_same([&](Kernels& kernels) {
      TestMatrix y(DType::f32, 9, 24);
      kernels.linear(
          {.x = wide.view(), .weight = weight.view(), .scale = weight.scale(), .y = y.view()});
      kernels.grouped_linear({.x = wide.view().columns_from(0, 256),
                              .x_stride = 0,
                              .weight = weight.view(),
                              .scale = weight.scale(),
                              .y = y.view(),
                              .groups = 1,
                              .accumulate = true});
      return y;
    });
  }
}

TEST_F(Staged, ResultsThatOverlapArguments) {
  const Rotation rotation(16, false, std::vector<double>(8, 0.3), 1.0, 100);
  const std::vector<int32_t> positions = {3, 70, 71, 5};
  const TestMatrix gain = TestMatrix::random(1, DType::f32, 1, 32);
  expect_same([&](Kernels& kernels) {
    TestMatrix both = TestMatrix::random(2, DType::f32, 4, 64, 1);
    const Matrix left = both.view().columns_from(0, 32);
    const Matrix right = both.view().columns_from(32, 32);
    kernels.norm({.kind = NormKind::rms, .x = left, .gain = gain.floats(), .y = left});
    kernels.gate({.gate = right, .up = left, .y = left});
    kernels.rotate(
        {.x = right, .positions = positions, .rotation = &rotation, .head_width = 16, .y = right});
    kernels.clamp({.x = both.view(), .limit = 0.5F});
    kernels.log_softmax({both.view(), both.view()});
    EXPECT_TRUE(both.padding_intact());
    return both;
  });
}

TEST_F(Staged, EmbeddingsConvolutionsAndDenseAttention) {
  const TestMatrix table = TestMatrix::random(1, DType::bf16, 20, 32);
  const TestMatrix places = TestMatrix::random(2, DType::f32, 10, 32);
  const TestMatrix taps = TestMatrix::random(3, DType::f16, 32, 96);
  const TestMatrix bias = TestMatrix::random(4, DType::f32, 1, 32);
  const std::vector<int32_t> ids = {3, 19, 0, 7};
  const std::vector<int32_t> at = {0, 1, 9, 2};
  expect_same([&](Kernels& kernels) {
    TestMatrix x(DType::f32, 4, 32);
    TestMatrix y(DType::f32, 2, 32);
    TestMatrix out(DType::f32, 2, 32);
    kernels.embed({.ids = ids,
                   .table = table.view(),
                   .places = at,
                   .positions = places.view(),
                   .y = x.view()});
    kernels.convolve(
        {.x = x.view(), .weight = taps.view(), .bias = bias.floats(), .y = y.view(), .stride = 2});
    kernels.attend_dense(
        {.q = y.view(), .k = y.view(), .v = y.view(), .out = out.view(), .heads = 2});
    return out;
  });
}

// Rows stored, sealed, loaded and attended, in pages that two sequences share.
TEST_F(Staged, PagesOfSeveralPlanesAndSequences) {
  const RowFormat sealed{DType::f32, 32, 8};
  const RowFormat formats[] = {sealed.hot(), sealed, {DType::f16, 32}};
  const TestMatrix x = TestMatrix::random(1, DType::f32, 128, 32);
  const TestMatrix slopes = TestMatrix::random(2, DType::f32, 1, 2);
  expect_same([&](Kernels& kernels) {
    PagedRows rows(formats, 128);
    const PagedRows fork = rows.fork();
    const Slice all[] = {rows.slice(0, 128)};
    kernels.store_rows({x.view(), rows.plane(0), all});
    kernels.store_rows({x.view(), rows.plane(2), all});
    std::vector<SealPages::Page> pages;
    for (int i = 0; i < 2; ++i) pages.push_back({rows.pages()[i], rows.pages()[i]});
    kernels.seal_pages({.from = rows.plane(0), .to = rows.plane(1), .pages = pages});
    TestMatrix loaded(DType::f32, 70, 32);
    kernels.load_rows({.plane = rows.plane(1), .slice = all[0], .begin = 50, .y = loaded.view()});
    TestMatrix mixed(DType::f32, 5, 32);
    TestMatrix lse(DType::f32, 5, 2);
    const Slice two[] = {rows.slice(0, 2, 128), fork.slice(2, 3, 80)};
    kernels.attend_pair({.queries = loaded.view().rows_from(0, 5),
                         .mixed = mixed.view(),
                         .slices = two,
                         .keys = rows.plane(1),
                         .values = rows.plane(2),
                         .heads = 2,
                         .key_width = 16,
                         .key_stride = 16,
                         .value_width = 16,
                         .value_stride = 16,
                         .slopes = slopes.floats(),
                         .lse = lse.view()});
    return std::tuple{loaded, mixed, lse};
  });
}

TEST_F(Staged, ShapedSealing) {
  const RowFormat sealed{DType::f32, 32, 8};
  const RowFormat formats[] = {sealed.hot(), sealed};
  const TestMatrix x = TestMatrix::random(1, DType::f32, 64, 32);
  std::vector<Half> u(32 * 4, to_half(0.1F));
  std::vector<Half> g(32 * 4, to_half(0.05F));
  std::vector<int32_t> order;
  for (int32_t i = 0; i < 32; ++i) order.push_back(31 - i);
  const Shaping shaping{
      .width = 32, .rank = 4, .u = u.data(), .g = g.data(), .order = order.data()};
  expect_same([&](Kernels& kernels) {
    PagedRows rows(formats, 64);
    const Slice all[] = {rows.slice(0, 64)};
    kernels.store_rows({x.view(), rows.plane(0), all});
    const SealPages::Page page[] = {{rows.pages()[0], rows.pages()[0]}};
    kernels.seal_pages(
        {.from = rows.plane(0), .to = rows.plane(1), .shaping = &shaping, .pages = page});
    std::vector<float> values;
    for (int64_t row = 0; row < 64; ++row) {
      for (const float value : rows.row(1, row)) values.push_back(value);
    }
    return values;
  });
}

// Writes one float too many.
class Careless final : public test::WrappedKernels<Careless> {
 public:
  Careless() : WrappedKernels(std::make_unique<IslandKernels>()) {}
  std::string_view name() const override { return "careless"; }
  Device& device() override { return inner().device(); }
  template <typename Arguments>
  void run(const Arguments& arguments, void (Kernels::*operation)(const Arguments&)) {
    (inner().*operation)(arguments);
    if constexpr (std::is_same_v<Arguments, Clamp>) {
      const test::IslandDevice::Visit visit(island_device());
      arguments.x.template row<float>(arguments.x.rows - 1)[arguments.x.columns] = 0.0F;
    }
  }
};

TEST_F(Staged, NoticesWhatIsWrittenBehindAMatrix) {
  StagedKernels kernels(std::make_unique<Careless>());
  TestMatrix x = TestMatrix::random(1, DType::f32, 3, 8);
  EXPECT_THROW(kernels.clamp({.x = x.view(), .limit = 1.0F}), std::logic_error);
}

TEST(Island, RefusesMemoryThatIsNotItsOwn) {
  IslandKernels kernels;
  Tensor there = Tensor::from(std::vector<float>(64, 2.0F), {8, 8}).on(kernels.device());
  const TestMatrix here = TestMatrix::random(1, DType::f32, 8, 8);
  Tensor y = Tensor::allocate(kernels.device(), DType::f32, {8, 8});
  kernels.linear({.x = there.matrix(), .weight = there.matrix(), .y = y.writable_matrix()});
  EXPECT_EQ(y.on(host_device()).values<float>()[63], 32.0F);
  const Linear forgotten{.x = there.matrix(), .weight = here.view(), .y = y.writable_matrix()};
  EXPECT_THROW(kernels.linear(forgotten), std::logic_error);
  const Linear behind{.x = there.matrix(),
                      .weight = there.matrix(),
                      .bias = here.floats(),
                      .y = y.writable_matrix()};
  EXPECT_THROW(kernels.linear(behind), std::logic_error);
  // One row more than was allocated.
  Matrix longer = y.writable_matrix();
  ++longer.rows;
  EXPECT_THROW(kernels.clamp({.x = longer, .limit = 1.0F}), std::logic_error);
}

TEST(IslandDeathTest, IsClosedToTheProcessor) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Tensor there = Tensor::from(std::vector<float>(8, 2.0F), {8}).on(island_device());
  const volatile float* const value = there.values<float>();
  EXPECT_DEATH(static_cast<void>(*value), "");
}

}  // namespace
}  // namespace slim
