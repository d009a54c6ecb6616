// Weights of another type, from every form of a speech model: the numbers that are written, what
// the result says, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "engine/ggml_file.h"
#include "engine/noise.h"
#include "engine/random_whisper.h"
#include "error_matchers.h"
#include "models/family.h"
#include "slim/slim.h"
#include "temporary_folder.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(SLIM_TEST_DATA) / "golden" / "whisper";
constexpr int kSteering = 2 + 99 + 6 + 1501;

TranscribeOptions plain() {
  TranscribeOptions options;
  options.temperatures = {0};
  options.word_timestamps = true;
  return options;
}

// Everything but probabilities, which differ where arithmetic does.
std::string say(const std::string& model, const std::string& cache = "auto") {
  EngineOptions choice;
  choice.cache = cache;
  choice.threads = 2;
  Engine engine(model, choice);
  const Transcription heard = engine.transcribe_samples(noise(80000, 3), plain());
  std::string all;
  for (const Segment& segment : heard.segments) {
    all += std::to_string(segment.start) + " " + segment.text;
    for (const int32_t token : segment.tokens) all += " " + std::to_string(token);
    for (const Word& word : *segment.words) all += " " + std::to_string(word.end);
    all += "\n";
  }
  return all;
}

class WeightConversion : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string random() const {
    write_random_whisper(path("model"), {});
    return path("model");
  }
  // A ggml file that can be run: tokens are single bytes.
  std::string ggml() const {
    RandomWhisper shape;
    shape.vocabulary = 256 + kSteering;
    write_random_whisper(path("source"), shape);
    return folder_.write("ggml-random.bin", ggml_of(path("source"))).string();
  }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_.path()), {}));
  }

  TemporaryFolder folder_;
};

// But for what is there already: Hugging Face's "deep_decoder" is f16, its "wide_input" bf16.
TEST_F(WeightConversion, SameNumbersFromEveryForm) {
  for (const std::string model : {"deep_decoder", "wide_input"}) {
    for (const std::string type : {"f32", "f16", "bf16", "i8"}) {
      const std::string made = path(model + "-" + type);
      convert_weights((kGolden / model / "ct2").string(), made + "-ct2", type);
      const auto expected = open_model(made + "-ct2").checkpoint;
      EXPECT_EQ(expected->scalar(kCanonicalNames), 1);
      if (type == (model == "deep_decoder" ? "f16" : "bf16")) continue;
      convert_weights((kGolden / model / "hf").string(), made + "-hf", type);
      const auto found = open_model(made + "-hf").checkpoint;
      for (const std::string& name : found->names()) {
        ASSERT_TRUE(expected->has(name)) << name;
        EXPECT_EQ(found->get(name).type(), expected->get(name).type()) << name;
        EXPECT_EQ(values_of(found->get(name)), values_of(expected->get(name))) << name;
      }
    }
  }
}

TEST_F(WeightConversion, IntegersAreTheNearestOfEachRow) {
  const Conversion result = convert_weights(random(), path("i8"), "i8");
  EXPECT_EQ(result.weights, "i8");
  EXPECT_LT(result.written_bytes, result.source_bytes / 2);
  // Of normal values, with the largest of 64 to 128 near 2.6 deviations.
  EXPECT_GT(result.rounding, 0.003);
  EXPECT_LT(result.rounding, 0.012);
  const auto source = open_model(path("model")).checkpoint;
  const auto made = open_model(path("i8")).checkpoint;
  EXPECT_TRUE(made->has(result.rounded)) << result.rounded;
  int matrices = 0;
  for (const std::string& name : made->names()) {
    const Tensor& tensor = made->get(name);
    const bool in_place = name.find(".embed.") != name.npos ||
                          name.find(".positions.") != name.npos || tensor.shape().size() == 3;
    const size_t rank = tensor.shape().size();
    EXPECT_EQ(tensor.type(), rank < 2 ? DType::f32 : in_place ? DType::f16 : DType::i8) << name;
    if (tensor.type() != DType::i8) continue;
    ++matrices;
    const std::string from = name == "head.weight" ? "decoder.embed.weight" : name;
    const auto values = values_of(source->get(from));
    const auto integers = values_of(tensor);
    const auto scales = values_of(made->get(name.substr(0, name.size() - 6) + "scale"));
    const size_t columns = values.size() / scales.size();
    for (size_t i = 0; i < values.size(); ++i) {
      const float scale = scales[i / columns];
      ASSERT_LE(std::abs(integers[i] * scale - values[i]), 0.5001F * scale) << name << " " << i;
    }
  }
  EXPECT_EQ(matrices, 6 + 2 * 10 + 1);
}

