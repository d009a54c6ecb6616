// What Model promises of language models beyond their logits: going back, contexts, several
// sequences in a step, and steps whose MLP runs in blocks of rows.
#include <gtest/gtest.h>

#include <numeric>

#include "error_matchers.h"
#include "models/blocks.h"
#include "models/golden.h"

namespace slim::test {
namespace {

std::filesystem::path model_at(const std::string& name) {
  return std::filesystem::path(SLIM_TEST_DATA) / "golden" / "lm" / name;
}

std::vector<int32_t> some_tokens(size_t count, int32_t seed) {
  std::vector<int32_t> tokens(count);
  for (size_t i = 0; i < count; ++i) {
    tokens[i] = static_cast<int32_t>((i * 37 + static_cast<size_t>(seed) * 11) % 64);
  }
  return tokens;
}

std::vector<float> last_logits(const Tensor& logits) {
  const Tensor row = logits.slice(logits.size(0) - 1, 1);
  return {floats(row).begin(), floats(row).end()};
}

class GoingBack : public testing::TestWithParam<const char*> {};

// To a place in the hot page, at a page's end, and inside a page that was sealed. Rows are written
// again over what was there; only the last case rounds some of them twice.
TEST_P(GoingBack, ContinuesAsIfTheRestHadNeverBeen) {
  const std::string kind = GetParam();
  for (const RowType type : {RowType::f32, RowType::i16, RowType::i8}) {
    const Loaded loaded(model_at("llama"), "cpu", cache(kind, type));
    const std::vector<int32_t> text = some_tokens(140, 1);
    const std::vector<int32_t> other = some_tokens(140, 2);
    for (const size_t keep : {130, 128, 100, 64, 20, 0}) {
      Decoding decoding(*loaded.model, 1, 140);
      decoding.step({std::span(text).first(keep)});
      decoding.step({std::span(other).subspan(keep)});
      loaded.model->truncate(decoding.sequence(0).rows, static_cast<int64_t>(keep));
      EXPECT_EQ(decoding.sequence(0).rows.rows(), static_cast<int64_t>(keep));
      const std::vector<float> again = last_logits(decoding.step({std::span(text).subspan(keep)}));

      Decoding fresh(*loaded.model, 1, 140);
      fresh.step({std::span(text).first(keep)});
      const std::vector<float> once = last_logits(fresh.step({std::span(text).subspan(keep)}));
      const bool reopened = keep == 100 || keep == 20;
      const double rounded = reopened ? 6 * predicted_error(*loaded.model) : 0;
      EXPECT_LE(relative_difference(again, once), 1e-6 + rounded)
          << name_of(type) << ", back to " << keep;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoingBack, testing::Values("kv", "k"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(LmModel, NamesBothCountsWhereAContextIsTooShort) {
  const Loaded loaded(model_at("llama"), "cpu", cache("kv"), 100);
  EXPECT_EQ(loaded.model->context(), 100);
  Decoding decoding(*loaded.model, 1, 100);
  decoding.step({some_tokens(100, 1)});
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"101 tokens", "context of 100"},
                         [&] { decoding.step({some_tokens(1, 1)}); }));
}

TEST(LmModel, ExtendsRotaryPositionsAndNoOthers) {
  EXPECT_EQ(Loaded(model_at("llama"), "cpu", cache("kv")).model->context(), 160);
  EXPECT_EQ(Loaded(model_at("llama"), "cpu", cache("kv"), 1000).model->context(), 1000);
  const auto longer = [] {
    Loaded(golden_directory("deep_decoder") / "hf", "cpu", cache("kv"), 81);
  };
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"81 tokens", "80 positions"}, longer));
}

TEST(LmModel, HoldsAHotPageOnlyWhereRowsAreSealed) {
  const Loaded alone(model_at("llama"), "cpu", cache("kv", RowType::f16));
  EXPECT_EQ(alone.model->hot_pages(), nullptr);
  const Loaded sealed(model_at("llama"), "cpu", cache("kv", RowType::i8));
  ASSERT_NE(sealed.model->hot_pages(), nullptr);
  // Keys and values of 32 in f32, in two layers.
  EXPECT_EQ(sealed.model->hot_pages()->page_bytes(), 64 * 2 * 32 * 4 * 2);
}

// In i16: the order of f32 sums may move a number by one, which in i8 would show.
TEST(LmModel, ARowOfABatchIsTheRowAlone) {
  const Loaded loaded(model_at("gpt_neox"), "cpu", cache("kv", RowType::i16));
  const std::vector<int32_t> first = some_tokens(90, 3);
  const std::vector<int32_t> second = some_tokens(70, 4);
  Decoding together(*loaded.model, 2, 100);
  together.step({std::span(first).first(60), std::span(second).first(5)});
  const Tensor both = together.step({std::span(first).subspan(60), std::span(second).subspan(5)});
  Decoding alone(*loaded.model, 1, 100);
  const Tensor one = alone.step({second});
  EXPECT_LT(relative_difference(last_logits(both), last_logits(one)), 1e-5F);
}

TEST(LmModel, RunsMlpsInBlocksOfRows) {
  const Loaded loaded(model_at("llama"), "cpu", cache("kv"));
  const StackSpec& stack = loaded.files.spec.decoder;
  Tensor x = Tensor::allocate(host_device(), DType::f32, {10, stack.width});
  for (int64_t i = 0; i < x.elements(); ++i) {
    x.writable<float>()[i] = static_cast<float>(i % 13) - 6;
  }
  const auto run = [&](int64_t rows_at_once) {
    Tensor hidden = Tensor::allocate(host_device(), DType::f32, {rows_at_once, mlp_columns(stack)});
    const std::vector<float> ones(static_cast<size_t>(10 * stack.width), 1.0F);
    Tensor y = Tensor::from(ones, {10, stack.width});
    run_mlp(*loaded.kernels, stack, loaded.weights->parts().decoder[0].mlp, x.matrix(),
            hidden.writable_matrix(), y.writable_matrix());
    return y;
  };
  const Tensor whole = run(10);
  EXPECT_LT(relative_difference(floats(run(3)), floats(whole)), 1e-6F);
}

TEST(LmModel, KeepsTheScratchOfLongStepsBounded) {
  StackSpec stack;
  stack.mlp_width = 14336;
  stack.gated = true;
  EXPECT_EQ(mlp_rows(stack, 5), 5);
  EXPECT_EQ(mlp_rows(stack, 100000), 292);
  EXPECT_LE(mlp_rows(stack, 100000) * mlp_columns(stack) * 4, int64_t{32} << 20);
}

TEST(LmModel, ConditionsEveryLayerOnce) {
  const Loaded loaded(model_at("llama"), "cpu", cache("kv"));
  const std::vector<Conditioning>& found = loaded.weights->conditioning();
  ASSERT_EQ(found.size(), 2U);
  for (const Conditioning& layer : found) EXPECT_TRUE(layer.condition_k.has_value());
  EXPECT_EQ(&loaded.weights->conditioning(), &found);
}

}  // namespace
}  // namespace slim::test
