// Generation over tiny random models: what must hold whatever the weights.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/random_llama.h"
#include "engine/random_whisper.h"
#include "engine/runtime.h"
#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

EngineOptions cache(const std::string& kind, const std::string& type = "",
                    const std::string& device = "cpu") {
  EngineOptions options;
  options.cache = kind;
  options.cache_type = type;
  options.device = device;
  options.threads = 2;
  options.force_cache = true;  // what the plan thinks of random weights does not matter here
  return options;
}

GenerateRequest request(const std::string& prompt, int64_t max_tokens = 40) {
  GenerateRequest made;
  made.prompt = prompt;
  made.options.max_tokens = max_tokens;
  made.options.ignore_end = true;
  return made;
}

const char* const kPrompt = "The quick brown fox jumps over the lazy dog, and then it sleeps.";

class GenerationTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder = new TemporaryFolder;
    write_random_llama(folder->path() / "model", {});
    RandomLlama begins;
    begins.begins = true;
    write_random_llama(folder->path() / "begins", begins);
    RandomLlama grouped;
    grouped.key_heads = 2;
    write_random_llama(folder->path() / "grouped", grouped);
    RandomLlama longrope;
    longrope.original = 64;
    write_random_llama(folder->path() / "long", longrope);
    write_random_whisper(folder->path() / "whisper", {});
  }
  static void TearDownTestSuite() { delete folder; }
  static std::string path(const std::string& name) { return (folder->path() / name).string(); }
  static std::vector<int32_t> tokens(const Generation& generation, size_t sample = 0) {
    return generation.samples.at(sample).tokens;
  }

  static TemporaryFolder* folder;
};
TemporaryFolder* GenerationTest::folder = nullptr;

TEST_F(GenerationTest, EveryCacheAndDeviceSaysTheSame) {
  Engine reference(path("model"), cache("kv", "f32", "reference"));
  const auto expected = tokens(reference.generate(request(kPrompt)));
  ASSERT_EQ(expected.size(), 40U);
  for (const char* kind : {"kv", "k"}) {
    for (const std::string& device : devices()) {
      if (device.find(':') != std::string::npos) continue;
      Engine engine(path("model"), cache(kind, "f32", device));
      EXPECT_EQ(tokens(engine.generate(request(kPrompt))), expected) << kind << ' ' << device;
    }
  }
  Engine sealed(path("model"), cache("k", "i16"));
  EXPECT_EQ(tokens(sealed.generate(request(kPrompt))), expected);
  Engine chosen(path("model"), cache("auto"));
  EXPECT_EQ(tokens(chosen.generate(request(kPrompt))).size(), 40U);
}

TEST_F(GenerationTest, GroupedQueriesRunWithAStandardCache) {
  EngineOptions options = cache("auto");
  options.force_cache = false;
  Engine engine(path("grouped"), options);
  EXPECT_EQ(inspect(path("grouped"), options).layers.front().kind, "kv");
  EXPECT_EQ(tokens(engine.generate(request(kPrompt))).size(), 40U);
}

TEST_F(GenerationTest, TheCutOfPromptsDoesNotMatter) {
  for (const char* type : {"f32", "i12"}) {
    Engine engine(path("model"), cache("k", type));
    std::string prompt;
    while (engine.tokenize(prompt).size() < 150) prompt += kPrompt;
    GenerateRequest whole = request(prompt, 30);
    const auto expected = tokens(engine.generate(whole));
    for (const int64_t step : {1, 7, 64, 100}) {
      whole.options.step_tokens = step;
      EXPECT_EQ(tokens(engine.generate(whole)), expected) << type << ' ' << step;
    }
  }
}

TEST_F(GenerationTest, RequestsTogetherEqualRequestsAlone) {
  Engine engine(path("model"), cache("k", "i16"));
  std::vector<GenerateRequest> requests = {request("a", 5), request(kPrompt, 30),
                                           request("some words", 17)};
  requests[1].options.sampling.temperature = 1;
  requests[1].options.sampling.seed = 3;
  requests[2].options.step_tokens = 2;
  const std::vector<Generation> together = engine.generate(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    const Generation alone = engine.generate(requests[i]);
    EXPECT_EQ(tokens(together[i]), tokens(alone)) << i;
    EXPECT_EQ(together[i].samples[0].text, alone.samples[0].text);
    EXPECT_EQ(together[i].stats.generated_tokens, alone.stats.generated_tokens);
  }
  EXPECT_TRUE(engine.generate(std::vector<GenerateRequest>{}).empty());
}