TEST_F(WeightConversion, WhatWasRoundedStaysAsItIs) {
  const std::string model = random();
  for (const std::string type : {"f16", "bf16", "i8"}) {
    convert_weights(model, path(type), type);
    const Conversion back = convert_weights(path(type), path(type + "-f32"), "f32");
    EXPECT_EQ(back.rounding, 0) << type;
    EXPECT_EQ(back.rounded, "") << type;
    convert_weights(path(type + "-f32"), path(type + "-again"), type);
    const auto first = open_model(path(type)).checkpoint;
    const auto again = open_model(path(type + "-again")).checkpoint;
    for (const std::string& name : first->names()) {
      if (name.starts_with("head.")) continue;  // of the embeddings, which are f16 since
      const auto expected = values_of(first->get(name));
      const auto found = values_of(again->get(name));
      ASSERT_EQ(found.size(), expected.size()) << name;
      for (size_t i = 0; i < found.size(); ++i) ASSERT_FLOAT_EQ(found[i], expected[i]) << name;
    }
  }
}

TEST_F(WeightConversion, SaysWhatItsSourceSays) {
  const std::string model = random();
  convert_weights(model, path("f16"), "f16");
  const std::string expected = say(path("f16"));
  EXPECT_GT(expected.size(), 100U);
  convert_weights(path("f16"), path("f32"), "f32");
  EXPECT_EQ(say(path("f32")), expected);
  convert_weights(model, path("i8"), "i8");
  EXPECT_GT(say(path("i8")).size(), 100U);
  EXPECT_GT(say(path("i8"), "kv").size(), 100U);
}

TEST_F(WeightConversion, AGgmlFileBecomesADirectory) {
  const std::string file = ggml();
  const std::string expected = say(file);
  EXPECT_GT(expected.size(), 100U);
  convert_weights(file, path("f32"), "f32");
  EXPECT_EQ(say(path("f32")), expected);
  convert_weights(file, path("f16"), "f16");
  EXPECT_GT(say(path("f16")).size(), 100U);
  EXPECT_FALSE(fs::exists(path("f16") + "/generation_config.json"));
  const Inspection was = inspect(file, {});
  const Inspection is = inspect(path("f32"), {});
  EXPECT_EQ(is.vocabulary, was.vocabulary);
  EXPECT_EQ(is.weight_bytes, was.weight_bytes);
}

