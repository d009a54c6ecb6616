// The tokenizers of encoder-decoder models against sentencepiece and Transformers: unigram and BPE,
// by tokenizer.json and by sentencepiece's files, under every numbering of pieces.
#include "numbered_pieces.h"

#include <gtest/gtest.h>

#include "error_matchers.h"
#include "text/golden_texts.h"
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
  ASSERT_EQ(numbered_pieces()["tokenizers"].size(), 18u);
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
      if (name != "marian_apart") {  // ids of the source are others in the target
        ASSERT_EQ(decoded(*tokenizer, full[i]), text[i]) << name << " " << i;
      }
      if (golden.contains("source")) continue;  // engine/translation_tokens puts languages around
      // Never a second </s>, there.
      if (name.starts_with("t5") && texts[i].ends_with("</s>")) continue;
      ASSERT_EQ(tokenizer->encode(texts[i], true, true), full[i]) << name << " " << texts[i];
    }
  }
}

// Marian writes in other pieces than it reads, which may have ids of their own.
TEST(NumberedPieces, GiveTransformersIdsOfTargets) {
  const auto texts = numbered_pieces()["texts"].get<std::vector<std::string>>();
  for (const char* name : {"marian", "marian_apart"}) {
    const json& golden = numbered_pieces()["tokenizers"][name];
    const TemporaryFolder folder;
    write_files(golden, folder);
    const auto tokenizer = Tokenizer::load_target(folder.path());
    const auto written = golden["written"].get<std::vector<std::vector<int32_t>>>();
    const auto text = golden["read_back"].get<std::vector<std::string>>();
    ASSERT_NE(written, golden["plain"].get<std::vector<std::vector<int32_t>>>());
    for (size_t i = 0; i < texts.size(); ++i) {
      ASSERT_EQ(tokenizer->encode(texts[i]), written[i]) << name << " " << i << ": " << texts[i];
      // Bytes that the vocabulary lacks leave parts of characters.
      if (has(text[i], "\xEF\xBF\xBD")) continue;
      ASSERT_EQ(decoded(*tokenizer, written[i]), text[i]) << name << " " << i;
    }
  }
  const TemporaryFolder folder;
  write_files(numbered_pieces()["tokenizers"]["t5"], folder);
  EXPECT_EQ(Tokenizer::load_target(folder.path()), nullptr);
}

// FNV-1a, as the script that made them has it.
class Digest {
 public:
  void add(const std::vector<int32_t>& ids) {
    add(static_cast<uint32_t>(ids.size()));
    for (const int32_t id : ids) add(static_cast<uint32_t>(id));
  }
  uint32_t take() { return std::exchange(value_, kStart); }

 private:
  static constexpr uint32_t kStart = 0x811C9DC5;
  void add(uint32_t number) {
    for (int byte = 0; byte < 4; ++byte) {
      value_ = (value_ ^ (number >> 8 * byte & 0xFF)) * 0x01000193;
    }
  }
  uint32_t value_ = kStart;
};

TEST(NumberedPieces, GiveTransformersIdsOfFiveThousandTexts) {
  const std::vector<std::string> texts = golden_texts();
  ASSERT_EQ(texts.size(), 5000u);
  const auto block = numbered_pieces()["block"].get<size_t>();
  for (const auto& [name, golden] : numbered_pieces()["tokenizers"].items()) {
    const TemporaryFolder folder;
    write_files(golden, folder);
    const auto tokenizer = Tokenizer::load(folder.path());
    const auto target = Tokenizer::load_target(folder.path());
    const auto digests = golden["digests"].get<std::vector<uint32_t>>();
    ASSERT_EQ(digests.size(), texts.size() / block);
    Digest digest;
    for (size_t i = 0; i < texts.size(); ++i) {
      digest.add(tokenizer->encode(texts[i]));
      if (target != nullptr) digest.add(target->encode(texts[i]));
      if (!golden.contains("source")) digest.add(tokenizer->encode(texts[i], true, true));
      if ((i + 1) % block != 0) continue;
      EXPECT_EQ(digest.take(), digests[i / block]) << name << ": texts before " << i;
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
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"target_vocab.json"},
                         [&] { Tokenizer::load_target(folder.path()); }));
}

// Pieces say no ids, and those of another numbering would be read as other words.
TEST(NumberedPieces, RefusesPiecesThatNothingNumbers) {
  const auto refused = [](const char* name, const char* missing,
                          std::initializer_list<std::string_view> parts) {
    const TemporaryFolder folder;
    write_files(numbered_pieces()["tokenizers"][name], folder);
    std::filesystem::remove(folder.path() / missing);
    return fails_with(ErrorCode::bad_file, parts, [&] { Tokenizer::load(folder.path()); });
  };
  EXPECT_TRUE(refused("marian", "vocab.json", {"source.spm", "vocab.json: there is none"}));
  EXPECT_TRUE(refused("m2m_bpe", "vocab.json", {"sentencepiece.bpe.model", "there is neither"}));
  EXPECT_TRUE(refused("mbart", "special_tokens_map.json", {"languages", "there is neither"}));
  const TemporaryFolder folder;  // as published: it names its languages
  write_files(numbered_pieces()["tokenizers"]["m2m_bpe"], folder);
  folder.write("special_tokens_map.json", R"({"additional_special_tokens": ["__af__", "__am__"]})");
  Tokenizer::load(folder.path());
  std::filesystem::remove(folder.path() / "vocab.json");
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"sentencepiece.bpe.model", "there is none"},
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
