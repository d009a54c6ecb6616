// Engine::translate against Transformers' generate() on tiny random models with tokenizers
// (tools/make_golden_translations.py): greedy and beam search with every setting, alone and in
// batches, under every cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "error_matchers.h"
#include "slim/slim.h"
#include "temporary_folder.h"

namespace slim {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path model_path(const std::string& name) {
  return fs::path(SLIM_TEST_DATA) / "golden" / "translation" / name;
}

// t5_gguf is t5_json in another form (tools/make_golden_gguf_t5.py).
json expected_of(const std::string& name) {
  std::ifstream file(model_path(name == "t5_gguf" ? "t5_json" : name) / "expected.json");
  return json::parse(file);
}

EngineOptions exact(const std::string& cache) {
  EngineOptions options;
  options.threads = 1;
  options.cache = cache;
  options.cache_type = "f32";
  return options;
}

TranslateOptions options_of(const json& expected, const json& setting) {
  TranslateOptions options;
  options.source = expected["source"];
  options.target = expected["target"];
  options.max_tokens = 64;
  for (const auto& [name, value] : setting.items()) {
    if (name == "beams") options.beams = value;
    if (name == "hypotheses") options.hypotheses = value;
    if (name == "length_penalty") options.length_penalty = value;
    if (name == "min_tokens") options.min_tokens = value;
    if (name == "max_tokens") options.max_tokens = value;
    if (name == "no_repeat_ngram") options.no_repeat_ngram = value;
    if (name == "repetition_penalty") options.repetition_penalty = value;
    if (name == "target_prefix") options.target_prefix = value;
  }
  return options;
}

void compare(const Translation& found, const json& expected, const std::string& label) {
  ASSERT_EQ(found.hypotheses.size(), expected.size()) << label;
  for (size_t i = 0; i < expected.size(); ++i) {
    const TranslationHypothesis& text = found.hypotheses[i];
    EXPECT_EQ(text.tokens, expected[i]["tokens"].get<std::vector<int32_t>>()) << label << " " << i;
    if (!expected[i]["score"].is_null()) {
      EXPECT_NEAR(text.score, expected[i]["score"].get<double>(), 2e-4) << label << " " << i;
    }
  }
}

class Translations : public testing::TestWithParam<const char*> {};

TEST_P(Translations, AreTransformers) {
  const json expected = expected_of(GetParam());
  const auto texts = expected["texts"].get<std::vector<std::string>>();
  for (const char* cache : {"kv", "auto"}) {
    Engine engine(model_path(GetParam()).string(), exact(cache));
    for (const json& result : expected["results"]) {
      TranslateOptions options = options_of(expected, result["setting"]);
      options.batch = 3;
      const auto found = engine.translate(texts, options);
      for (size_t i = 0; i < texts.size(); ++i) {
        compare(found[i], result["texts"][i],
                std::string(cache) + " " + result["setting"].dump() + " " + texts[i]);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Translations,
                         testing::Values("t5_json", "t5_gguf", "marian", "m2m_bpe", "mbart",
                                         "bart_json", "marian_apart", "t5", "pegasus", "nllb_json"),
                         [](const auto& one) { return std::string(one.param); });

std::vector<TranslationHypothesis> hypotheses_of(Engine& engine, const std::string& text,
                                                 const TranslateOptions& options) {
  return engine.translate({text}, options).front().hypotheses;
}

// A row's result does not depend on its neighbours, but for rounding: products of many rows add in
// another order than those of few.
TEST(Translation, IsTheSameAloneAndAmongOthers) {
  Engine engine(model_path("t5_json").string(), exact("auto"));
  const std::vector<std::string> texts = {
      "the words of a text", "a",    "", "words words words and more of them than elsewhere",
      "naïve café",          "x y z"};
  TranslateOptions options;
  options.max_tokens = 40;
  options.hypotheses = 2;
  for (const int batch : {1, 2, 5}) {
    options.batch = batch;
    const auto all = engine.translate(texts, options);
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto alone = hypotheses_of(engine, texts[i], options);
      ASSERT_EQ(all[i].hypotheses.size(), alone.size());
      for (size_t j = 0; j < alone.size(); ++j) {
        EXPECT_EQ(all[i].hypotheses[j].tokens, alone[j].tokens) << texts[i];
        EXPECT_NEAR(all[i].hypotheses[j].score, alone[j].score, 1e-5) << texts[i];
      }
    }
    EXPECT_EQ(all[2].source_tokens, 0);
    EXPECT_EQ(all[2].hypotheses.front().text, "");
  }
}

TEST(Translation, BeginsWithThePrefix) {
  Engine engine(model_path("bart_json").string(), exact("auto"));
  TranslateOptions options;
  options.max_tokens = 10;
  options.target_prefix = "the words";
  const auto found = hypotheses_of(engine, "Hello world", options);
  EXPECT_TRUE(found.front().text.starts_with("the words")) << found.front().text;
}

TEST(Translation, DrawsSamplesBySeed) {
  Engine engine(model_path("t5_json").string(), exact("auto"));
  TranslateOptions options;
  options.max_tokens = 12;
  options.hypotheses = 3;
  options.sampling.temperature = 1;
  options.sampling.seed = 7;
  const auto first = hypotheses_of(engine, "the words", options);
  ASSERT_EQ(first.size(), 3u);
  EXPECT_NE(first[0].tokens, first[1].tokens);
  const auto again = hypotheses_of(engine, "the words", options);
  EXPECT_EQ(first[0].tokens, again[0].tokens);
  options.sampling.seed = 8;
  EXPECT_NE(first[0].tokens, hypotheses_of(engine, "the words", options)[0].tokens);
}

// Of one token alone there is nothing to draw.
TEST(Translation, DrawsGreedyTextsFromTheLikeliestAlone) {
  Engine engine(model_path("t5_json").string(), exact("auto"));
  TranslateOptions options;
  options.max_tokens = 20;
  options.beams = 1;
  const auto greedy = hypotheses_of(engine, "the words", options)[0].tokens;
  options.sampling.temperature = 2;
  options.sampling.seed = 3;
  EXPECT_NE(hypotheses_of(engine, "the words", options)[0].tokens, greedy);
  options.sampling.top_k = 1;
  EXPECT_EQ(hypotheses_of(engine, "the words", options)[0].tokens, greedy);
  options.sampling.top_k = 0;
  options.sampling.top_p = 1e-6F;
  EXPECT_EQ(hypotheses_of(engine, "the words", options)[0].tokens, greedy);
}

TEST(Translation, DrawsTheSameInSeveralCallsAsInOne) {
  Engine engine(model_path("t5_json").string(), exact("auto"));
  TranslateOptions options;
  options.max_tokens = 12;
  options.sampling.temperature = 1;
  options.sampling.seed = 7;
  const auto all = engine.translate({"a", "the words", "the words"}, options);
  EXPECT_NE(all[1].hypotheses[0].tokens, all[2].hypotheses[0].tokens);
  options.first = 2;
  EXPECT_EQ(hypotheses_of(engine, "the words", options)[0].tokens, all[2].hypotheses[0].tokens);
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"text 3"},
                         [&] { engine.translate({"x\xFF"}, options); }));
}

