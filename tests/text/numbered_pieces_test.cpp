// The tokenizers of encoder-decoder models against sentencepiece and Transformers: unigram and BPE,
// by tokenizer.json and by sentencepiece's files, under every numbering of pieces.
#include "numbered_pieces.h"

#include <gtest/gtest.h>

#include "error_matchers.h"
#include "text/template_strings.h"
#include "text/tokenizer.h"

namespace slim {
namespace {

using nlohmann::json;

std::string decoded(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  return strip_text(tokenizer.decode(ids), {}, true, true);
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// A special token's content in a text is text, unless specials are asked for. Of a tokenizer.json
// of pieces the library makes the token of it all the same.
bool is_text_alone(const std::string& name, const std::string& text) {
  const bool special = has(text, "</s>") || has(text, "<s>") || has(text, "<unk>") ||
                       has(text, "<pad>") || has(text, "<mask") || has(text, "<extra") ||
                       has(text, "<unk_") || has(text, "_XX") || has(text, "_Latn");
  return !(name.ends_with("_json") && special);
}

TEST(NumberedPieces, GiveTransformersIdsAndText) {
  const auto texts = numbered_pieces()["texts"].get<std::vector<std::string>>();
  ASSERT_EQ(numbered_pieces()["tokenizers"].size(), 17u);
  for (const auto& [name, golden] : numbered_pieces()["tokenizers"].items()) {
    const TemporaryFolder folder;
    write_files(golden, folder);
    const auto tokenizer = Tokenizer::load(folder.path());
    const auto plain = golden["plain"].get<std::vector<std::vector<int32_t>>>();
    const auto full = golden["full"].get<std::vector<std::vector<int32_t>>>();
    const auto text = golden["decoded"].get<std::vector<std::string>>();
    for (size_t i = 0; i < texts.size(); ++i) {
      if (is_text_alone(name, texts[i])) {
        ASSERT_EQ(tokenizer->encode(texts[i]), plain[i]) << name << " " << i << ": " << texts[i];
      }
      ASSERT_EQ(decoded(*tokenizer, full[i]), text[i]) << name << " " << i;
      if (golden.contains("source")) continue;  // engine/translation_tokens puts languages around
      // Never a second </s>, there.
      if (name.starts_with("t5") && texts[i].ends_with("</s>")) continue;
      ASSERT_EQ(tokenizer->encode(texts[i], true, true), full[i]) << name << " " << texts[i];
    }
  }
}

TEST(NumberedPieces, RefusesAVocabularyWithoutItsTokens) {
  const TemporaryFolder folder;
  write_files(numbered_pieces()["tokenizers"]["marian"], folder);
  folder.write("vocab.json", R"({"</s>": 0, "a": 1})");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"vocab.json", "'<unk>'"},
                         [&] { Tokenizer::load(folder.path()); }));
  write_files(numbered_pieces()["tokenizers"]["marian"], folder);
  folder.write("tokenizer_config.json", R"({"separate_vocabs": true})");
  EXPECT_TRUE(fails_with(ErrorCode::unsupported_model, {"tokenizer_config.json", "of their own"},
                         [&] { Tokenizer::load(folder.path()); }));
}

// Of BPE, pieces without an id could not be merged from or into.
TEST(NumberedPieces, RefusesBpePiecesWithoutAnId) {
  const TemporaryFolder folder;
  write_files(numbered_pieces()["tokenizers"]["m2m_bpe"], folder);
  folder.write("vocab.json", R"({"</s>": 0, "<unk>": 1})");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"sentencepiece.bpe.model", "without an id"},
                         [&] { Tokenizer::load(folder.path()); }));
}

}  // namespace
}  // namespace slim