TEST_F(GenerationTest, StreamsAtOnceDoNotDisturbEachOther) {
  Engine engine(path("model"), cache("k", "i16"));
  const auto first = tokens(engine.generate(request(kPrompt)));
  const auto second = tokens(engine.generate(request("other")));
  std::vector<int32_t> in_thread;
  std::thread other([&] { in_thread = tokens(engine.generate(request(kPrompt))); });
  EXPECT_EQ(tokens(engine.generate(request("other"))), second);
  other.join();
  EXPECT_EQ(in_thread, first);
}

TEST_F(GenerationTest, SamplesShareThePromptAndDiffer) {
  Engine engine(path("model"), cache("k", "i16"));
  std::string prompt;
  while (engine.tokenize(prompt).size() < 150) prompt += kPrompt;
  GenerateRequest one = request(prompt, 20);
  one.options.sampling.temperature = 1;
  one.options.sampling.seed = 11;
  const Generation alone = engine.generate(one);
  one.samples = 3;
  const Generation several = engine.generate(one);
  ASSERT_EQ(several.samples.size(), 3U);
  EXPECT_EQ(tokens(several, 0), tokens(alone));
  EXPECT_NE(tokens(several, 1), tokens(several, 0));
  EXPECT_NE(tokens(several, 2), tokens(several, 1));
  EXPECT_EQ(several.seed, 11U);
  // Two whole pages of the prompt are held once instead of three times.
  Runtime runtime(path("model"), cache("k", "i16"));
  EXPECT_EQ(several.stats.context_bytes,
            3 * alone.stats.context_bytes - 4 * runtime.model().self_pages().page_bytes());
  EXPECT_EQ(several.stats.generated_tokens, 60);
  one.samples = 1;
  one.options.sampling.seed.reset();
  const Generation drawn = engine.generate(one);
  one.options.sampling.seed = drawn.seed;
  EXPECT_EQ(tokens(engine.generate(one)), tokens(drawn));
}

TEST_F(GenerationTest, TextIsWhatTheCallbackWasGiven) {
  Engine engine(path("model"), cache("kv", "f32"));
  GenerateRequest asked = request(kPrompt, 60);
  std::string text;
  std::vector<int64_t> read;
  asked.options.step_tokens = 8;
  asked.options.on_text = [&](int sample, const std::string& piece) {
    EXPECT_EQ(sample, 0);
    EXPECT_EQ(valid_utf8(piece), piece);
    text += piece;
    return true;
  };
  asked.options.on_prompt = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, static_cast<int64_t>(engine.tokenize(kPrompt).size()));
    read.push_back(done);
    return true;
  };
  const Generation generation = engine.generate(asked);
  EXPECT_EQ(text, generation.samples[0].text);
  EXPECT_EQ(generation.samples[0].finish, Finish::length);
  ASSERT_FALSE(read.empty());
  EXPECT_EQ(read.front(), 8);
  EXPECT_EQ(read.back(), generation.stats.prompt_tokens);
  EXPECT_TRUE(std::is_sorted(read.begin(), read.end()));
}

TEST_F(GenerationTest, CallbacksStop) {
  Engine engine(path("model"), cache("kv", "f32"));
  GenerateRequest asked = request(kPrompt, 60);
  int calls = 0;
  asked.options.on_text = [&](int, const std::string&) { return ++calls < 3; };
  const Generation stopped = engine.generate(asked);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(stopped.samples[0].finish, Finish::cancelled);
  EXPECT_LT(stopped.samples[0].tokens.size(), 60U);
  asked.options.step_tokens = 4;
  asked.options.on_prompt = [](int64_t, int64_t) { return false; };
  const Generation none = engine.generate(asked);
  EXPECT_EQ(none.samples[0].finish, Finish::cancelled);
  EXPECT_TRUE(none.samples[0].tokens.empty());
}