TEST_F(WeightConversion, RefusesWithASentence) {
  const std::string model = random();
  const auto refuses = [&](ErrorCode code, const std::string& from, const std::string& to,
                           const std::string& type, std::string_view why) {
    return fails_with(code, {why}, [&] { convert_weights(from, path(to), type); });
  };
  EXPECT_TRUE(refuses(ErrorCode::bad_request, model, "new", "i4", "f32, f16, bf16 or i8"));
  EXPECT_TRUE(refuses(ErrorCode::bad_request, model, "new", "", "f32, f16, bf16 or i8"));
  EXPECT_TRUE(refuses(ErrorCode::bad_request, model, "new", "f32", "f32 already"));
  folder_.write("full/note.txt", "mine");
  EXPECT_TRUE(refuses(ErrorCode::bad_request, model, "full", "f16", "not empty"));
  EXPECT_TRUE(refuses(ErrorCode::bad_file, path("nowhere"), "new", "f16", "no such model"));
  EXPECT_TRUE(refuses(ErrorCode::bad_file, model + "/config.json/x", "new", "f16", "no such"));
  EXPECT_TRUE(refuses(ErrorCode::bad_request, model + "/config.json", "new", "f16", "speech"));
  const size_t before = entries();
  EXPECT_TRUE(refuses(ErrorCode::bad_file, model, "full/note.txt/new", "f16", "cannot be written"));
  const std::string file = ggml();
  const std::string bytes = ggml_of(path("source"));
  for (const size_t length :
       {size_t{0}, size_t{3}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    const std::string cut = folder_.write("cut.bin", bytes.substr(0, length)).string();
    EXPECT_TRUE(refuses(ErrorCode::bad_file, cut, "new", "f16", "cut.bin")) << length;
  }
  const std::string weights = model + "/model.safetensors";
  fs::resize_file(weights, fs::file_size(weights) - 1);
  EXPECT_TRUE(refuses(ErrorCode::bad_file, model, "new", "f16", "model.safetensors"));
  EXPECT_EQ(entries(), before + 3) << "source, ggml-random.bin and cut.bin";
}

TEST_F(WeightConversion, RefusesNumbersThatTheTypeCannotHold) {
  const auto with = [&](float value, const std::string& type) {
    const std::string model = random();
    const std::string file = model + "/model.safetensors";
    std::ifstream in(file, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    const std::string matrix = "encoder.layers.0.mlp.up.weight";
    {
      const auto weights = open_model(model).checkpoint;
      const auto* const values = reinterpret_cast<const char*>(weights->get(matrix).data());
      bytes.replace(bytes.find(std::string(values, 64)), sizeof(float), bytes_of(value));
    }
    folder_.write("model/model.safetensors", bytes);
    const auto result = fails_with(ErrorCode::bad_file, {matrix, "cannot hold"},
                                   [&] { convert_weights(model, path("made"), type); });
    fs::remove_all(path("made"));
    fs::remove_all(model);
    return result;
  };
  EXPECT_TRUE(with(70000, "f16"));
  EXPECT_TRUE(with(NAN, "i8"));
  EXPECT_TRUE(with(INFINITY, "bf16"));
  EXPECT_FALSE(with(70000, "bf16"));
}

TEST_F(WeightConversion, ConvertedForACacheIsRefused) {
  const std::string model = random();
  convert(model, path("stored"), {});
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"stored", "converted for a cache"},
                         [&] { convert_weights(path("stored"), path("new"), "f16"); }));
}

TEST(RealWeightConversion, TextIsThatOfTheSource) {
  const fs::path models = SLIM_MODELS;
  if (!fs::exists(models / "speech" / "librivox.wav")) GTEST_SKIP() << "make models has not run";
  const TemporaryFolder folder;
  const std::string directory = (models / "whisper-tiny.en").string();  // CTranslate2, f16
  const std::string file = folder.write("ggml-tiny.en.bin", ggml_of(directory)).string();
  const std::vector<std::string> clips = {(models / "speech" / "librivox.wav").string()};
  EngineOptions options;
  options.compute_type = "float32";  // weights are compared, not what rounding does beside them
  const auto text = [&](const std::string& model) {
    return Engine(model, options).transcribe(clips, {}).front().text();
  };
  const std::string expected = text(directory);
  const std::string from_directory = (folder.path() / "a").string();
  const std::string from_file = (folder.path() / "b").string();
  for (const std::string type : {"f16", "f32"}) {
    convert_weights(directory, from_directory, type);
    convert_weights(file, from_file, type);
    EXPECT_EQ(text(from_directory), expected) << type;
    EXPECT_EQ(text(from_file), expected) << type;
    fs::remove_all(from_directory);
    fs::remove_all(from_file);
  }
  convert_weights(directory, from_directory, "i8");
  convert_weights(from_directory, from_file, "f32");
  EXPECT_EQ(text(from_directory), text(from_file));
}

}  // namespace
}  // namespace slim
