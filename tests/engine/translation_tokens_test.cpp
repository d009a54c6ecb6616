// What stands around sources and what decoders begin with, against Transformers; and every refusal.
#include "engine/translation_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "error_matchers.h"
#include "text/numbered_pieces.h"

namespace slim {
namespace {

using Ids = std::vector<int32_t>;

constexpr const char* kConfig = R"({"decoder_start_token_id": 2, "eos_token_id": 2})";

TranslationTokens tokens_of(const std::string& name, const TemporaryFolder& folder,
                            const std::string& config = kConfig) {
  write_files(numbered_pieces()["tokenizers"][name], folder);
  folder.write("config.json", config);
  const auto tokenizer = Tokenizer::load(folder.path());
  return TranslationTokens(tokenizer, TranslationFiles::read(folder.path()), 100000);
}

TEST(TranslationTokens, PutLanguagesWhereTransformersDoes) {
  const auto texts = numbered_pieces()["texts"].get<std::vector<std::string>>();
  for (const char* name : {"mbart", "mbart50", "m2m_bpe", "m2m_unigram", "mbart_json", "nllb_json",
                           "nllb_legacy_json", "nllb_saved"}) {
    const auto& golden = numbered_pieces()["tokenizers"][name];
    const TemporaryFolder folder;
    const TranslationTokens tokens = tokens_of(name, folder);
    const Route route{golden["source"], golden["target"]};
    tokens.check(route);
    const auto full = golden["full"].get<std::vector<Ids>>();
    const auto decoded = golden["decoded"].get<std::vector<std::string>>();
    int compared = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      if (full[i].size() > 2) {
        Ids found;
        try {
          found = tokens.source(texts[i], route, true);
        } catch (const Error& error) {  // Slim's rule, not Transformers'
          EXPECT_EQ(error.text(), "The text has nothing but special tokens.");
          continue;
        }
        ASSERT_EQ(found, full[i]) << name << " " << texts[i];
        ++compared;
      } else {
        EXPECT_EQ(tokens.source(texts[i], route, true), Ids()) << name << " " << i;
      }
      EXPECT_EQ(tokens.text(full[i]), decoded[i]) << name << " " << i;
    }
    EXPECT_GT(compared, 80);
    EXPECT_EQ(tokens.begin(route), (Ids{2, golden["forced"].get<int32_t>()})) << name;
    EXPECT_EQ(tokens.ends(), Ids{2});
  }
}

TEST(TranslationTokens, StartWithTheLanguageWhereTheConfigNamesOne) {
  const TemporaryFolder folder;
  const auto& golden = numbered_pieces()["tokenizers"]["mbart"];
  const Route route{"en_XX", "ro_RO"};
  const auto forced = golden["forced"].get<int32_t>();
  const std::string named =
      R"({"eos_token_id": 2, "decoder_start_token_id": )" + std::to_string(forced - 1) + "}";
  EXPECT_EQ(tokens_of("mbart", folder, named).begin(route), Ids{forced});
  EXPECT_EQ(tokens_of("mbart", folder, R"({"eos_token_id": 2})").begin(route), Ids{forced});
}

TEST(TranslationTokens, NameTheTargetInFrontOfAText) {
  const TemporaryFolder folder;
  const TranslationTokens tokens = tokens_of("marian", folder);
  EXPECT_EQ(tokens.languages(), (std::vector<std::string>{"fra", "deu"}));
  const auto tokenizer = Tokenizer::load(folder.path());
  const int32_t fra = tokenizer->id(">>fra<<").value();
  Ids expected = tokenizer->encode("the words", false, true);
  expected.insert(expected.begin(), fra);
  EXPECT_EQ(tokens.source("the words", {"", "fra"}, false), expected);
  EXPECT_EQ(tokens.source(">>fra<< the words", {}, false), expected);
  EXPECT_EQ(tokens.begin({"", "fra"}), Ids{2});
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"target language is missing", "fra, deu"},
                         [&] { tokens.source("the words", {}, false); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"zzz", "none of the model's", "fra, deu"},
                         [&] { tokens.source(">>zzz<< the words", {}, false); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"xx", "none of the model's", "fra, deu"}, [&] {
    tokens.check({"", "xx"});
  }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"en", "leave it out"}, [&] {
    tokens.check({"en", "fra"});
  }));
}

