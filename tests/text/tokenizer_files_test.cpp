// Tokenizers from model folders: which files count, and what the files beside them add.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "error_matchers.h"
#include "golden_texts.h"
#include "temporary_folder.h"
#include "text/tokenizer.h"

namespace slim {
namespace {

using Ids = std::vector<int32_t>;
using nlohmann::json;

std::string bytes_of(const std::string& golden) {
  std::ifstream file(golden_folder() / golden, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TokenizerFiles, PrefersTokenizerJson) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", bytes_of("pieces_llama.model"));
  EXPECT_EQ(Tokenizer::load(folder.path())->size(), 600);
  folder.write("tokenizer.json", bytes_of("tiny_gpt2_tokenizer.json"));
  EXPECT_EQ(Tokenizer::load(folder.path())->size(), 601);
}

TEST(TokenizerFiles, NamesAFolderWithoutATokenizer) {
  const TemporaryFolder folder;
  folder.write("vocab.json", "{}");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {folder.path().string(), "tokenizer.model"},
                         [&] { Tokenizer::load(folder.path()); }));
}

TEST(TokenizerFiles, ReadsSpecialTokensAndTemplate) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", bytes_of("tiny_gpt2_tokenizer.json"));
  const auto plain = Tokenizer::load(folder.path());
  EXPECT_FALSE(plain->bos() || plain->eos() || plain->chat_template());
  EXPECT_EQ(plain->encode("a", false, true), plain->encode("a"));
  folder.write("tokenizer_config.json", R"({"bos_token": {"content": "<|endoftext|>"},
      "eos_token": "<|endoftext|>", "add_bos_token": true, "add_eos_token": false,
      "chat_template": "T"})");
  const auto tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer->bos(), 600);
  EXPECT_EQ(tokenizer->eos(), 600);
  EXPECT_EQ(tokenizer->content(600), "<|endoftext|>");
  EXPECT_EQ(tokenizer->chat_template(), "T");
  EXPECT_EQ(tokenizer->encode("a", false, true), (Ids{600, tokenizer->encode("a")[0]}));
  EXPECT_EQ(tokenizer->encode("", false, true), Ids{600});
  folder.write("tokenizer_config.json",
               R"({"chat_template": [{"name": "rag", "template": "R"},
                                     {"name": "default", "template": "D"}]})");
  folder.write("special_tokens_map.json", R"({"eos_token": "<|endoftext|>"})");
  EXPECT_EQ(Tokenizer::load(folder.path())->chat_template(), "D");
  EXPECT_EQ(Tokenizer::load(folder.path())->eos(), 600);
  folder.write("chat_template.json", R"({"chat_template": "J"})");
  EXPECT_EQ(Tokenizer::load(folder.path())->chat_template(), "J");
  folder.write("chat_template.jinja", "F\n");
  EXPECT_EQ(Tokenizer::load(folder.path())->chat_template(), "F\n");
}

TEST(TokenizerFiles, ReadsGpt2sPairOfFiles) {
  const json document = json::parse(bytes_of("tiny_gpt2_tokenizer.json"));
  json vocabulary = document["model"]["vocab"];
  vocabulary["<|endoftext|>"] = 600;
  std::string merges = "#version: 0.2\n";
  for (const json& merge : document["model"]["merges"]) merges += merge.get<std::string>() + "\r\n";
  const TemporaryFolder folder;
  folder.write("vocab.json", vocabulary.dump());
  folder.write("merges.txt", merges);
  folder.write("tokenizer_config.json", R"({"eos_token": "<|endoftext|>", "added_tokens_decoder":
      {"601": {"content": "<tool>", "special": false, "rstrip": true}}})");
  const auto tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer->size(), 602);
  EXPECT_TRUE(tokenizer->special(600));
  EXPECT_EQ(tokenizer->encode("<|endoftext|><tool>  a", true),
            (Ids{600, 601, tokenizer->encode("a")[0]}));
  const auto texts = golden_texts();
  const auto golden = golden_ids("tiny_gpt2");
  for (size_t i = 0; i < texts.size(); i += 7) {
    if (texts[i].find("<tool>") != std::string::npos) continue;
    ASSERT_EQ(tokenizer->encode(texts[i]), golden[i].plain) << texts[i];
  }
  folder.write("merges.txt", "a\n");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"vocab.json", "Merge 0"},
                         [&] { Tokenizer::load(folder.path()); }));
}