TEST(Translation, LeavesOutTokensThatTheFilesSuppress) {
  const json expected = expected_of("t5_json");
  const std::string text = expected["texts"][0];
  const auto usual = expected["results"][0]["texts"][0][0]["tokens"].get<std::vector<int32_t>>();
  const auto written = [&](const char* field) {
    const TemporaryFolder folder;
    fs::copy(model_path("t5_json"), folder.path(), fs::copy_options::recursive);
    fs::remove(folder.path() / "generation_config.json");
    std::ofstream(folder.path() / "generation_config.json")
        << json({{"decoder_start_token_id", 0}, {"eos_token_id", 1}, {field, {usual[0]}}});
    Engine engine(folder.path().string(), exact("auto"));
    TranslateOptions options;
    options.beams = 1;
    options.max_tokens = 20;
    return hypotheses_of(engine, text, options).front().tokens;
  };
  const auto without = written("suppress_tokens");
  EXPECT_EQ(std::count(without.begin(), without.end(), usual[0]), 0);
  const auto later = written("begin_suppress_tokens");
  EXPECT_NE(later[0], usual[0]);
  EXPECT_EQ(later[0], without[0]);
  EXPECT_GT(std::count(later.begin(), later.end(), usual[0]), 0);
}

// Text as tokens of the file's own vocabulary.
TEST(Translation, ReadsAGgufVocabularyAsItsTokenizer) {
  Engine json_engine(model_path("t5_json").string(), exact("auto"));
  Engine gguf_engine(model_path("t5_gguf").string(), exact("auto"));
  for (const char* text :
       {"Hello world", "  the   words  ", "ﬁne ½ naïve café", "\u3000x\u2581y\tz\n", "中文 ?!", "",
        "</s> a", "a<extra_id_0>b<extra_id_99>"}) {
    EXPECT_EQ(gguf_engine.tokenize(text), json_engine.tokenize(text)) << text;
  }
  EXPECT_TRUE(gguf_engine.languages().codes.empty());
}

