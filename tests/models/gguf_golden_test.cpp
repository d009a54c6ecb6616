// Models of tests/golden/lm as llama.cpp's converter writes them (tests/golden/lm_gguf): they are
// the same models, so they must compute the same logits; and those in blocks what Transformers
// computes with the weights that the blocks stand for.
#include <gtest/gtest.h>

#include <algorithm>

#include "models/golden.h"
#include "slim/error.h"

namespace slim::test {
namespace {

namespace fs = std::filesystem;

fs::path golden() { return fs::path(SLIM_TEST_DATA) / "golden"; }
fs::path gguf_file(const std::string& model) { return golden() / "lm_gguf" / (model + ".gguf"); }

struct Case {
  std::string model;
  std::string kernels;

  friend void PrintTo(const Case& item, std::ostream* stream) {
    *stream << item.model << " " << item.kernels;
  }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const fs::directory_entry& entry : fs::directory_iterator(golden() / "lm_gguf")) {
    if (entry.path().extension() != ".gguf") continue;
    for (const char* kernels : {"reference", "cpu"}) {
      all.push_back({entry.path().stem().string(), kernels});
    }
  }
  std::sort(all.begin(), all.end(), [](const Case& a, const Case& b) { return a.model < b.model; });
  return all;
}

class LmGguf : public testing::TestWithParam<Case> {
 protected:
  // Models in blocks have an expectation of their own beside them.
  static fs::path expectation() {
    const fs::path own = golden() / "lm_gguf" / GetParam().model;
    return fs::exists(own) ? own : golden() / "lm" / GetParam().model / "expected";
  }

  Scored scored_ = read_scored(expectation());
};

TEST_P(LmGguf, ComputesWhatTransformersDoes) {
  const Loaded loaded(gguf_file(GetParam().model), GetParam().kernels, cache("kv", RowType::f32),
                      scored_.length());
  for (const int64_t chunk : {scored_.length(), int64_t{1}}) {
    EXPECT_LT(decode_difference(*loaded.model, scored_, chunk), kExact) << chunk << " a step";
  }
}

// Keys alone, in rows of f32 where they can be: the value map follows the order of the rows of k.
TEST_P(LmGguf, ComputesItFromKeysAlone) {
  Loaded standard(gguf_file(GetParam().model), GetParam().kernels, cache("kv", RowType::f32),
                  scored_.length());
  const bool keys =
      standard.files.spec.decoder.key_head_count() == standard.files.spec.decoder.heads;
  if (!keys || standard.files.spec.decoder.clip > 0) GTEST_SKIP() << "k does not fit";
  const Model model(standard.files.spec, standard.weights, *standard.kernels,
                    cache("k", RowType::f32, true), scored_.length());
  EXPECT_LT(decode_difference(model, scored_, scored_.length()),
            kExact + 2 * static_cast<float>(predicted_error(model)));
}

INSTANTIATE_TEST_SUITE_P(All, LmGguf, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& instance) {
                           return instance.param.model + "_" + instance.param.kernels;
                         });

TEST(LmGgufSpec, IsThatOfTheConfig) {
  for (const Case& item : cases()) {
    if (!fs::exists(golden() / "lm" / item.model)) continue;
    SCOPED_TRACE(item.model);
    const ModelSpec gguf = open_model(gguf_file(item.model)).spec;
    const ModelSpec config = open_model(golden() / "lm" / item.model / "config.json").spec;
    EXPECT_EQ(gguf.family, config.family);
    EXPECT_EQ(gguf.vocabulary, config.vocabulary);
    EXPECT_EQ(gguf.tied_head, config.tied_head);
    EXPECT_EQ(gguf.head_bias, config.head_bias);
    EXPECT_EQ(gguf.decoder.activation, config.decoder.activation);
    EXPECT_EQ(gguf.decoder.residual, config.decoder.residual);
    EXPECT_EQ(gguf.decoder.positions, config.decoder.positions);
    EXPECT_EQ(gguf.decoder.windows, config.decoder.windows);
    EXPECT_EQ(gguf.decoder.norm.epsilon, config.decoder.norm.epsilon);
    EXPECT_EQ(gguf.decoder.rope.width, config.decoder.rope.width);
    EXPECT_NEAR(gguf.decoder.rope.magnitude, config.decoder.rope.magnitude, 1e-6);
  }
}

TEST(LmGgufFile, IsFoundInItsDirectory) {
  const fs::path directory = fs::path(testing::TempDir()) / "slim_gguf_directory";
  fs::remove_all(directory);
  fs::create_directory(directory);
  fs::copy(gguf_file("llama"), directory);
  const ModelFiles files = open_model(directory);
  EXPECT_EQ(files.directory, directory);
  EXPECT_EQ(files.spec.family, "llama");
  EXPECT_EQ(files.checkpoint->path(), directory / "llama.gguf");
  EXPECT_EQ(open_model(directory / "llama.gguf").directory, directory);
  fs::copy(gguf_file("llama"), directory / "other.gguf");
  EXPECT_THROW(open_model(directory), Error);
  fs::remove_all(directory);
}

}  // namespace
}  // namespace slim::test
