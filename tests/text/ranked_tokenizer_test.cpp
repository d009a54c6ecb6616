// Tokens without merges, against the ids that the `tokenizers` library finds with them.
#include "text/ranked_tokenizer.h"

#include <gtest/gtest.h>

#include <array>

#include "error_matchers.h"
#include "golden_texts.h"
#include "temporary_folder.h"

namespace slim {
namespace {

class RankedTokenizer : public testing::TestWithParam<std::string> {};

TEST_P(RankedTokenizer, GivesTheIdsOfTheListOfMerges) {
  const auto path = std::filesystem::path(SLIM_MODELS) / GetParam() / "tokenizer.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "the model is not fetched";
  const auto listed = Tokenizer::load(path);
  const int32_t end = listed->id("<|endoftext|>").value();
  std::vector<std::string_view> tokens;
  for (int32_t id = 0; id < end; ++id) tokens.push_back(listed->bytes(id));
  std::vector<AddedToken> added;
  for (int32_t id = end; id < listed->size(); ++id) {
    added.push_back({std::string(listed->bytes(id)), id, listed->special(id)});
  }
  const auto ranked = ranked_tokenizer(tokens, added, "file");
  const TemporaryFolder folder;
  const auto written =
      Tokenizer::load(folder.write("tokenizer.json", ranked_tokenizer_json(tokens, added, "file")));
  EXPECT_EQ(written->size(), listed->size());
  const auto texts = golden_texts();
  const auto golden = golden_ids(GetParam());
  for (size_t i = 0; i < texts.size(); ++i) {
    ASSERT_EQ(ranked->encode(texts[i]), golden[i].plain) << i << ": " << texts[i];
    ASSERT_EQ(ranked->encode(texts[i], true), golden[i].specials) << i << ": " << texts[i];
    ASSERT_EQ(written->encode(texts[i], true), golden[i].specials) << i << ": " << texts[i];
    ASSERT_EQ(ranked->decode(golden[i].specials, true), texts[i]);
  }
  EXPECT_EQ(ranked->size(), listed->size());
  EXPECT_TRUE(ranked->special(end));
}

INSTANTIATE_TEST_SUITE_P(All, RankedTokenizer, testing::Values("whisper-tiny.en", "whisper-base"),
                         [](const auto& test) {
                           return test.param == "whisper-base" ? "base" : "tiny_en";
                         });

TEST(RankedTokenizerLists, MergeLowIdsFirst) {
  const std::vector<std::string_view> tokens = {"a", "b", "c", "bc", "ab", "abc"};
  const auto tokenizer = ranked_tokenizer(tokens, {}, "file");
  EXPECT_EQ(tokenizer->encode("abc"), std::vector<int32_t>{5});
  EXPECT_EQ(tokenizer->encode("abcb"), (std::vector<int32_t>{5, 1}));
  EXPECT_EQ(tokenizer->encode("bab"), (std::vector<int32_t>{1, 4}));
}

TEST(RankedTokenizerLists, RefusesWhatIsMalformed) {
  const std::string longest(1025, 'x');
  const auto refuses = [](std::vector<std::string_view> tokens, std::vector<AddedToken> added,
                          std::string_view why) {
    return fails_with(ErrorCode::bad_file, {"file", why},
                      [&] { ranked_tokenizer(tokens, added, "file"); });
  };
  EXPECT_TRUE(refuses({"a", "b", "a"}, {}, "twice"));
  EXPECT_TRUE(refuses({"", ""}, {}, "twice"));
  EXPECT_TRUE(refuses({longest}, {}, "1025 bytes"));
  EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"file", "1025 bytes"}, [&] {
    ranked_tokenizer_json(std::array{std::string_view(longest)}, {}, "file");
  }));
  EXPECT_TRUE(refuses({"a"}, {{"a", 1, true}}, "contradicts"));
}

}  // namespace
}  // namespace slim