TEST_F(GenerationTest, StopStringsAndEndTokensEndTheText) {
  Engine engine(path("model"), cache("kv", "f32"));
  const Completion whole = engine.generate(request(kPrompt, 60)).samples[0];
  ASSERT_GT(whole.text.size(), 20U);
  GenerateRequest asked = request(kPrompt, 60);
  // A stop string from the midst of the text; it may also come earlier.
  size_t begin = 10;
  while ((static_cast<unsigned char>(whole.text[begin]) & 0xC0U) == 0x80U) ++begin;
  size_t end = begin + 3;
  while (end < whole.text.size() && (static_cast<unsigned char>(whole.text[end]) & 0xC0U) == 0x80U)
    ++end;
  asked.options.stop = {whole.text.substr(begin, end - begin), "never said"};
  const Completion stopped = engine.generate(asked).samples[0];
  EXPECT_EQ(stopped.finish, Finish::stop);
  EXPECT_EQ(stopped.stop, asked.options.stop[0]);
  EXPECT_EQ(stopped.text, whole.text.substr(0, whole.text.find(asked.options.stop[0])));

  // The third token made an end of text.
  TemporaryFolder ending;
  std::filesystem::copy(path("model"), ending.path() / "model");
  std::ofstream(ending.path() / "model/generation_config.json")
      << nlohmann::json{{"eos_token_id", {whole.tokens[2], 1}}}.dump();
  Engine ends((ending.path() / "model").string(), cache("kv", "f32"));
  asked = request(kPrompt, 60);
  asked.options.ignore_end = false;
  const Completion ended = ends.generate(asked).samples[0];
  EXPECT_EQ(ended.finish, Finish::end);
  EXPECT_LE(ended.tokens.size(), 3U);
  EXPECT_EQ(ended.tokens.back(), whole.tokens[ended.tokens.size() - 1]);
}

TEST_F(GenerationTest, AFullContextIsSaid) {
  EngineOptions options = cache("k", "i16");
  options.context = 64;
  Engine engine(path("model"), options);
  EXPECT_EQ(engine.context(), 64);
  const Generation full = engine.generate(request("a b c", 0));
  EXPECT_EQ(full.samples[0].finish, Finish::context);
  // Every row is used, and the last token needs none.
  EXPECT_EQ(full.stats.prompt_tokens + full.stats.generated_tokens, 65);
  GenerateRequest exact;
  exact.tokens.assign(64, 1);
  exact.options.max_tokens = 0;
  exact.options.ignore_end = true;
  EXPECT_EQ(tokens(engine.generate(exact)).size(), 1U);
  exact.tokens.assign(65, 1);
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"65", "64"}, [&] { engine.generate(exact); }));
}

// With longrope the rows of early tokens depend on how long the sequence has become.
TEST_F(GenerationTest, ASequenceThatOutgrowsItsRegimeIsComputedAnew) {
  for (const auto& [kind, type] : {std::pair{"kv", "f32"}, {"k", "i16"}}) {
    Engine engine(path("long"), cache(kind, type));
    GenerateRequest asked;
    asked.tokens.assign(50, 7);
    asked.options.max_tokens = 40;
    asked.options.ignore_end = true;
    asked.options.step_tokens = 16;
    const auto expected = tokens(engine.generate(asked));
    ASSERT_EQ(expected.size(), 40U);
    for (size_t count = 1; count < expected.size(); ++count) {
      GenerateRequest next = asked;
      next.tokens.insert(next.tokens.end(), expected.begin(),
                         expected.begin() + static_cast<ptrdiff_t>(count));
      next.options.max_tokens = 1;
      EXPECT_EQ(tokens(engine.generate(next))[0], expected[count]) << kind << ' ' << count;
    }
  }
}

TEST_F(GenerationTest, AnEmptyPromptIsTheTokenThatBegins) {
  Engine none(path("model"), cache("kv", "f32"));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"empty"}, [&] { none.generate(request("")); }));
  Engine engine(path("begins"), cache("kv", "f32"));
  const Generation empty = engine.generate(request(""));
  EXPECT_EQ(empty.stats.prompt_tokens, 1);
  GenerateRequest token = request("");
  token.tokens = {0};
  EXPECT_EQ(tokens(empty), tokens(engine.generate(token)));
}