TEST(TranslationTokens, KnowTheSourceBesideTargets) {
  const TemporaryFolder folder;
  folder.write("tokenizer_config.json", R"({"source_lang": "en", "target_lang": "roa"})");
  const TranslationTokens tokens = tokens_of("marian", folder);
  tokens.check({"en", "fra"});
  tokens.check({"", "fra"});
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"de", "reads en alone"}, [&] {
    tokens.check({"de", "fra"});
  }));
}

TEST(TranslationTokens, HaveVocabulariesForBothSides) {
  const TemporaryFolder folder;
  const auto& golden = numbered_pieces()["tokenizers"]["marian_apart"];
  write_files(golden, folder);
  folder.write("config.json", kConfig);
  const auto source = Tokenizer::load(folder.path());
  const auto target = Tokenizer::load_target(folder.path());
  const TranslationTokens tokens(source, TranslationFiles::read(folder.path()), 100000, target);
  const std::string text = "the words of a text";
  Ids read = source->encode(text, false, true);
  read.insert(read.begin(), source->id(">>fra<<").value());
  EXPECT_EQ(tokens.source(text, {"", "fra"}, false), read);
  EXPECT_EQ(tokens.target(text), target->encode(text));
  EXPECT_NE(tokens.target(text), source->encode(text));
  EXPECT_EQ(tokens.text(target->encode(text)), text);
  EXPECT_EQ(tokens.target_tokenizer(), target);
}

TEST(TranslationTokens, PutATasksPrefixInFrontOfAText) {
  const TemporaryFolder folder;
  const TranslationTokens tokens = tokens_of("t5", folder, R"({"decoder_start_token_id": 0,
      "eos_token_id": 1, "task_specific_params": {"summarization": {"prefix": "summarize: "},
      "translation_en_to_de": {"prefix": "translate English to German: "}}})");
  const auto tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokens.source("the words", {"en", "de"}, false),
            tokenizer->encode("translate English to German: the words", false, true));
  EXPECT_EQ(tokens.source("the words", {}, false), tokenizer->encode("the words", false, true));
  EXPECT_EQ(tokens.source("", {"en", "de"}, false), Ids());
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"de to en", "en to de"}, [&] {
    tokens.check({"de", "en"});
  }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"is missing", "en to de"}, [&] {
    tokens.check({"en", ""});
  }));
}

TEST(TranslationTokens, KnowABilingualModelsLanguages) {
  const TemporaryFolder folder;
  folder.write("tokenizer_config.json", R"({"source_lang": "en", "target_lang": "de"})");
  const TranslationTokens tokens = tokens_of("t5", folder);
  tokens.check({"en", "de"});
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"en to fr", "the model has en to de"}, [&] {
    tokens.check({"en", "fr"});
  }));
  const TemporaryFolder other;
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"no languages to choose from"}, [&] {
    tokens_of("bart_json", other).check({"en", "fr"});
  }));
}

TEST(TranslationTokens, RefuseWhatTheyCannotRead) {
  const TemporaryFolder folder;
  const TranslationTokens tokens = tokens_of("t5", folder);
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"not UTF-8", "byte 3"},
                         [&] { tokens.source("abc\xFFz", {}, false); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"target_prefix", "not UTF-8", "byte 1"},
                         [&] { tokens.target("x\xC3"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"nothing but special tokens"},
                         [&] { tokens.source("</s> <extra_id_3>", {}, true); }));
  EXPECT_EQ(tokens.source("", {}, true), Ids());
  EXPECT_EQ(tokens.source("  \t ", {}, true), Ids());
  // Models pad their vocabulary: such a token is no text.
  EXPECT_EQ(tokens.text({99999, 1}), "");
}