TEST(Translation, StopsWhenItIsToldTo) {
  Engine engine(model_path("t5_json").string(), exact("auto"));
  TranslateOptions options;
  options.max_tokens = 5;
  options.batch = 1;
  options.on_done = [](size_t, size_t done, size_t total) {
    EXPECT_EQ(total, 3u);
    return done < 2;
  };
  const auto found = engine.translate({"a", "b", "c"}, options);
  EXPECT_FALSE(found[0].hypotheses.empty());
  EXPECT_FALSE(found[1].hypotheses.empty());
  EXPECT_TRUE(found[2].hypotheses.empty());
}

TEST(Translation, CountsWhatItDoes) {
  Engine engine(model_path("t5_json").string(), exact("auto"));
  TranslateOptions options;
  options.beams = 1;
  options.max_tokens = 6;
  TranslateStats stats;
  const auto found = engine.translate({"the words", ""}, options, &stats);
  EXPECT_EQ(stats.sources, 2);
  EXPECT_EQ(stats.source_tokens, found[0].source_tokens);
  EXPECT_GT(stats.tokens, 0);
  EXPECT_GT(stats.steps, 0);
  EXPECT_GT(stats.context_bytes, 0);
  EXPECT_GT(stats.context_kv_bytes, stats.context_bytes);
}

// Their rows, and pages of no more.
TEST(Translation, HoldsWhatTheLongestTextNeeds) {
  const std::string model = model_path("t5_json").string();
  const std::vector<std::string> texts = {"the small dog", "a cat runs over the small dog, again"};
  TranslateOptions options;
  options.max_tokens = 17;
  options.min_tokens = 16;
  options.beams = 3;
  for (const char* cache : {"kv", "auto"}) {
    EngineOptions engine = exact(cache);
    TranslateStats whole;
    const auto expected = Engine(model, engine).translate(texts, options, &whole);
    engine.most_tokens = *options.max_tokens;
    TranslateStats less;
    const auto found = Engine(model, engine).translate(texts, options, &less);
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(found[i].hypotheses[0].tokens, expected[i].hypotheses[0].tokens);
      EXPECT_EQ(found[i].hypotheses[0].score, expected[i].hypotheses[0].score);
      EXPECT_EQ(found[i].hypotheses[0].finish, expected[i].hypotheses[0].finish);
    }
    EXPECT_LT(less.context_bytes, whole.context_bytes / 2) << cache;
  }
}

TEST(Translation, RefusesWhatItCannotDo) {
  Engine engine(model_path("m2m_bpe").string(), exact("auto"));
  const auto refuses = [&](const std::string& text, const TranslateOptions& options,
                           std::initializer_list<std::string_view> parts) {
    return fails_with(ErrorCode::bad_request, parts, [&] {
      engine.translate({"Hello", text}, options);
    });
  };
  TranslateOptions options;
  options.source = "fr";
  EXPECT_TRUE(refuses("x", options, {"target language is missing", "af, am, ar"}));
  options.target = "qq";
  EXPECT_TRUE(refuses("x", options, {"qq", "none of the model's", "zh, zu"}));
  options.target = "en";
  EXPECT_TRUE(refuses("x\xFF", options, {"text 2", "not UTF-8", "byte 1"}));
  std::string words;
  while (std::ssize(engine.tokenize(words)) < 100000) words += words + "the words ";
  // With the language in front of them.
  const std::string count = std::to_string(engine.tokenize(words).size() + 1);
  EXPECT_TRUE(refuses(words, options, {"text 2", count + " tokens, more than the 80 positions"}));
  options.hypotheses = 5;
  EXPECT_TRUE(refuses("x", options, {"hypotheses", "4 beams"}));
  options.hypotheses = 3;
  options.patience = 0.5;
  EXPECT_TRUE(refuses("x", options, {"hypotheses", "waits for 2 texts"}));
  options.hypotheses = 1;
  options.patience = 0;
  EXPECT_TRUE(refuses("x", options, {"patience"}));
  options.patience = 1;
  options.max_tokens = 0;
  EXPECT_TRUE(refuses("x", options, {"max_tokens"}));
  options.max_tokens = 5;
  options.min_tokens = 6;
  EXPECT_TRUE(refuses("x", options, {"min_tokens", "at least than at most"}));
  options.min_tokens.reset();
  options.target_prefix = "\xFF";
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"target_prefix", "not UTF-8"},
                         [&] { engine.translate({}, options); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"cannot transcribe"},
                         [&] { engine.transcribe({"x.wav"}, {}); }));
}

