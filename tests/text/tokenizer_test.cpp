// Tokenizer against the `tokenizers` library on 5,000 awkward texts, and the round trip.
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "error_matchers.h"
#include "golden_texts.h"

namespace slim {
namespace {

std::filesystem::path file_of(const std::string& name) {
  if (name.starts_with("tiny_")) return golden_folder() / (name + "_tokenizer.json");
  return std::filesystem::path(SLIM_MODELS) / name / "tokenizer.json";
}

std::shared_ptr<const Tokenizer> tiny(const std::string& name = "tiny_whisper") {
  return Tokenizer::load(file_of(name));
}

class GoldenTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTokenizer, GivesTheSameIdsAndTheTextBack) {
  if (!std::filesystem::exists(file_of(GetParam()))) GTEST_SKIP() << "the model is not fetched";
  const auto tokenizer = Tokenizer::load(file_of(GetParam()));
  const auto texts = golden_texts();
  const auto golden = golden_ids(GetParam());
  ASSERT_EQ(texts.size(), 5000u);
  ASSERT_EQ(golden.size(), texts.size());
  // This one strips spaces around added tokens and puts one in front.
  const bool lossless = GetParam() != "tiny_flags";
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto plain = tokenizer->encode(texts[i]);
    const auto specials = tokenizer->encode(texts[i], true);
    ASSERT_EQ(plain, golden[i].plain) << i << ": " << texts[i];
    ASSERT_EQ(specials, golden[i].specials) << i << ": " << texts[i];
    if (!lossless) continue;
    ASSERT_EQ(tokenizer->decode(plain), texts[i]);
    ASSERT_EQ(tokenizer->decode(specials, true), texts[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, GoldenTokenizer,
                         testing::Values("tiny_whisper", "tiny_gpt2", "tiny_flags",
                                         "whisper-tiny.en", "whisper-base"),
                         [](const auto& test) {
                           std::string name = test.param;
                           for (char& c : name) c = isalnum(c) ? c : '_';
                           return name;
                         });

TEST(Tokenizer, KnowsItsTokens) {
  const auto tokenizer = tiny();
  const int32_t end = tokenizer->id("<|endoftext|>").value();
  const int32_t time = tokenizer->id("<|0.02|>").value();
  EXPECT_EQ(end, 600);
  EXPECT_EQ(time, 600 + 107 + 1);
  EXPECT_EQ(tokenizer->size(), 600 + 107 + 101);
  EXPECT_TRUE(tokenizer->special(end));
  EXPECT_FALSE(tokenizer->special(time));
  EXPECT_FALSE(tokenizer->special(0));
  EXPECT_EQ(tokenizer->bytes(time), "<|0.02|>");
  EXPECT_EQ(tokenizer->bytes(tokenizer->id("\xC4\xA0the").value()), " the");
  EXPECT_FALSE(tokenizer->id("<|30.00|>").has_value());
  EXPECT_EQ(tokenizer->decode({end, time, end}), "<|0.02|>");
  EXPECT_EQ(tokenizer->decode({end, time}, true), "<|endoftext|><|0.02|>");
}

TEST(Tokenizer, RefusesIdsItDoesNotHave) {
  const auto tokenizer = tiny();
  for (const int32_t id : {-1, tokenizer->size(), INT32_MAX, INT32_MIN}) {
    const std::string number = std::to_string(id);
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, {number}, [&] { tokenizer->decode({0, id}); }));
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, {number}, [&] { tokenizer->bytes(id); }));
    EXPECT_TRUE(fails_with(ErrorCode::bad_request, {number}, [&] { tokenizer->special(id); }));
  }
}

TEST(Tokenizer, EncodesInvalidUtf8ByteByByte) {
  const auto tokenizer = tiny();
  const auto byte = [&](uint8_t value) {
    return tokenizer->encode(std::string(1, static_cast<char>(value))).at(0);
  };
  // "the" | E4 BD (cut) | "the" | ED A0 80 (a surrogate) | FF
  auto expected = tokenizer->encode("the");
  expected.insert(expected.end(), {byte(0xE4), byte(0xBD)});
  for (const int32_t id : tokenizer->encode("the")) expected.push_back(id);
  expected.insert(expected.end(), {byte(0xED), byte(0xA0), byte(0x80), byte(0xFF)});
  EXPECT_EQ(tokenizer->encode("the\xE4\xBDthe\xED\xA0\x80\xFF"), expected);
}

TEST(Tokenizer, GivesAnyBytesBack) {
  const auto tokenizer = tiny();
  std::mt19937 random(1);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 40, '\0');
    // Half of the texts keep to bytes near UTF-8's boundaries, where mistakes would be.
    const std::string near = "\x7F\x80\xBF\xC1\xC2\xDF\xE0\xA0\xED\x9F\xF0\x90\xF4\x8F\xF5 a<";
    for (char& c : bytes)
      c = i % 2 == 0 ? static_cast<char>(random()) : near[random() % near.size()];
    ASSERT_EQ(tokenizer->decode(tokenizer->encode(bytes, true), true), bytes);
  }
}

TEST(Tokenizer, TakesLongWordsInItsStride) {
  const auto tokenizer = tiny();
  // Quadratic time would be 4e10 steps: minutes, and the test runner's limit.
  for (const std::string unit : {"a", "1", "!", " ", "\xE4\xB8\x96", "ab", "\xFF"}) {
    std::string text;
    while (text.size() < 200'000) text += unit;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text + "b " + text)), text + "b " + text);
  }
}

TEST(Tokenizer, IsSharedByThreads) {
  const auto tokenizer = tiny();
  const auto texts = golden_texts();
  const auto golden = golden_ids("tiny_whisper");
  std::vector<size_t> wrong(2, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 1000; ++i) {
        const size_t at = t == 0 ? i : 999 - i;
        if (tokenizer->encode(texts[at]) != golden[at].plain) ++wrong[t];
        if (tokenizer->decode(golden[at].plain) != texts[at]) ++wrong[t];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<size_t>(2, 0));
}

}  // namespace
}  // namespace slim
