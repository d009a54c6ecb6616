// Sentencepiece models and GGUF vocabularies that are cut, hostile or of another kind: each gets a
// sentence.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <functional>

#include "error_matchers.h"
#include "golden_texts.h"
#include "text/gguf_vocabulary.h"
#include "text/piece_tokenizer.h"
#include "text/sentencepiece_model.h"

namespace slim {
namespace {

using Ids = std::vector<int32_t>;

std::string field(int number, const std::string& bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  for (size_t size = bytes.size();; size >>= 7) {
    out += static_cast<char>(size < 0x80 ? size : (size & 0x7F) | 0x80);
    if (size < 0x80) break;
  }
  return out + bytes;
}

std::string number(int field, int value) {
  std::string out;
  for (unsigned key = static_cast<unsigned>(field) << 3;; key >>= 7) {
    out += static_cast<char>(key < 0x80 ? key : (key & 0x7F) | 0x80);
    if (key < 0x80) break;
  }
  return out + static_cast<char>(value);
}

std::string piece(const std::string& content, float score, int kind) {
  const auto bits = std::bit_cast<uint32_t>(score);
  std::string bytes = field(1, content) + std::string(1, 0x15);
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(bits >> (8 * i));
  return field(1, bytes + number(3, kind));
}

const std::string kUnknown = piece("<unk>", 0, 2);
const std::string kBpe = field(2, number(3, 2));

std::shared_ptr<const Tokenizer> load(const std::string& bytes) {
  return std::make_shared<const Tokenizer>(
      make_piece_tokenizer(read_sentencepiece(bytes, "t.model"), "t.model"));
}

testing::AssertionResult bad(const std::string& bytes,
                             std::initializer_list<std::string_view> parts) {
  return fails_with(ErrorCode::bad_file, parts, [&] { load(bytes); });
}

testing::AssertionResult foreign(const std::string& bytes,
                                 std::initializer_list<std::string_view> parts) {
  return fails_with(ErrorCode::unsupported_model, parts, [&] { load(bytes); });
}

TEST(SentencepieceModel, TakesTheFileTheTestsChange) {
  const auto tokenizer = load(kUnknown + piece("a", -1, 1) + piece("aa", -2, 1) + kBpe);
  // The mark in front has no piece of its own.
  EXPECT_EQ(tokenizer->encode("aaab"), (Ids{0, 2, 1, 0}));
}

TEST(SentencepieceModel, RefusesOtherKinds) {
  const std::string pieces = kUnknown + piece("a", -1, 1);
  EXPECT_TRUE(foreign(pieces + field(2, number(3, 3)), {"t.model", "type 3"}));
  EXPECT_TRUE(foreign(pieces + field(2, number(3, 4)), {"type 4"}));
  EXPECT_TRUE(foreign(pieces + kBpe + field(3, number(5, 0)), {"treat spaces"}));
  EXPECT_TRUE(foreign(pieces + field(2, number(3, 2) + number(24, 1)), {"treat spaces"}));
  EXPECT_TRUE(foreign(piece("a", -1, 1) + kBpe, {"not every text can be encoded"}));
}

TEST(SentencepieceModel, RefusesMalformedPieces) {
  EXPECT_TRUE(bad(kBpe, {"t.model", "has no pieces"}));
  EXPECT_TRUE(bad(kUnknown + piece("", -1, 1) + kBpe, {"token 1", "1 to 1024 bytes"}));
  EXPECT_TRUE(bad(kUnknown + piece(std::string(1025, 'x'), -1, 1) + kBpe, {"token 1"}));
  EXPECT_TRUE(bad(kUnknown + piece("\xFF", -1, 1) + kBpe, {"token 1", "not UTF-8"}));
  EXPECT_TRUE(bad(kUnknown + piece("a", std::nanf(""), 1) + kBpe, {"token 1", "not a number"}));
  EXPECT_TRUE(bad(kUnknown + piece("a", INFINITY, 1) + kBpe, {"token 1", "not a number"}));
  EXPECT_TRUE(bad(kUnknown + piece("a", -1, 7) + kBpe, {"token 1", "a kind"}));
  EXPECT_TRUE(bad(kUnknown + piece("a", -1, 0) + kBpe, {"token 1", "a kind"}));
  EXPECT_TRUE(bad(kUnknown + kUnknown + kBpe, {"token 1", "same as another"}));
}

// A table of two units: one without children, and one that says that a text follows.
TEST(SentencepieceModel, RefusesMalformedTables) {
  const auto refuses = [](const std::string& table, const std::string& why) {
    return bad(kUnknown + kBpe + field(3, field(2, table)),
               {"t.model", "table of characters", why});
  };
  const std::string size("\x08\0\0\0", 4);
  const std::string root(4, '\0');
  EXPECT_TRUE(refuses("ab", "no size"));
  EXPECT_TRUE(refuses(size + root, "array takes 8"));
  EXPECT_TRUE(refuses(std::string("\x06\0\0\0", 4) + root + root, "array takes 6"));
  EXPECT_TRUE(refuses(size + root + root + "\xFF", "not UTF-8"));
  EXPECT_TRUE(refuses(size + root + std::string("\x61\x01\0\0", 4) + "x", "without a text"));
}

TEST(SentencepieceModel, RefusesMalformedMessages) {
  EXPECT_TRUE(bad("", {"has no pieces"}));
  EXPECT_TRUE(bad(std::string(1, '\0'), {"without a number"}));
  EXPECT_TRUE(bad("\x0B", {"wire type"}));
  EXPECT_TRUE(bad("\x0A", {"ends within"}));
  EXPECT_TRUE(bad("\x0A\x05zz", {"ends within"}));
  EXPECT_TRUE(bad("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", {"ends within"}));
  EXPECT_TRUE(bad("\x0A" + std::string(11, '\xFF'), {"64 bits"}));
  EXPECT_TRUE(bad("\x0D\x01\x02", {"ends within"}));
}

TEST(SentencepieceModel, SurvivesDamage) {
  std::ifstream file(golden_folder() / "pieces_llama.model", std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  for (size_t at = 0; at < whole.size(); at += 13) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x15);
    for (const std::string& bytes : {damaged, whole.substr(0, at)}) {
      try {
        const auto tokenizer = load(bytes);
        tokenizer->decode(tokenizer->encode("a b\n\xC3\xA9\xFF", true), true);
      } catch (const Error& error) {
        EXPECT_FALSE(error.text().empty());
        EXPECT_NE(error.code(), ErrorCode::internal) << error.what();
      }
    }
  }
}

GgufVocabulary pieces() {
  GgufVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.tokens = {"<unk>", "<s>", "a", "aa"};
  vocabulary.scores = {0, 0, -1, -2};
  vocabulary.token_types = {2, 3, 1, 1};
  vocabulary.unk = 0;
  vocabulary.bos = 1;
  return vocabulary;
}

testing::AssertionResult refuses(ErrorCode code, const std::function<void(GgufVocabulary&)>& change,
                                 std::initializer_list<std::string_view> parts) {
  GgufVocabulary vocabulary = pieces();
  change(vocabulary);
  return fails_with(code, parts, [&] { gguf_tokenizer(vocabulary, "m.gguf"); });
}

TEST(GgufVocabulary, TakesWhatTheTestsChange) {
  GgufVocabulary vocabulary = pieces();
  vocabulary.chat_template = "T";
  const auto tokenizer = gguf_tokenizer(vocabulary, "m.gguf");
  EXPECT_EQ(tokenizer->encode("aaa", false, true), (Ids{1, 0, 3, 2}));
  EXPECT_EQ(tokenizer->chat_template(), "T");
  // Kinds that are not given are told from the ids and contents.
  vocabulary.token_types.clear();
  const auto untyped = gguf_tokenizer(vocabulary, "m.gguf");
  EXPECT_EQ(untyped->encode("aaa", false, true), (Ids{1, 0, 3, 2}));
  EXPECT_TRUE(untyped->special(1));
}

TEST(GgufVocabulary, RefusesOtherKindsByName) {
  const auto other = ErrorCode::unsupported_model;
  using V = GgufVocabulary;
  EXPECT_TRUE(refuses(other, [](V& v) { v.model = "bert"; },
                      {"m.gguf, field 'tokenizer.ggml.model'", "'bert'"}));
  const auto pre = [](V& v) {
    v.model = "gpt2";
    v.pre = "viking";
  };
  EXPECT_TRUE(refuses(other, pre, {"field 'tokenizer.ggml.pre'", "'viking'"}));
}

TEST(GgufVocabulary, RefusesMalformedLists) {
  const auto file = ErrorCode::bad_file;
  using V = GgufVocabulary;
  EXPECT_TRUE(refuses(file, [](V& v) { v.tokens.clear(); }, {"tokenizer.ggml.tokens", "0 tokens"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.scores.pop_back(); }, {"tokenizer.ggml.scores", "4"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.scores.clear(); }, {"tokenizer.ggml.scores"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.scores[2] = std::nanf(""); }, {"token 2", "number"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.token_types.push_back(1); }, {"token_type", "4"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.token_types[2] = 9; }, {"token 2", "a kind"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.bos = 4; }, {"bos_token_id", "4"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.eos = -1; }, {"eos_token_id", "-1"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.unk = 99; }, {"unknown_token_id", "99"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.tokens[3] = "a"; }, {"token 3", "same as another"}));
  EXPECT_TRUE(refuses(file, [](V& v) { v.tokens[3] = "\xC3"; }, {"token 3", "UTF-8"}));
  const auto merges = [](V& v) {
    v.model = "gpt2";
    v.merges = {"a x"};
  };
  EXPECT_TRUE(refuses(file, merges, {"m.gguf", "Merge 0", "'x'"}));
}

TEST(Detokenizer, KeepsTheSpaceOfWhatContinues) {
  std::ifstream file(golden_folder() / "pieces_llama.model", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto tokenizer = load(bytes);
  const Ids ids = tokenizer->encode("the a\xF0\x9F\x98\x80");
  std::string start;
  std::string middle;
  Detokenizer first(tokenizer);
  Detokenizer second(tokenizer, true);
  for (const int32_t id : ids) {
    start += first.push(id);
    middle += second.push(id);
  }
  EXPECT_EQ(start + first.finish(), "the a\xF0\x9F\x98\x80");
  EXPECT_EQ(middle + second.finish(), " the a\xF0\x9F\x98\x80");
}

}  // namespace
}  // namespace slim
