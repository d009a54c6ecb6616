// Whole models on a device whose memory the processor cannot reach (kernels/island_kernels.h): the
// golden models of every family, encoder-decoder ones and Whisper among them, under every kind that
// fits. They run on the same
// kernels as the plain device, so not a bit may differ. What the engine reads as if it were the
// host's memory crashes; what it forgot to bring along is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "kernels/island_kernels.h"
#include "models/golden.h"
#include "slim/error.h"

namespace slim::test {
namespace {

namespace fs = std::filesystem;

fs::path language_models() { return fs::path(SLIM_TEST_DATA) / "golden" / "lm"; }
fs::path translators() { return fs::path(SLIM_TEST_DATA) / "golden" / "seq2seq"; }

std::vector<std::string> families(const fs::path& models) {
  std::vector<std::string> names;
  for (const fs::directory_entry& folder : fs::directory_iterator(models)) {
    names.push_back(folder.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// One thread each, so that sums run in one order.
struct Devices {
  std::unique_ptr<Kernels> plain = make_kernels("cpu", 1);
  std::unique_ptr<Kernels> island = std::make_unique<IslandKernels>("cpu", 1);
};

std::vector<float> values_of(const Tensor& tensor) {
  const Tensor here = tensor.on(host_device());
  return {floats(here).begin(), floats(here).end()};
}

void append(std::vector<float>& all, const Tensor& more) {
  const std::vector<float> values = values_of(more);
  all.insert(all.end(), values.begin(), values.end());
}

class LmIsland : public testing::TestWithParam<std::string> {
 protected:
  // Null if the choice does not fit.
  std::unique_ptr<Model> build(Kernels& kernels, const CacheChoice& choice) const {
    try {
      return std::make_unique<Model>(files_.spec, weights_, kernels, choice, scored_.length());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request) << error.what();
      return nullptr;
    }
  }

  std::span<const int32_t> text(size_t sequence, size_t begin, size_t end) const {
    return std::span(scored_.tokens[sequence]).subspan(begin, end - begin);
  }

  // Two sequences side by side in long and short steps, a fork of one that goes its own way, and
  // a rollback into a page that was sealed.
  std::vector<float> run(const Model& model) const {
    std::vector<float> all;
    Decoding decoding(model, 3, scored_.length());
    append(all, decoding.step({text(0, 0, 70), text(1, 0, 30)}));
    append(all, decoding.step({text(0, 70, 71), text(1, 30, 60)}));
    decoding.sequence(2).rows = decoding.sequence(0).rows.fork();
    append(all, decoding.step({text(0, 71, 74), {}, text(1, 60, 61)}));
    model.truncate(decoding.sequence(0).rows, 40);
    append(all, decoding.step({text(1, 40, 45), text(1, 60, 62), text(1, 61, 65)}));
    return all;
  }

  Scored scored_ = read_scored(language_models() / GetParam() / "expected");
  ModelFiles files_ = open_model(language_models() / GetParam());
  std::shared_ptr<const ModelWeights> weights_ =
      std::make_shared<const ModelWeights>(files_.spec, *files_.checkpoint);
  Devices devices_;
};

TEST_P(LmIsland, ComputesTheSameUnderEveryKind) {
  int fitting = 0;
  for (const char* kind : {"kv", "k", "x"}) {
    for (const RowType type : {RowType::f32, RowType::f16, RowType::i12, RowType::i8}) {
      const std::unique_ptr<Model> plain = build(*devices_.plain, cache(kind, type));
      const std::unique_ptr<Model> island = build(*devices_.island, cache(kind, type));
      ASSERT_EQ(plain == nullptr, island == nullptr);
      if (plain == nullptr) continue;
      ++fitting;
      EXPECT_EQ(run(*island), run(*plain)) << kind << " " << name_of(type);
      EXPECT_EQ(island->derived_bytes(), plain->derived_bytes());
    }
  }
  EXPECT_GE(fitting, 2);
}

TEST_P(LmIsland, HoldsTheWeightsOnceForAllModels) {
  const std::unique_ptr<Model> first = build(*devices_.island, cache("kv", RowType::f16));
  const int64_t held = island_device().allocated_bytes();
  const std::unique_ptr<Model> second = build(*devices_.island, cache("kv", RowType::f32));
  // Slopes are made for each.
  EXPECT_LE(island_device().allocated_bytes(), held + 64 * std::ssize(first->plan()));
}

INSTANTIATE_TEST_SUITE_P(All, LmIsland, testing::ValuesIn(families(language_models())),
                         [](const auto& instance) { return instance.param; });

class WhisperIsland : public testing::TestWithParam<std::string> {
 protected:
  // Encoder and decoder, the windows side by side, two beams over the first.
  std::vector<float> run(const Model& model) const {
    std::vector<float> all;
    const Tensor encoded = model.encode(expected_.mel.matrix(), kWindows);
    append(all, encoded);
    Decoding decoding(model, encoded.matrix(), kWindows);
    const auto first = [&](int64_t window, size_t begin, size_t count) {
      return expected_.window_tokens(window).subspan(begin, count);
    };
    append(all, decoding.step({first(0, 0, 5), first(1, 0, 3), first(2, 0, 1)}));
    decoding.sequence(1).rows = decoding.sequence(0).rows.fork();
    decoding.sequence(1).encoded = decoding.sequence(0).encoded;
    append(all, decoding.step({first(0, 5, 1), first(1, 5, 1), first(2, 1, 2)}));
    return all;
  }

  Expected expected_ = read_expected(GetParam());
  Devices devices_;
};

TEST_P(WhisperIsland, EncodesAndDecodesTheSameUnderEveryKind) {
  const ModelFiles files = open_model(golden_directory(GetParam()) / "hf");
  const auto weights = std::make_shared<const ModelWeights>(files.spec, *files.checkpoint);
  for (const char* kind : {"kv", "x", "k", "auto"}) {
    for (const RowType type : {RowType::f32, RowType::f16, RowType::i8}) {
      if (std::string(kind) == "k" && type != RowType::f32) continue;
      const CacheChoice choice = cache(kind, type, true);
      const Model plain(files.spec, weights, *devices_.plain, choice);
      const Model island(files.spec, weights, *devices_.island, choice);
      EXPECT_EQ(run(island), run(plain)) << kind << " " << name_of(type);
    }
  }
}

class TranslatorIsland : public testing::TestWithParam<std::string> {
 protected:
  // All sources at once; then targets side by side, and two beams over the first source.
  std::vector<float> run(const Model& model) const {
    std::vector<float> all;
    append(all, model.encode(expected_.sources, expected_.lengths));
    Decoding decoding(model, model.read(expected_.all_sources()));
    const auto text = [&](size_t index, size_t begin, size_t count) {
      return std::span(expected_.scored.tokens[index]).subspan(begin, count);
    };
    append(all, decoding.step({text(0, 0, 5), text(1, 0, 3), text(2, 0, 1), {}, text(4, 0, 9)}));
    decoding.sequence(1).rows = decoding.sequence(0).rows.fork();
    decoding.sequence(1).encoded = decoding.sequence(0).encoded;
    append(all, decoding.step({text(0, 5, 1), text(1, 5, 1), text(2, 1, 2), text(3, 0, 1)}));
    return all;
  }

  Translated expected_ = read_translated(translators() / GetParam() / "expected");
  Devices devices_;
};

TEST_P(TranslatorIsland, EncodesAndDecodesTheSameUnderEveryKind) {
  const ModelFiles files = open_model(translators() / GetParam());
  const auto weights = std::make_shared<const ModelWeights>(files.spec, *files.checkpoint);
  for (const char* kind : {"kv", "auto"}) {
    for (const RowType type : {RowType::f32, RowType::f16}) {
      const Model plain(files.spec, weights, *devices_.plain, cache(kind, type));
      const Model island(files.spec, weights, *devices_.island, cache(kind, type));
      EXPECT_EQ(run(island), run(plain)) << kind << " " << name_of(type);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TranslatorIsland, testing::ValuesIn(families(translators())),
                         [](const auto& instance) { return instance.param; });

INSTANTIATE_TEST_SUITE_P(All, WhisperIsland,
                         testing::Values("deep_decoder", "wide_input", "computed"),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace slim::test