TEST_F(GenerationTest, LogProbabilitiesComeWithEveryToken) {
  Engine engine(path("model"), cache("kv", "f32"));
  GenerateRequest asked = request(kPrompt, 5);
  asked.options.logprobs = 3;
  const Completion sample = engine.generate(asked).samples[0];
  ASSERT_EQ(sample.logprobs.size(), 5U);
  for (size_t i = 0; i < 5; ++i) {
    const GeneratedToken& token = sample.logprobs[i];
    EXPECT_EQ(token.chosen.token, sample.tokens[i]);
    ASSERT_EQ(token.top.size(), 3U);
    EXPECT_EQ(token.top[0].token, sample.tokens[i]) << "greedy takes the likeliest";
    EXPECT_EQ(token.top[0].logprob, token.chosen.logprob);
    EXPECT_LE(token.top[1].logprob, token.top[0].logprob);
    EXPECT_LT(token.chosen.logprob, 0);
  }
}

TEST_F(GenerationTest, StatisticsCountWhatIsHeld) {
  Engine engine(path("model"), cache("kv", "bf16"));
  const Generation generation = engine.generate(request(kPrompt, 10));
  const GenerateStats& stats = generation.stats;
  EXPECT_EQ(stats.generated_tokens, 10);
  EXPECT_EQ(stats.decoded_tokens, 9);
  EXPECT_EQ(stats.steps, 10);
  EXPECT_EQ(stats.cached_tokens, 0);
  EXPECT_GT(stats.prompt_rate(), 0);
  EXPECT_GT(stats.decode_rate(), 0);
  // Pages of 64 rows, two layers, keys and values of 64 numbers in 2 bytes.
  const int64_t pages = (stats.prompt_tokens + 9 + 63) / 64;
  EXPECT_EQ(stats.context_bytes, pages * 64 * 2 * 2 * 64 * 2);
  EXPECT_EQ(stats.context_kv_bytes, stats.context_bytes);
  EXPECT_GT(stats.weight_bytes, 0);
}

TEST_F(GenerationTest, DamagedWeightsAreAnError) {
  TemporaryFolder damaged;
  std::filesystem::copy(path("model"), damaged.path() / "model");
  const auto file = damaged.path() / "model/model.safetensors";
  std::fstream weights(file, std::ios::in | std::ios::out | std::ios::binary);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  weights.seekp(static_cast<std::streamoff>(std::filesystem::file_size(file)) - 4);
  weights.write(reinterpret_cast<const char*>(&nan), 4);  // of the last norm
  weights.close();
  Engine engine((damaged.path() / "model").string(), cache("kv", "f32"));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"finite"}, [&] { engine.generate(request("a")); }));
}

TEST_F(GenerationTest, BadRequestsAreSentences) {
  Engine engine(path("model"), cache("kv", "f32"));
  const auto refused = [&](const char* name, auto&& set) {
    GenerateRequest asked = request("a");
    set(asked);
    return fails_with(ErrorCode::bad_request, {name}, [&] { engine.generate(asked); });
  };
  EXPECT_TRUE(refused("samples", [](auto& r) { r.samples = 0; }));
  EXPECT_TRUE(refused("max_tokens", [](auto& r) { r.options.max_tokens = -1; }));
  EXPECT_TRUE(refused("step_tokens", [](auto& r) { r.options.step_tokens = -1; }));
  EXPECT_TRUE(refused("logprobs", [](auto& r) { r.options.logprobs = 100000; }));
  EXPECT_TRUE(refused("temperature", [](auto& r) { r.options.sampling.temperature = -1; }));
  EXPECT_TRUE(refused("stop", [](auto& r) { r.options.stop = {""}; }));
  EXPECT_TRUE(refused("1000000", [](auto& r) { r.tokens = {1000000}; }));
  EXPECT_TRUE(refused("-1", [](auto& r) { r.tokens = {-1}; }));
  EngineOptions budget = cache("auto");
  budget.cache_budget = std::nan("");
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_request, {"budget"}, [&] { Engine(path("model"), budget); }));
  EngineOptions context = cache("auto");
  context.context = -1;
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_request, {"context"}, [&] { Engine(path("model"), context); }));
}

TEST_F(GenerationTest, ModelsOfTheOtherSortAreRefused) {
  Engine text(path("model"), cache("auto"));
  EXPECT_FALSE(text.hears());
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"model of text"},
                         [&] { text.transcribe_samples({0.0F}, {}); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"model of text"},
                         [&] { text.verify("nowhere.wav", {}); }));
  Engine speech(path("whisper"), cache("auto"));
  EXPECT_TRUE(speech.hears());
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_request, {"speech model"}, [&] { speech.generate(request("a")); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"speech model"},
                         [&] { speech.perplexity("nowhere.txt", {}); }));
}

}  // namespace
}  // namespace slim
