// Detokenizer and valid_utf8: whole characters only, replacements as Python makes them.
#include <gtest/gtest.h>

#include <array>

#include "error_matchers.h"
#include "golden_texts.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace slim {
namespace {

std::shared_ptr<const Tokenizer> tiny() {
  return Tokenizer::load(golden_folder() / "tiny_whisper_tokenizer.json");
}

std::string stream(const std::shared_ptr<const Tokenizer>& tokenizer,
                   const std::vector<int32_t>& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const int32_t id : ids) {
    const std::string piece = detokenizer.push(id);
    EXPECT_EQ(utf8_prefix(piece), piece.size());
    text += piece;
  }
  return text + detokenizer.finish();
}

// The values are Python 3.11's bytes.decode(errors="replace"), with ? for U+FFFD.
TEST(ValidUtf8, ReplacesAsPythonDoes) {
  struct Case {
    std::string bytes, text;
  };
  const std::array<Case, 20> cases{{{"", ""},
                                    {"a\xC3\xA9z", "a\xC3\xA9z"},
                                    {"\x80", "?"},
                                    {"\xBF\xBF", "??"},
                                    {"\xC0\xAF", "??"},
                                    {"\xC1\xBF", "??"},
                                    {"\xC3", "?"},
                                    {"\xC3(", "?("},
                                    {"\xE2\x82", "?"},
                                    {"\xE2\x82z", "?z"},
                                    {"\xE2\x28\xA1", "?(?"},
                                    {"\xE0\x80\x80", "???"},
                                    {"\xE0\x9F\xBF", "???"},
                                    {"\xED\xA0\x80", "???"},
                                    {"\xED\xBF\xBF", "???"},
                                    {"\xF0\x90\x80", "?"},
                                    {"\xF0\x80\x80\x80", "????"},
                                    {"\xF4\x90\x80\x80", "????"},
                                    {"\xF5\x80", "??"},
                                    {"\xF0\x9F\x98\xF0\x9F\x98\x80\xFF", "?\xF0\x9F\x98\x80?"}}};
  for (const Case& c : cases) {
    std::string expected;
    for (const char byte : c.text) {
      byte == '?' ? expected += kReplacement : expected += byte;
    }
    EXPECT_EQ(valid_utf8(c.bytes), expected) << testing::PrintToString(c.bytes);
    // Byte by byte it is the same text.
    const auto tokenizer = tiny();
    std::vector<int32_t> ids;
    for (const char byte : c.bytes) {
      ids.push_back(tokenizer->id(byte_symbol(static_cast<uint8_t>(byte))).value());
    }
    EXPECT_EQ(stream(tokenizer, ids), expected) << testing::PrintToString(c.bytes);
  }
}

TEST(Detokenizer, StreamsWhatDecodeGives) {
  const auto tokenizer = tiny();
  for (const GoldenIds& ids : golden_ids("tiny_whisper")) {
    ASSERT_EQ(stream(tokenizer, ids.specials), valid_utf8(tokenizer->decode(ids.specials)));
  }
  // Ids cut anywhere end in the same replacement.
  const auto ids = tokenizer->encode("\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80 \xE4\xB8\x96");
  for (size_t size = 0; size <= ids.size(); ++size) {
    const std::vector<int32_t> cut(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_EQ(stream(tokenizer, cut), valid_utf8(tokenizer->decode(cut)));
  }
}

TEST(Detokenizer, HoldsBackHalfACharacter) {
  const auto tokenizer = tiny();
  const auto id = [&](uint8_t byte) { return tokenizer->id(byte_symbol(byte)).value(); };
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(id('a')), "a");
  EXPECT_EQ(detokenizer.push(id(0xC3)), "");
  EXPECT_EQ(detokenizer.push(tokenizer->id("<|endoftext|>").value()), "");
  EXPECT_EQ(detokenizer.push(id(0xA9)), "\xC3\xA9");
  EXPECT_EQ(detokenizer.push(id(0xF0)), "");
  EXPECT_EQ(detokenizer.finish(), kReplacement);
  EXPECT_EQ(detokenizer.finish(), "");
  EXPECT_TRUE(fails_with(ErrorCode::bad_request, {"99999"}, [&] { detokenizer.push(99999); }));
}

TEST(ByteAlphabet, IsABijection) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string symbol = byte_symbol(static_cast<uint8_t>(byte));
    EXPECT_EQ(alphabet_bytes(symbol), std::string(1, static_cast<char>(byte)));
    all += symbol;
  }
  EXPECT_EQ(alphabet_bytes(all).size(), 256u);
  EXPECT_EQ(byte_symbol(' '), "\xC4\xA0");
  EXPECT_EQ(alphabet_bytes("a b"), "a b");  // a space is no symbol: literal
  EXPECT_EQ(alphabet_bytes("\xE4\xB8\x96"), "\xE4\xB8\x96");
  EXPECT_EQ(alphabet_bytes("\xC2\xAD"), "\xC2\xAD");  // U+00AD is left out of the alphabet
}

}  // namespace
}  // namespace slim
