// Speech models in whisper.cpp's ggml files: steering tokens that follow from the size of the
// vocabulary, and transcription from the file alone.
#include "engine/ggml_text.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "engine/ggml_file.h"
#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"
#include "text/tokenizer.h"
#include "weights/checkpoint.h"
#include "weights/weights_text.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSteering = 2 + 6 + 1501;  // tokens beside languages

// 100 bytes and Transformers' filters: tools/make_golden_ggml.py.
GgmlExtras golden_extras(const char* model = "deep_decoder/ggml-f16.bin") {
  return *Checkpoint::open(fs::path(SLIM_TEST_DATA) / "golden" / "whisper" / model)->extras();
}

testing::AssertionResult refuses(const GgmlExtras& extras, std::string_view why,
                                 ErrorCode code = ErrorCode::unsupported_model,
                                 int64_t vocabulary = 100 + kSteering + 99) {
  return fails_with(code, {"file", why}, [&] { read_ggml_tokenizer(extras, vocabulary, "file"); });
}

TEST(GgmlTokenizer, FindsSteeringTokensByTheSizeOfTheVocabulary) {
  for (const int32_t languages : {99, 100}) {
    const int32_t size = 100 + static_cast<int32_t>(kSteering) + languages;
    const auto tokenizer = read_ggml_tokenizer(golden_extras(), size, "file");
    EXPECT_EQ(tokenizer->size(), size);
    EXPECT_EQ(tokenizer->id("<|endoftext|>"), 100);
    EXPECT_EQ(tokenizer->id("<|startoftranscript|>"), 101);
    EXPECT_EQ(tokenizer->id("<|en|>"), 102);
    EXPECT_EQ(tokenizer->id("<|su|>"), 102 + 98);
    EXPECT_EQ(tokenizer->id("<|yue|>").has_value(), languages == 100);
    EXPECT_EQ(tokenizer->id("<|translate|>"), 102 + languages);
    EXPECT_EQ(tokenizer->id("<|notimestamps|>"), 102 + languages + 5);
    EXPECT_EQ(tokenizer->id("<|0.00|>"), 102 + languages + 6);
    EXPECT_EQ(tokenizer->id("<|1.02|>"), 102 + languages + 6 + 51);
    EXPECT_EQ(tokenizer->id("<|30.00|>"), size - 1);
    EXPECT_TRUE(tokenizer->special(102));
    EXPECT_FALSE(tokenizer->special(size - 1));
    EXPECT_EQ(tokenizer->encode("AB<|en|>", true), (std::vector<int32_t>{65, 66, 102}));
  }
}

TEST(GgmlTokenizer, TakesAListThatGoesOnOnlyIfItAgrees) {
  GgmlExtras extras = golden_extras();
  extras.tokens.emplace_back("<|endoftext|>");
  const auto tokenizer = read_ggml_tokenizer(extras, 100 + kSteering + 99, "file");
  EXPECT_EQ(tokenizer->id("<|endoftext|>"), 100);
  extras.tokens.emplace_back("<|other|>");
  EXPECT_TRUE(refuses(extras, "token 101 should be <|startoftranscript|>"));
}

TEST(GgmlTokenizer, RefusesVocabulariesAndFiltersItDoesNotKnow) {
  for (const int64_t languages : {-1600, 0, 101}) {
    EXPECT_TRUE(refuses(golden_extras(), std::to_string(languages) + " languages",
                        ErrorCode::unsupported_model, 100 + kSteering + languages));
  }
  GgmlExtras twice = golden_extras("wide_input/ggml-f32.bin");  // 128 bins
  twice.tokens[3] = twice.tokens[4];
  EXPECT_TRUE(refuses(twice, "twice", ErrorCode::bad_file));
  for (const float wrong : {1e-5F, -1e-5F, 0.0F * (1e38F * 10)}) {
    GgmlExtras other = golden_extras();
    std::vector<float> filters = values_of(other.mel_filters);
    filters[201 * 40 + 100] += wrong;
    other.mel_filters = Tensor::from(filters, {80, 201});
    EXPECT_TRUE(refuses(other, "mel filters")) << wrong;
  }
  GgmlExtras narrow = golden_extras();
  narrow.mel_filters = Tensor::from(std::vector<float>(80 * 100), {80, 100});
  EXPECT_TRUE(refuses(narrow, "mel filters"));
}

TEST(GgmlTranscription, EqualsThatOfTheDirectory) {
  const fs::path models = SLIM_MODELS;
  if (!fs::exists(models / "speech" / "librivox.wav")) GTEST_SKIP() << "make models has not run";
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "ggml-tiny.en.bin").string();
  const std::string bytes = ggml_of(models / "whisper-tiny.en");
  std::ofstream(path, std::ios::binary) << bytes;
  // Of another model: not to be read.
  std::ofstream(folder.path() / "generation_config.json") << R"({"is_multilingual": true})";
  std::ofstream(folder.path() / "tokenizer.json") << "{}";
  Engine expected((models / "whisper-tiny.en").string(), {});
  Engine engine(path, {});
  TranscribeOptions options;
  options.word_timestamps = true;
  const std::vector<std::string> clips = {(models / "speech" / "librivox.wav").string()};
  const Transcription want = expected.transcribe(clips, options).front();
  const Transcription got = engine.transcribe(clips, options).front();
  EXPECT_EQ(got.text(), want.text());
  ASSERT_EQ(got.segments.size(), want.segments.size());
  for (size_t i = 0; i < want.segments.size(); ++i) {
    EXPECT_EQ(got.segments[i].start, want.segments[i].start);
    ASSERT_TRUE(got.segments[i].words.has_value());
    EXPECT_EQ(got.segments[i].words->size(), want.segments[i].words->size());
  }
}

}  // namespace
}  // namespace slim
