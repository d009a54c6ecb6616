// A converted model is the model it came from, and nothing half-written is left behind.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/plan_file.h"
#include "engine/random_llama.h"
#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

EngineOptions keys(const std::string& type = "i16", int64_t spill = 8, int64_t rank = 0) {
  EngineOptions options;
  options.cache = "k";
  options.cache_type = type;
  options.spill = spill;
  options.rank = rank;
  options.force_cache = true;
  options.threads = 2;
  return options;
}

std::vector<int32_t> say(const std::string& model, const EngineOptions& options) {
  Engine engine(model, options);
  GenerateRequest request;
  request.prompt = "A text to go on with.";
  request.options.max_tokens = 80;
  request.options.ignore_end = true;
  return engine.generate(request).samples[0].tokens;
}

class ConversionTest : public testing::Test {
 protected:
  void SetUp() override { write_random_llama(path("model"), {}); }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  // What lies in the folder.
  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  TemporaryFolder folder_;
};

TEST_F(ConversionTest, SaysWhatItsSourceSays) {
  const auto expected = say(path("model"), keys());
  const Conversion result = convert(path("model"), path("stored"), keys());
  EXPECT_EQ(say(path("stored"), {}), expected);
  EXPECT_EQ(result.layers.size(), 2U);
  EXPECT_EQ(result.layers[0].spill, 8);
  EXPECT_EQ(entries(), (std::vector<std::string>{"model", "stored"}));
  for (const char* name :
       {"config.json", "tokenizer.json", "slim_plan.json", "model.safetensors"}) {
    EXPECT_TRUE(fs::exists(path("stored") + "/" + name)) << name;
  }
  // The source has 32 bits: M in 16 takes less than the value weights it replaces.
  EXPECT_LT(result.written_bytes, result.source_bytes);
}

TEST_F(ConversionTest, ThePlanIsRead) {
  convert(path("model"), path("stored"), keys("i12", 16, 32));
  const Inspection inspection = inspect(path("stored"), {});
  ASSERT_EQ(inspection.layers.size(), 2U);
  EXPECT_EQ(inspection.layers[1].kind, "k");
  EXPECT_EQ(inspection.layers[1].row_type, "i12");
  EXPECT_EQ(inspection.layers[1].spill, 16);
  EXPECT_EQ(inspection.layers[1].rank, 32);
  EXPECT_NE(inspection.layers[1].reason.find("converted"), std::string::npos);
  EXPECT_EQ(say(path("stored"), {}), say(path("model"), keys("i12", 16, 32)));
}

TEST_F(ConversionTest, OtherCachesOfAConvertedModelAreRefused) {
  convert(path("model"), path("stored"), keys());
  EngineOptions kv;
  kv.cache = "kv";
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"stored", "converted"},
                         [&] { Engine(path("stored"), kv); }));
  Engine engine(path("stored"), {});
  folder_.write("text.txt", "some words of text");
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"converted"},
                         [&] { engine.verify_text(path("text.txt"), {}); }));
  EXPECT_GT(engine.perplexity(path("text.txt"), {}).perplexity, 1);
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"converted"},
                         [&] { convert(path("stored"), path("again"), {}); }));
}

TEST_F(ConversionTest, WhatIsThereIsLeftAlone) {
  folder_.write("full/note.txt", "mine");
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"full", "not empty"},
                         [&] { convert(path("model"), path("full"), keys()); }));
  fs::create_directories(path("empty"));
  convert(path("model"), path("empty"), keys());
  EXPECT_TRUE(fs::exists(path("empty") + "/slim_plan.json"));
  EXPECT_EQ(entries(), (std::vector<std::string>{"empty", "full", "model"}));
}

TEST_F(ConversionTest, NothingIsLeftOfAFailure) {
  fs::remove(path("model") + "/tokenizer.json");
  fs::create_directories(path("model") + "/tokenizer.json");  // cannot be copied as a file
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"tokenizer.json"},
                         [&] { convert(path("model"), path("stored"), keys()); }));
  EXPECT_EQ(entries(), (std::vector<std::string>{"model"}));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"nowhere"},
                         [&] { convert(path("nowhere"), path("stored"), keys()); }));
}

TEST(PlanFile, IsReadAsItWasWritten) {
  std::vector<LayerPlan> plan(2);
  plan[0] = {.layer = 0, .kind = "k", .rows = {RowType::i12, 8, 64}};
  plan[1] = {.layer = 1, .cross = true, .kind = "kv", .rows = {RowType::bf16, 0, 0}};
  const TemporaryFolder folder;
  const auto read = read_plan(folder.write("plan.json", write_plan(plan)));
  ASSERT_EQ(read.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read[i].layer, plan[i].layer);
    EXPECT_EQ(read[i].cross, plan[i].cross);
    EXPECT_EQ(read[i].kind, plan[i].kind);
    EXPECT_EQ(read[i].rows, plan[i].rows);
  }
}

TEST(PlanFile, MalformedOnesAreNamed) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& text, std::string_view field) {
    const auto path = folder.write("plan.json", text);
    return fails_with(ErrorCode::bad_file, {"plan.json", field}, [&] { read_plan(path); });
  };
  EXPECT_TRUE(refused("{", "plan.json"));
  EXPECT_TRUE(refused(R"({"format": 2, "layers": []})", "format"));
  EXPECT_TRUE(refused(R"({"format": 1, "layers": []})", "layers"));
  const std::string layer =
      R"({"layer": 0, "attention": "self", "kind": "k", "row_type": "i99", "spill": 0, "rank": 0})";
  EXPECT_TRUE(refused(R"({"format": 1, "layers": [)" + layer + "]}", "row_type"));
}

}  // namespace
}  // namespace slim