// Whether or not they are recognised: a text of them has nothing to translate.
TEST(TranslationTokens, RefuseSpecialTokensAlone) {
  for (const auto& [name, golden] : numbered_pieces()["tokenizers"].items()) {
    const TemporaryFolder folder;
    const TranslationTokens tokens = tokens_of(name, folder);
    const auto tokenizer = Tokenizer::load(folder.path());
    Route route;
    if (golden.contains("source")) route = {golden["source"], golden["target"]};
    if (name.starts_with("marian")) route.target = "fra";
    const auto refused = [&](const std::string& text) {
      return fails_with(ErrorCode::bad_request, {"nothing but special tokens"}, [&] {
        for (const bool specials : {true, false}) tokens.source(text, route, specials);
      });
    };
    int found = 0;
    for (int32_t id = 0; id < tokenizer->size(); ++id) {
      if (!tokenizer->has(id) || !tokenizer->special(id)) continue;
      const std::string one(tokenizer->content(id));
      EXPECT_TRUE(refused(one)) << name << " " << one;
      EXPECT_TRUE(refused(" " + one + "  " + one + "\t</s>")) << name << " " << one;
      for (const std::string& text : {one + " words", "words " + one, "words" + one + "words"}) {
        for (const bool specials : {true, false}) {
          EXPECT_FALSE(tokens.source(text, route, specials).empty()) << name << " " << text;
        }
      }
      ++found;
    }
    EXPECT_GE(found, 3) << name;
  }
}

TEST(TranslationTokens, RefuseATargetWithoutWords) {
  const TemporaryFolder folder;
  const TranslationTokens tokens = tokens_of("marian", folder);
  for (const Route& route : {Route{}, Route{"", "deu"}}) {
    for (const char* text : {">>fra<<", " >>fra<<", ">>fra<< >>deu<<", ">>fra<< </s>", "</s>",
                             ">>fra<<\t<unk><pad> \u3000"}) {
      EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"nothing but special tokens"}, [&] {
        tokens.source(text, route, false);
      })) << text;
    }
  }
  EXPECT_FALSE(tokens.source(">>zzz<<", {"", "deu"}, false).empty());
  EXPECT_FALSE(tokens.source("fra<<", {"", "deu"}, false).empty());
  EXPECT_EQ(tokens.source(" ", {"", "deu"}, false), Ids());
}

// A text of them is no text of special tokens, though its only token is one: Transformers goes on.
TEST(TranslationTokens, GoOnWithUnknownCharacters) {
  for (const char* name : {"t5", "mbart", "nllb_json"}) {
    const TemporaryFolder folder;
    const TranslationTokens tokens = tokens_of(name, folder);
    const auto& golden = numbered_pieces()["tokenizers"][name];
    Route route;
    if (golden.contains("source")) route = {golden["source"], golden["target"]};
    const int32_t unknown = Tokenizer::load(folder.path())->id("<unk>").value();
    const Ids found = tokens.source("\U0001F996", route, false);
    EXPECT_EQ(std::count(found.begin(), found.end(), unknown), 1) << name;
  }
}

TEST(TranslationTokens, RefuseFilesThatLeaveSomethingOpen) {
  const TemporaryFolder folder;
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {folder.path().string(), "decoder_start_token_id"},
                         [&] { tokens_of("t5", folder, "{}"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"config.json", "decoder_start_token_id"}, [&] {
    tokens_of("t5", folder, R"({"decoder_start_token_id": 100000})");
  }));
  const TemporaryFolder bytes;
  bytes.write("vocab.json", R"({"<s>": 0, "</s>": 1, "a": 2})");
  bytes.write("merges.txt", "");
  bytes.write("config.json", kConfig);
  EXPECT_ANY_THROW(
      TranslationTokens(Tokenizer::load(bytes.path()), TranslationFiles::read(bytes.path()), 100));
}

}  // namespace
}  // namespace slim
