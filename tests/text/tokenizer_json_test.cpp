// Malformed and foreign tokenizer.json files: each gets a sentence that names file and field.
#include "text/tokenizer_json.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "error_matchers.h"
#include "golden_texts.h"
#include "temporary_folder.h"

namespace slim {
namespace {

using nlohmann::json;

json valid() {
  std::ifstream file(golden_folder() / "tiny_gpt2_tokenizer.json");
  return json::parse(file);
}

// Changes one value of a valid file (by JSON pointer) and expects an Error with these words.
testing::AssertionResult changed(ErrorCode code, const std::string& pointer, const json& value,
                                 std::initializer_list<std::string_view> parts) {
  json document = valid();
  document[json::json_pointer(pointer)] = value;
  return fails_with(code, parts, [&] { parse_tokenizer(document.dump(), "t.json"); });
}

testing::AssertionResult bad(const std::string& pointer, const json& value,
                             std::initializer_list<std::string_view> parts) {
  return changed(ErrorCode::bad_file, pointer, value, parts);
}

testing::AssertionResult foreign(const std::string& pointer, const json& value,
                                 std::initializer_list<std::string_view> parts) {
  return changed(ErrorCode::unsupported_model, pointer, value, parts);
}

TEST(TokenizerJson, TakesTheValidFileTheTestsChange) {
  EXPECT_EQ(parse_tokenizer(valid().dump(), "t.json")->size(), 601);
}

TEST(TokenizerJson, RefusesOtherKindsByName) {
  EXPECT_TRUE(foreign("/normalizer", {{"type", "Nmt"}}, {"t.json, field 'normalizer'", "'Nmt'"}));
  EXPECT_TRUE(
      foreign("/pre_tokenizer", {{"type", "Whitespace"}}, {"pre_tokenizer", "'Whitespace'"}));
  EXPECT_TRUE(foreign("/pre_tokenizer", nullptr, {"field 'model.vocab'", "not every text"}));
  EXPECT_TRUE(foreign("/decoder/type", "WordPiece", {"field 'decoder'", "'WordPiece'"}));
  EXPECT_TRUE(foreign("/decoder", nullptr, {"field 'decoder'"}));
  EXPECT_TRUE(
      foreign("/post_processor", {{"type", "Other"}}, {"field 'post_processor'", "'Other'"}));
  EXPECT_TRUE(foreign("/model/type", "Unigram", {"field 'model.type'", "'Unigram'"}));  // of bytes
  EXPECT_TRUE(foreign("/model/type", "WordPiece", {"field 'model.type'", "'WordPiece'"}));
  EXPECT_TRUE(foreign("/model/dropout", 0.1, {"field 'model.dropout'"}));
  EXPECT_TRUE(foreign("/model/end_of_word_suffix", "</w>", {"model.end_of_word_suffix"}));
  EXPECT_TRUE(foreign("/model/continuing_subword_prefix", "##", {"continuing_subword_prefix"}));
}

json sequence(const char* list, std::initializer_list<json> parts) {
  return {{"type", "Sequence"}, {list, json(parts)}};
}

json split(const std::string& expression) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", expression}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

TEST(TokenizerJson, NamesTheComponentWithinASequence) {
  const json bytes = valid()["pre_tokenizer"];
  EXPECT_TRUE(foreign("/normalizer",
                      sequence("normalizers", {{{"type", "NFC"}}, {{"type", "Nmt"}}}),
                      {"field 'normalizer.normalizers[1]'", "'Nmt'"}));
  EXPECT_TRUE(foreign("/pre_tokenizer", sequence("pretokenizers", {bytes, split("a")}),
                      {"field 'pre_tokenizer.pretokenizers[1]'", "follow 'ByteLevel'"}));
  EXPECT_TRUE(foreign("/decoder", sequence("decoders", {{{"type", "Fuse"}}, {{"type", "CTC"}}}),
                      {"field 'decoder.decoders[1]'", "'CTC'"}));
  json nested = {{"type", "NFC"}};
  for (int i = 0; i < 10; ++i) nested = sequence("normalizers", {nested});
  EXPECT_TRUE(foreign("/normalizer", nested, {"nested too deep"}));
}

TEST(TokenizerJson, RefusesExpressionsThatMeanSomethingElseHere) {
  const json bytes = valid()["pre_tokenizer"];
  for (const char* expression :
       {"(", "[", "[a", "a{2}+b", "(?m:a.b)", "[a[^b]]", "[a&&b]", "[[:alpha:]]", R"(\1)", R"(\K)",
        R"([\W])", R"(\u12)", R"(\R)", "(?P<n>a)", "(?", "(*COMMIT)a"}) {
    EXPECT_TRUE(foreign("/pre_tokenizer", sequence("pretokenizers", {split(expression), bytes}),
                        {"field 'pre_tokenizer.pretokenizers[0].pattern'", expression}))
        << expression;
  }
}

TEST(TokenizerJson, RefusesMalformedVocabularies) {
  EXPECT_TRUE(bad("/model", nullptr, {"t.json, field 'model'", "missing"}));
  EXPECT_TRUE(bad("/model/vocab", json::array(), {"field 'model.vocab'"}));
  EXPECT_TRUE(bad("/model/vocab/a", -1, {"field 'model.vocab.a'"}));
  EXPECT_TRUE(bad("/model/vocab/a", 1 << 20, {"field 'model.vocab.a'"}));
  EXPECT_TRUE(bad("/model/vocab/a", 1.5, {"field 'model.vocab.a'"}));
  EXPECT_TRUE(bad("/model/vocab/a", "1", {"field 'model.vocab.a'"}));
  const int other = valid()["model"]["vocab"]["b"].get<int>();
  EXPECT_TRUE(bad("/model/vocab/a", other, {"field 'model.vocab.", std::to_string(other)}));
}

TEST(TokenizerJson, RefusesMalformedMerges) {
  EXPECT_TRUE(bad("/model/merges", nullptr, {"field 'model.merges'", "missing"}));
  EXPECT_TRUE(bad("/model/merges", "a b", {"field 'model.merges'"}));
  for (const json& merge : {json("ab"), json("a"), json(" a"), json("a "), json(""), json(7),
                            json({"a"}), json({"a", "b", "c"}), json({"a", 1}), json({"", "a"}),
                            json::array(), json("a b c"), json(nullptr)}) {
    EXPECT_TRUE(bad("/model/merges/1", merge, {"t.json, field 'model.merges[1]'"})) << merge;
  }
  EXPECT_TRUE(bad("/model/merges/1", "a nosuch", {"field 'model.merges[1]'", "'nosuch'"}));
  EXPECT_TRUE(bad("/model/merges/1", "! !", {"field 'model.merges[1]'", "'!!'"}));
  EXPECT_TRUE(bad("/model/merges/1", valid()["model"]["merges"][0], {"merges[1]", "repeats"}));
}

TEST(TokenizerJson, RefusesMalformedAddedTokens) {
  const std::string token = "/added_tokens/0/";
  EXPECT_TRUE(bad("/added_tokens", 3, {"field 'added_tokens'"}));
  EXPECT_TRUE(bad("/added_tokens/0", 3, {"field 'added_tokens[0]'"}));
  EXPECT_TRUE(bad(token + "id", -1, {"field 'added_tokens[0].id'"}));
  EXPECT_TRUE(bad(token + "id", 0, {"field 'added_tokens[0].id'"}));
  EXPECT_TRUE(bad(token + "id", 1 << 20, {"field 'added_tokens[0].id'"}));
  EXPECT_TRUE(bad(token + "content", "", {"field 'added_tokens[0].content'"}));
  EXPECT_TRUE(bad(token + "content", std::string(1025, 'x'), {"added_tokens[0].content'"}));
  EXPECT_TRUE(bad(token + "content", "a", {"field 'added_tokens[0].id'"}));
  for (const char* flag : {"special", "single_word", "lstrip", "rstrip", "normalized"}) {
    EXPECT_TRUE(bad(token + flag, nullptr, {"field 'added_tokens[0].", flag}));
  }
  json twice = valid()["added_tokens"];
  twice.push_back(twice[0]);
  EXPECT_TRUE(bad("/added_tokens", twice, {"field 'added_tokens[1].id'", "two added tokens"}));
}

TEST(TokenizerJson, RefusesWhatIsNoTokenizer) {
  const TemporaryFolder folder;
  for (const char* text :
       {"", "{", "[]", "{}", "\xFF", "{\"model\": {\"vocab\": {\"a\": 0, \"a\": 1}}}"}) {
    const auto path = folder.write("tokenizer.json", text);
    try {
      Tokenizer::load(path);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(error.place().find(path.string()), std::string::npos) << error.what();
    }
  }
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"nowhere.json"},
                         [&] { Tokenizer::load(folder.path() / "nowhere.json"); }));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {folder.path().string()},
                         [&] { Tokenizer::load(folder.path()); }));
}

// A file cut anywhere, or with a byte changed, must load or throw an Error, and never more.
TEST(TokenizerJson, SurvivesDamage) {
  const std::string whole = valid().dump();
  for (size_t size = 0; size < whole.size(); size += 97) {
    EXPECT_THROW(parse_tokenizer(whole.substr(0, size), "t.json"), Error);
  }
  for (size_t at = 0; at < whole.size(); at += 31) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x11);
    try {
      const auto tokenizer = parse_tokenizer(damaged, "t.json");
      EXPECT_EQ(tokenizer->decode(tokenizer->encode("a b")).back(), 'b');
    } catch (const Error& error) {
      EXPECT_FALSE(error.text().empty());
    }
  }
}

TEST(TokenizerJson, AllowsGapsBetweenIds) {
  json document = valid();
  document["added_tokens"][0]["id"] = 700;
  const auto tokenizer = parse_tokenizer(document.dump(), "t.json");
  EXPECT_EQ(tokenizer->size(), 701);
  EXPECT_EQ(tokenizer->encode("<|endoftext|>", true), std::vector<int32_t>{700});
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"650"}, [&] { tokenizer->bytes(650); }));
}

}  // namespace
}  // namespace slim
