// Model's own promises: what it refuses, what it stores, that calls do not disturb each
// other, and that a steady stream of steps allocates nothing.
#include <gtest/gtest.h>

#include <future>

#include "models/golden.h"
#include "slim/error.h"

namespace slim::test {
namespace {

class TinyModel : public testing::Test {
 protected:
  Expected expected_ = read_expected("deep_decoder");
  Loaded loaded_{golden_directory("deep_decoder") / "hf", "reference", cache("x", RowType::f16)};
  const Model& model_ = *loaded_.model;
  Tensor encoded_ = model_.encode(expected_.mel.matrix(), kWindows);

  std::string refusal(const std::vector<int32_t>& tokens) const {
    Decoding decoding(model_, encoded_.matrix(), 1);
    try {
      decoding.step({tokens});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request);
      return error.text();
    }
    return "";
  }
};

TEST_F(TinyModel, RefusesTokensOutsideTheVocabulary) {
  EXPECT_EQ(refusal({3, 160}), "Token 160 is outside the vocabulary of 160.");
  EXPECT_EQ(refusal({-1}), "Token -1 is outside the vocabulary of 160.");
  EXPECT_EQ(refusal({0, 159}), "");
}

TEST_F(TinyModel, RefusesMoreTokensThanPositions) {
  EXPECT_EQ(refusal(std::vector<int32_t>(80, 7)), "");
  EXPECT_EQ(refusal(std::vector<int32_t>(81, 7)),
            "A sequence of 81 tokens is longer than the context of 80.");
}

TEST_F(TinyModel, RefusesWindowsItCannotHold) {
  const ConstMatrix mel = expected_.mel.matrix();
  EXPECT_THROW(model_.encode(mel.rows_from(0, 202), 1), Error);
  EXPECT_THROW(model_.encode(mel.rows_from(0, 99), 1), Error);
  EXPECT_THROW(model_.encode(mel.rows_from(0, 0), 1), Error);
  EXPECT_EQ(model_.encode(mel.rows_from(0, 2), 1).shape(), (std::vector<int64_t>{1, 32}));
}

TEST_F(TinyModel, EncodesAWindowInABatchAsAlone) {
  const ConstMatrix mel = expected_.mel.matrix();
  for (const int64_t frames : {200, 66}) {
    // Enough windows for several passes of the encoder.
    const int64_t batch = 3 * 200 / frames;
    const Tensor together = model_.encode(mel.rows_from(0, batch * frames), batch);
    for (int64_t window = 0; window < batch; ++window) {
      const Tensor alone = model_.encode(mel.rows_from(window * frames, frames), 1);
      const Tensor part = together.slice(window * frames / 2, frames / 2);
      EXPECT_LT(relative_difference(floats(part), floats(alone)), 1e-6F);
    }
  }
}

TEST_F(TinyModel, StoresEncoderRowsOnceForAllLayers) {
  EXPECT_EQ(model_.cross_pages().pages_in_use(), 0);
  const PageTable rows = model_.remember(encoded_.matrix().rows_from(0, 100));
  EXPECT_EQ(rows.rows(), 100);
  EXPECT_EQ(model_.cross_pages().pages_in_use(), 2);
  EXPECT_EQ(model_.cross_pages().page_bytes(), kPageRows * 32 * 2);
  EXPECT_EQ(model_.self_pages().page_bytes(), 3 * kPageRows * 32 * 2);
}

TEST_F(TinyModel, GivesLogitsForTheTokensAskedForOnly) {
  const std::vector<int32_t> tokens = {5, 6, 7, 8, 9};
  const std::vector<int32_t> positions = {0, 1, 2, 3, 4};
  const auto run = [&](const std::vector<int64_t>& wanted) {
    PageTable self = model_.new_sequence();
    self.reserve(5);
    const PageTable cross = model_.remember(encoded_.matrix().rows_from(0, 100));
    const Slice own{.count = 5, .rows = 5, .pages = self.pages()};
    const Slice heard{.count = 5, .rows = 100, .pages = cross.pages()};
    Tensor logits = Tensor::allocate(host_device(), DType::f32, {std::ssize(wanted), 160});
    model_.forward({tokens, positions, {&own, 1}, {&heard, 1}, wanted, logits.writable_matrix()});
    return logits;
  };
  const Tensor all = run({0, 1, 2, 3, 4});
  const std::vector<int64_t> some = {1, 2, 4, 0};
  const Tensor few = run(some);
  for (size_t i = 0; i < some.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    EXPECT_LT(relative_difference(floats(few.slice(row, 1)), floats(all.slice(some[i], 1))), 1e-6F)
        << some[i];
  }
}

TEST_F(TinyModel, AllocatesNothingPerToken) {
  Decoding decoding(model_, encoded_.matrix(), 1);
  decoding.step({expected_.window_tokens(0).first(1)});
  const int64_t held = host_device().allocated_bytes();
  for (size_t i = 1; i < 40; ++i) decoding.step({expected_.window_tokens(0).subspan(i, 1)});
  EXPECT_EQ(host_device().allocated_bytes(), held);
}

TEST_F(TinyModel, ServesSeveralThreadsAtOnce) {
  const auto decode = [&](int64_t window) {
    const Tensor encoded = model_.encode(expected_.mel.matrix().rows_from(200 * window, 200), 1);
    Decoding decoding(model_, encoded.matrix(), 1);
    std::vector<float> last;
    for (size_t i = 0; i < 12; ++i) {
      const Tensor logits = decoding.step({expected_.window_tokens(window).subspan(i, 1)});
      last.assign(floats(logits).begin(), floats(logits).end());
    }
    return last;
  };
  std::vector<std::future<std::vector<float>>> threads;
  for (int64_t window = 0; window < kWindows; ++window) {
    threads.push_back(std::async(std::launch::async, decode, window));
  }
  for (int64_t window = 0; window < kWindows; ++window) {
    EXPECT_EQ(threads[static_cast<size_t>(window)].get(), decode(window));
  }
}

TEST_F(TinyModel, CountsItsWeights) {
  // From numpy: f16 matrices (the tied head once), f32 vectors.
  EXPECT_EQ(loaded_.weights->bytes(), 158848);
  const ModelFiles other = open_model(golden_directory("deep_decoder") / "ct2");
  EXPECT_EQ(ModelWeights(other.spec, *other.checkpoint).bytes(), 158848);
}

TEST_F(TinyModel, KnowsTheConditionOfEveryKeyProjection) {
  const std::vector<Conditioning>& found = loaded_.weights->conditioning();
  ASSERT_EQ(found.size(), 6U);
  // numpy.linalg.cond of the same weights.
  const double expected[] = {349.81897, 1371.78649, 54.26903, 291.90050, 129.68689, 267.00971};
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(found[i].condition_k.has_value());
    EXPECT_NEAR(*found[i].condition_k / expected[i], 1, 1e-4) << i;
  }
}

}  // namespace
}  // namespace slim::test