TEST(TokenizerFiles, AddsTokensToPieces) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", bytes_of("pieces_llama.model"));
  folder.write("added_tokens.json", R"({"<|im_start|>": 600, "<s>": 1})");
  const auto first = Tokenizer::load(folder.path());
  const int32_t a = first->id("\xE2\x96\x81\x61").value();
  EXPECT_EQ(first->encode("a<|im_start|>", false, true), (Ids{1, a, 600}));
  // Without a space after a special token, and with one where the model was made for it.
  EXPECT_EQ(first->encode("<s>a", true), (Ids{1, first->id("a").value()}));
  folder.write("tokenizer_config.json", R"({"legacy": true, "add_bos_token": false})");
  const auto legacy = Tokenizer::load(folder.path());
  EXPECT_EQ(legacy->encode("<s>a", true, true), (Ids{1, a}));
}

TEST(TokenizerFiles, RefusesMalformedNeighbours) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", bytes_of("tiny_gpt2_tokenizer.json"));
  const auto refuses = [&](const std::string& name, const std::string& text,
                           std::initializer_list<std::string_view> parts) {
    const auto path = folder.write(name, text);
    const auto result =
        fails_with(ErrorCode::bad_file, parts, [&] { Tokenizer::load(folder.path()); });
    std::filesystem::remove(path);
    return result;
  };
  EXPECT_TRUE(refuses("tokenizer_config.json", "{", {"tokenizer_config.json"}));
  EXPECT_TRUE(refuses("tokenizer_config.json", R"({"bos_token": 3})", {"field 'bos_token'"}));
  EXPECT_TRUE(refuses("tokenizer_config.json", R"({"add_bos_token": 1})", {"'add_bos_token'"}));
  EXPECT_TRUE(refuses("tokenizer_config.json", R"({"chat_template": 1})", {"'chat_template'"}));
  EXPECT_TRUE(refuses("tokenizer_config.json",
                      R"({"added_tokens_decoder": {"-1": {"content": "x"}}})", {"is no id"}));
  EXPECT_TRUE(refuses("special_tokens_map.json", "[]", {"special_tokens_map.json"}));
  EXPECT_TRUE(refuses("added_tokens.json", R"({"x": -1})", {"added_tokens.json", "'x'"}));
  EXPECT_TRUE(refuses("chat_template.jinja", "\xFF", {"chat_template.jinja", "UTF-8"}));
  EXPECT_TRUE(refuses("chat_template.json", "{\"chat_template\": 3}", {"chat_template.json"}));
}

// A real model of 8,192 tokens, if it is there: the ids are those of the `tokenizers` library.
TEST(RealModelTokenizer, GivesTheLibrarysIds) {
  const auto folder = std::filesystem::path(SLIM_MODELS) / "pycode-30m";
  if (!std::filesystem::exists(folder / "tokenizer.json")) GTEST_SKIP() << "the model is not there";
  const auto tokenizer = Tokenizer::load(folder);
  EXPECT_EQ(tokenizer->size(), 8192);
  EXPECT_EQ(tokenizer->eos(), 0);
  EXPECT_EQ(tokenizer->encode("def main(argv=None):\n    return 0\n"),
            (Ids{321, 4011, 8, 8146, 29, 774, 307, 266, 356, 345, 199}));
  EXPECT_EQ(tokenizer->encode("    x = [i ** 2 for i in range(10)]  # caf\xC3\xA9"),
            (Ids{259,  458, 273, 381,  73,  723, 416, 358, 278, 300,
                 1038, 8,   682, 1387, 221, 316, 840, 70,  128, 103}));
  EXPECT_EQ(tokenizer->encode(" <|endoftext|>", true), (Ids{221, 0}));
  if (!std::filesystem::exists(folder / "heldout.txt")) return;
  std::ifstream file(folder / "heldout.txt", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const Ids ids = tokenizer->encode(text, true);  // it names special tokens
  ASSERT_EQ(ids.size(), 35224u);
  int64_t sum = 0;  // weights by position show an exchange
  for (size_t i = 0; i < ids.size(); ++i) sum += ids[i] * static_cast<int64_t>(i % 97 + 1);
  EXPECT_EQ(sum % 1000003, 907358);
  EXPECT_EQ(tokenizer->decode(ids, true), text);
}

}  // namespace
}  // namespace slim
