// Checkpoint: finding the format, looking up, renaming; and real models where they are at hand.
#include "weights/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "temporary_folder.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

std::string three_tensors() {
  return safetensors_text(
      R"({"model.a.q_proj.weight": {"dtype": "I8", "shape": [2, 1], "data_offsets": [0, 2]},)"
      R"( "model.a.k_proj.weight": {"dtype": "I8", "shape": [1], "data_offsets": [2, 3]},)"
      R"( "a.a": {"dtype": "I8", "shape": [1], "data_offsets": [3, 4]}})",
      "abcd");
}

std::shared_ptr<const Checkpoint> open_three() {
  const TemporaryFolder folder;  // the mapping outlives the file
  folder.write("model.safetensors", three_tensors());
  return Checkpoint::open(folder.path());
}

std::shared_ptr<const Checkpoint> open_numbered() {
  const TemporaryFolder folder;
  folder.write(
      "model.safetensors",
      safetensors_text(
          R"({"block.10.layer.1.norm": {"dtype": "I8", "shape": [1], "data_offsets": [0, 1]},)"
          R"( "block.0.layer.12.norm": {"dtype": "I8", "shape": [1], "data_offsets": [1, 2]},)"
          R"( "block.x.layer.1.norm": {"dtype": "I8", "shape": [1], "data_offsets": [2, 3]}})",
          "abc"));
  return Checkpoint::open(folder.path());
}

TEST(Checkpoint, SaysWhyNothingCanBeOpened) {
  const TemporaryFolder folder;
  const auto open = [](const std::filesystem::path& path) {
    return [path] { Checkpoint::open(path); };
  };
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"absent", "no such model directory"},
                         open(folder.path() / "absent")));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file,
                         {folder.path().string(), "model.safetensors", "model.bin"},
                         open(folder.path())));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"no such model directory"},
                         open(folder.write("file", "text"))));
  std::filesystem::create_directory(folder.path() / "model.bin");
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_file, {"model.bin", "Is a directory"}, open(folder.path())));
}

TEST(Checkpoint, RefusesEmptyFiles) {
  for (const std::string name :
       {"model.safetensors", "model.safetensors.index.json", "model.bin"}) {
    const TemporaryFolder folder;
    folder.write(name, "");
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {folder.path().string(), name},
                           [&] { Checkpoint::open(folder.path()); }));
  }
}

TEST(Checkpoint, LooksUp) {
  const auto weights = open_three();
  EXPECT_TRUE(weights->has("a.a"));
  EXPECT_FALSE(weights->has("a"));
  EXPECT_EQ(weights->path().filename(), "model.safetensors");
  EXPECT_EQ(weights->get("model.a.q_proj.weight", {2, -1}).bytes(), 2);
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"model.safetensors: Tensor 'b' is missing."},
                         [&] { weights->get("b"); }));
  for (const auto& shape : {std::vector<int64_t>{2, 2}, {-1}, {2, 1, 1}, {}}) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"has the shape [2, 1] instead of ["},
                           [&] { weights->get("model.a.q_proj.weight", shape); }));
  }
}

TEST(Checkpoint, RenamesEveryOccurrenceInOrder) {
  const auto weights = open_three();
  const auto renamed = weights->renamed({{"model.", ""}, {"q_proj", "q"}, {"a.", "aa."}});
  EXPECT_EQ(renamed->names(),
            (std::vector<std::string>{"aa.a", "aa.k_proj.weight", "aa.q.weight"}));
  EXPECT_EQ(renamed->get("aa.q.weight").data(), weights->get("model.a.q_proj.weight").data());
  EXPECT_EQ(renamed->format(), weights->format());
  EXPECT_EQ(renamed->path(), weights->path());
}

TEST(Checkpoint, RenamesNumbersBetweenWords) {
  const auto names = [](const Checkpoint::Renames& renames) {
    return open_numbered()->renamed(renames)->names();
  };
  EXPECT_EQ(names({{"block.#.layer.1.norm", "blocks.#.mlp_norm"}}),
            (std::vector<std::string>{"block.0.layer.12.norm", "block.x.layer.1.norm",
                                      "blocks.10.mlp_norm"}));
  EXPECT_EQ(names({{"layer.#.", "l#-#."}}).front(), "block.0.l12-#.norm");
}

TEST(Checkpoint, RenamingMustNotMergeNames) {
  const auto weights = open_three();
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"'model.a.x.weight' is given twice"}, [&] {
    weights->renamed({{"q_proj", "x"}, {"k_proj", "x"}});
  }));
}

