// Text that is handed on is never taken back, whatever the cut into tokens.
#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "error_matchers.h"

namespace slim {
namespace {

std::shared_ptr<const Tokenizer> tokenizer() {
  static const auto loaded = Tokenizer::load(std::filesystem::path(SLIM_TEST_DATA) /
                                             "golden/text/tiny_gpt2_tokenizer.json");
  return loaded;
}

// One token for each byte: the finest cut there is.
std::vector<int32_t> byte_tokens(const std::string& text) {
  std::vector<int32_t> ids;
  for (const char byte : text) {
    const std::vector<int32_t> one = tokenizer()->encode(std::string(1, byte));
    ids.insert(ids.end(), one.begin(), one.end());
  }
  return ids;
}

struct Result {
  std::string text;
  std::string stop;
  std::vector<std::string> pieces;
};

Result stream(const std::vector<int32_t>& ids, const std::vector<std::string>& stops) {
  TextStream text(tokenizer(), stops);
  Result result;
  for (const int32_t id : ids) result.pieces.push_back(text.push(id));
  result.pieces.push_back(text.finish());
  for (const std::string& piece : result.pieces) result.text += piece;
  EXPECT_EQ(result.text, text.text());
  result.stop = text.stop();
  return result;
}

TEST(TextStream, WithoutStopsEverythingComesAtOnce) {
  const Result result = stream(byte_tokens("abc"), {});
  EXPECT_EQ(result.pieces, (std::vector<std::string>{"a", "b", "c", ""}));
}

TEST(TextStream, CharactersComeWhole) {
  const Result result = stream(byte_tokens("a\u00e9\U0001f600!"), {});
  EXPECT_EQ(result.pieces,
            (std::vector<std::string>{"a", "", "\u00e9", "", "", "", "\U0001f600", "!", ""}));
  EXPECT_EQ(stream(byte_tokens("x\xF0\x9F"), {}).text, "x\uFFFD");
}

TEST(TextStream, AStopStringAcrossTokensIsNeverShown) {
  const Result result = stream(byte_tokens("one\n\ntwo"), {"\n\n"});
  EXPECT_EQ(result.text, "one");
  EXPECT_EQ(result.stop, "\n\n");
  for (const std::string& piece : result.pieces) EXPECT_EQ(piece.find('\n'), std::string::npos);
}

TEST(TextStream, WhatWasHeldBackComesWhenItIsNoStop) {
  const Result result = stream(byte_tokens("a###b##"), {"####"});
  EXPECT_EQ(result.text, "a###b##");
  EXPECT_EQ(result.stop, "");
  EXPECT_EQ(result.pieces[3], "");
  EXPECT_EQ(result.pieces[4], "###b");
}

TEST(TextStream, AStopMayOverlapItself) {
  EXPECT_EQ(stream(byte_tokens("aabaabaac"), {"aabaac"}).text, "aab");
  EXPECT_EQ(stream(byte_tokens("xaaaa"), {"aaa"}).text, "x");
}

TEST(TextStream, AStopInsideACharacterSequenceIsFound) {
  const Result result = stream(byte_tokens("caf\u00e9 \u4f60\u597d end"), {"\u00e9 \u4f60"});
  EXPECT_EQ(result.text, "caf");
  EXPECT_EQ(result.stop, "\u00e9 \u4f60");
}

TEST(TextStream, TheStopCompleteFirstWins) {
  EXPECT_EQ(stream(byte_tokens("abcd"), {"abcd", "bc"}).stop, "bc");
  EXPECT_EQ(stream(byte_tokens("abcd"), {"bc", "abc", "c"}).stop, "abc");
}

// Against the definition, over random texts of few letters, in the finest cut and in the
// tokenizer's own.
TEST(TextStream, TheCutDoesNotMatter) {
  std::mt19937 random(5);
  const auto word = [&](size_t longest) {
    std::string text;
    for (size_t size = 1 + random() % longest; size > 0; --size) text += "ab "[random() % 3];
    return text;
  };
  for (int round = 0; round < 500; ++round) {
    const std::string text = word(30);
    const std::vector<std::string> stops = {word(5), word(4)};
    std::string expected = text;
    for (size_t end = 1; end <= text.size() && expected == text; ++end) {
      const std::string seen = text.substr(0, end);
      size_t cut = 0;
      for (const std::string& stop : stops) {
        if (seen.ends_with(stop)) cut = std::max(cut, stop.size());
      }
      if (cut > 0) expected = seen.substr(0, end - cut);
      if (cut > 0) break;
    }
    EXPECT_EQ(stream(byte_tokens(text), stops).text, expected) << text;
    EXPECT_EQ(stream(tokenizer()->encode(text), stops).text, expected) << text;
  }
}

TEST(TextStream, BadStopsAreRefused) {
  for (const std::string& stop : {std::string(), std::string("\xC3")}) {
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"stop"},
                           [&] { TextStream(tokenizer(), std::vector<std::string>{stop}); }));
  }
}

}  // namespace
}  // namespace slim