// T5 writes on until something stops it.
TEST(Translation, SaysWhatStoppedIt) {
  const TemporaryFolder folder;
  fs::copy(model_path("t5_json"), folder.path(), fs::copy_options::recursive);
  fs::remove(folder.path() / "generation_config.json");
  std::ofstream(folder.path() / "generation_config.json")
      << R"({"max_new_tokens": 3, "max_length": 50, "decoder_start_token_id": 0, "eos_token_id": 1})";
  EngineOptions short_context = exact("auto");
  short_context.context = 9;
  Engine engine(folder.path().string(), short_context);
  const auto by_file = hypotheses_of(engine, "Hello world", {});
  EXPECT_EQ(by_file.front().tokens.size(), 3U);
  EXPECT_EQ(by_file.front().finish, Finish::length);
  TranslateOptions options;
  options.max_tokens = 40;
  const auto by_context = hypotheses_of(engine, "Hello world", options);
  EXPECT_EQ(by_context.front().tokens.size(), 9U);
  EXPECT_EQ(by_context.front().finish, Finish::context);
}

TEST(Translation, NeedsATokenizer) {
  const TemporaryFolder folder;
  for (const auto& entry : fs::directory_iterator(model_path("t5_json"))) {
    if (entry.path().filename() == "tokenizer.json") continue;
    fs::copy(entry.path(), folder.path() / entry.path().filename());
  }
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {folder.path().string(), "no tokenizer"},
                         [&] { Engine(folder.path().string(), exact("auto")); }));
}

TEST(Translation, GeneratesForAPromptThatTheEncoderReads) {
  Engine engine(model_path("t5_json").string(), exact("auto"));
  const json expected = expected_of("t5_json");
  GenerateRequest request;
  request.prompt = expected["texts"][0];
  request.options.max_tokens = 64;
  const Generation generation = engine.generate(request);
  const auto tokens = expected["results"][0]["texts"][0][0]["tokens"].get<std::vector<int32_t>>();
  auto found = generation.samples.front().tokens;
  if (generation.samples.front().finish == Finish::end) found.pop_back();
  EXPECT_EQ(found, tokens);
  EXPECT_EQ(generation.stats.prompt_tokens, std::ssize(engine.tokenize(request.prompt)));
  request.prompt = "";
  EXPECT_TRUE(
      fails_with(ErrorCode::bad_request, {"prompt is empty"}, [&] { engine.generate(request); }));
}

TEST(Translation, VerifiesAgainstKvInF32) {
  const TemporaryFolder folder;
  const auto path = folder.write("lines.txt", "the words\r\n\r\nHello world\n").string();
  TranslateOptions options;
  options.max_tokens = 20;
  Engine engine(model_path("t5_json").string(), exact("auto"));
  const Verification found = engine.verify_translation(path, options);
  EXPECT_EQ(found.sequences, 2);
  EXPECT_GT(found.tokens, 2);
  EXPECT_LT(found.kl_mean, 1e-4);
  EXPECT_EQ(found.top1, 1);
  Engine same(model_path("t5_json").string(), exact("kv"));
  EXPECT_EQ(same.verify_translation(path, options).kl_max, 0);
}

// Whatever is wrong with it, and whoever reads it.
TEST(Translation, SaysWhichLineIsWrong) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& model, const std::string& line,
                           std::initializer_list<std::string_view> parts) {
    Engine engine(model_path(model).string(), exact("auto"));
    const auto path = folder.write("lines.txt", ">>fra<< the words\n\n" + line + "\n").string();
    const auto verified =
        fails_with(ErrorCode::bad_request, parts, [&] { engine.verify_translation(path, {}); });
    if (!verified) return verified;
    return fails_with(ErrorCode::bad_request, parts, [&] {
      engine.translate({">>fra<< the words", "", line}, {});
    });
  };
  EXPECT_TRUE(refused("t5_json", "x\xFF", {"text 3", "not UTF-8"}));
  EXPECT_TRUE(refused("t5_json", "</s>", {"text 3", "special tokens"}));
  EXPECT_TRUE(refused("marian", ">>zzz<< the words", {"text 3", "zzz", "none of the model's"}));
  EXPECT_TRUE(refused("marian", "the words", {"text 3", "missing", "fra"}));
  std::string words = ">>fra<<";
  for (int i = 0; i < 100; ++i) words += " the words";
  EXPECT_TRUE(refused("marian", words, {"text 3", "positions of the encoder"}));
}

}  // namespace
}  // namespace slim