// Every tensor of a Whisper of this size has its canonical name and shape, and nothing is left
// over.
struct WhisperSize {
  std::string folder;
  int64_t vocabulary;
  int64_t width;
  int64_t layers;
};

class RealWhisper : public testing::TestWithParam<WhisperSize> {};
INSTANTIATE_TEST_SUITE_P(Models, RealWhisper,
                         testing::Values(WhisperSize{"whisper-tiny.en", 51864, 384, 4},
                                         WhisperSize{"whisper-base", 51865, 512, 6}),
                         [](const auto& size) {
                           return "width" + std::to_string(size.param.width);
                         });

TEST_P(RealWhisper, HasEveryCanonicalTensor) {
  const auto [folder, vocabulary, width, layers] = GetParam();
  const std::filesystem::path path = std::filesystem::path(SLIM_MODELS) / folder;
  if (!std::filesystem::exists(path / "model.bin")) GTEST_SKIP() << path << " is not there";
  const auto weights = Checkpoint::open(path);
  size_t seen = 0;
  const auto has = [&, &w = *weights](const std::string& name, const std::vector<int64_t>& shape) {
    ++seen;
    const auto values = values_of(w.get(name, shape));
    EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
        << name;
  };
  const auto with_bias = [&, d = width](const std::string& name, std::vector<int64_t> shape = {}) {
    has(name + ".weight", shape.empty() ? std::vector<int64_t>{d} : shape);
    has(name + ".bias", {shape.empty() ? d : shape[0]});
  };
  with_bias("encoder.conv1", {width, 80, 3});
  with_bias("encoder.conv2", {width, width, 3});
  has("encoder.positions.weight", {1500, width});
  has("decoder.positions.weight", {448, width});
  has("decoder.embed.weight", {vocabulary, width});
  has("head.weight", {vocabulary, width});
  for (const std::string side : {"encoder", "decoder"}) {
    with_bias(side + ".norm");
    for (int64_t layer = 0; layer < layers; ++layer) {
      const std::string block = side + ".layers." + std::to_string(layer);
      for (const std::string kind : {".self", ".cross"}) {
        if (side == "encoder" && kind == ".cross") continue;
        with_bias(block + kind + ".norm");
        for (const std::string part : {".q", ".k", ".v", ".out"}) {
          with_bias(block + kind + part, {width, width});
        }
      }
      with_bias(block + ".mlp.norm");
      with_bias(block + ".mlp.up", {4 * width, width});
      with_bias(block + ".mlp.down", {width, 4 * width});
    }
  }
  EXPECT_EQ(weights->names().size(), seen);
  EXPECT_EQ(weights->content(), "WhisperSpec");
  EXPECT_EQ(weights->scalar("encoder.heads"), width / 64);
  EXPECT_EQ(weights->scalar("decoder.heads"), width / 64);
}

// Whisper has no key bias: of the stacked biases the second part alone is zero.
TEST_P(RealWhisper, HasItsKeysWhereTheBiasIsZero) {
  const std::filesystem::path path = std::filesystem::path(SLIM_MODELS) / GetParam().folder;
  if (!std::filesystem::exists(path / "model.bin")) GTEST_SKIP() << path << " is not there";
  const auto weights = Checkpoint::open(path);
  for (const std::string kind :
       {"encoder.layers.0.self.", "decoder.layers.1.self.", "decoder.layers.1.cross."}) {
    for (const std::string part : {"q", "k", "v"}) {
      const auto values = values_of(weights->get(kind + part + ".bias"));
      const bool zero = std::all_of(values.begin(), values.end(), [](float v) { return v == 0; });
      EXPECT_EQ(zero, part == "k") << kind << part;
    }
  }
}

TEST_P(RealWhisper, TakesNoMoreMemoryThanItsFile) {
  const std::filesystem::path path = std::filesystem::path(SLIM_MODELS) / GetParam().folder;
  if (!std::filesystem::exists(path / "model.bin")) GTEST_SKIP() << path << " is not there";
  const int64_t before = host_device().allocated_bytes();
  const auto weights = Checkpoint::open(path);
  const int64_t copied = host_device().allocated_bytes() - before;
  RecordProperty("copied_bytes", std::to_string(copied));
  EXPECT_LT(copied, static_cast<int64_t>(std::filesystem::file_size(path / "model.bin")));
}

}  // namespace
}  // namespace slim
