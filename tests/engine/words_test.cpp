// Words: weights and paths on paper, splitting, marks, remedies, hallucinations. Expected values
// are what openai-whisper's functions give for the same input.
#include "engine/words.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/hallucinations.h"
#include "engine/word_timing.h"

namespace slim {
namespace {

TEST(TokenTimes, TheCheapestPathFollowsTheWeights) {
  // Token 0 at positions 0 and 1, token 1 at 2, token 2 at 3 and 4.
  const std::vector<float> weights = {3,  2,  -1, -1, -1,  //
                                      -1, -1, 2,  -1, -1,  //
                                      -1, -1, -1, 3,  1};
  EXPECT_EQ(first_positions(weights, 3, 5), (std::vector<int64_t>{0, 2, 3}));
  EXPECT_EQ(first_positions(std::vector<float>(4, 0.0F), 4, 1), (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(first_positions(std::vector<float>(3, 1.0F), 1, 3), (std::vector<int64_t>{0}));
  const std::vector<float> broken(6, std::nanf(""));
  EXPECT_EQ(first_positions(broken, 2, 3).size(), 2U);
}

TEST(TokenTimes, WeightsAreNormalisedOverTokensAndSmoothed) {
  // Two tokens that differ at two of eight positions, and by their sums nowhere else.
  Tensor own = Tensor::allocate(host_device(), DType::f32, {2, 8});
  std::fill_n(own.writable<float>(), 16, 0.0F);
  own.writable<float>()[3] = 2;
  own.writable<float>()[8 + 5] = 2;
  const auto weights = alignment_weights(own.writable_matrix(), {1, 0, 2, 8});
  ASSERT_EQ(weights.size(), 16U);
  for (const float weight : weights) EXPECT_EQ(weight, 0) << "single peaks are no medians";
  // Rows shorter than the mirror are not smoothed; one position is attended alike by all.
  Tensor two = Tensor::allocate(host_device(), DType::f32, {2, 2});
  std::fill_n(two.writable<float>(), 4, 0.0F);
  two.writable<float>()[1] = 1;
  const auto sharp = alignment_weights(two.writable_matrix(), {1, 0, 2, 2});
  for (const auto& [i, expected] : {std::pair{0, -1.0F}, {1, 1.0F}, {2, 1.0F}, {3, -1.0F}}) {
    EXPECT_NEAR(sharp[static_cast<size_t>(i)], expected, 1e-5F);
  }
  const auto one = alignment_weights(two.writable_matrix(), {1, 0, 2, 1});
  EXPECT_EQ(one, (std::vector<float>{0, 0}));
}

class Words : public testing::Test {
 protected:
  void SetUp() override {
    tokenizer = Tokenizer::load(SLIM_TEST_DATA "/golden/text/tiny_whisper_tokenizer.json");
  }
  // Tokens a tenth of a second apart, probabilities 1, 1/2, 1/3, ...
  static TokenTimes even(size_t count) {
    TokenTimes times{{0}, {}};
    for (size_t i = 1; i <= count; ++i) {
      times.at.push_back(0.1 * static_cast<double>(i));
      times.probability.push_back(1 / static_cast<double>(i));
    }
    return times;
  }
  std::vector<TimedWord> split(const std::string& text, bool by_character) const {
    const std::vector<int32_t> ids = tokenizer->encode(text);
    return split_words(*tokenizer, ids, even(ids.size()), by_character);
  }
  static std::vector<std::string> texts(const std::vector<TimedWord>& words) {
    std::vector<std::string> all;
    for (const TimedWord& word : words) all.push_back(word.text);
    return all;
  }
  std::shared_ptr<const Tokenizer> tokenizer;
};

TEST_F(Words, BeginAtSpacesAndMarks) {
  const auto words = split(" hello, (well) it's", false);
  const std::vector<std::string> expected = {" hello", ",", " ", "(well", ")", " it's"};
  EXPECT_EQ(texts(words), expected) << "the tiny vocabulary has no token for ' ('";
  EXPECT_EQ(words.front().start, 0);
  for (size_t i = 1; i < words.size(); ++i) {
    EXPECT_EQ(words[i].start, words[i - 1].end);
    EXPECT_GT(words[i].first_token, words[i - 1].first_token);
  }
}

TEST_F(Words, CharactersOfSeveralTokensStayWhole) {
  const auto words = split("日本語", true);
  EXPECT_EQ(texts(words), (std::vector<std::string>{"日", "本", "語"}));
  EXPECT_EQ(texts(split(" a日本", false)), (std::vector<std::string>{" a日本"}));
  EXPECT_TRUE(split("", true).empty());
}

TEST_F(Words, BytesThatAreNoCharacterAreReplaced) {
  std::vector<int32_t> ids = tokenizer->encode("日");
  ASSERT_GT(ids.size(), 1U) << "the tiny vocabulary has bytes";
  ids.pop_back();
  const auto words = split_words(*tokenizer, ids, even(ids.size()), true);
  ASSERT_EQ(words.size(), 1U);
  EXPECT_EQ(words[0].text, "\xEF\xBF\xBD");
  EXPECT_EQ(words[0].end, even(ids.size()).at.back());
}

TEST_F(Words, LanguagesWithoutSpacesAreKnown) {
  EXPECT_TRUE(written_without_spaces("ja"));
  EXPECT_TRUE(written_without_spaces("yue"));
  EXPECT_FALSE(written_without_spaces("en"));
  EXPECT_FALSE(written_without_spaces(""));
}

std::vector<TimedWord> made(std::initializer_list<const char*> texts) {
  std::vector<TimedWord> words;
  for (const char* text : texts) {
    const auto n = static_cast<double>(words.size());
    words.push_back({text, words.size(), n, n + 1, 0.5});
  }
  return words;
}

std::vector<std::string> merged(std::initializer_list<const char*> texts) {
  std::vector<TimedWord> words = made(texts);
  merge_punctuation(words, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、");
  std::vector<std::string> all;
  for (const TimedWord& word : words) all.push_back(word.text);
  return all;
}

TEST(MergePunctuation, MarksJoinTheirWords) {
  using List = std::vector<std::string>;
  EXPECT_EQ(merged({" Well", ",", " “", "he", "”", ".", " said"}),
            (List{" Well,", "", "", " “he”.", "", "", " said"}));
  EXPECT_EQ(merged({" -", "it"}), (List{"", " -it"}));
  EXPECT_EQ(merged({"日", "。", "本"}), (List{"日。", "", "本"}));
  EXPECT_EQ(merged({"."}), (List{"."}));
  EXPECT_EQ(merged({" “"}), (List{" “"}));
  EXPECT_TRUE(merged({}).empty());
}

TEST(WordTiming, DurationsAreMediansOfWhatTakesTime) {
  std::vector<TimedWord> words = made({" a", " b", " c", " d"});
  for (size_t i = 0; i < 4; ++i) words[i].end = words[i].start + 0.1 * static_cast<double>(i);
  EXPECT_NEAR(measure_durations(words).median, 0.2, 1e-12);
  EXPECT_NEAR(measure_durations(words).longest, 0.4, 1e-12);
  EXPECT_DOUBLE_EQ(measure_durations(made({" a"})).median, 0.7);
  EXPECT_EQ(measure_durations({}).median, 0);
}

TEST(WordTiming, LongWordsAtSentenceEndsAreCut) {
  std::vector<TimedWord> words = made({" a", ".", " b", " c"});
  shorten_at_sentence_ends(words, {0.25, 0.5});
  EXPECT_DOUBLE_EQ(words[1].end, 1.5);
  EXPECT_DOUBLE_EQ(words[2].start, 2.5);
  EXPECT_DOUBLE_EQ(words[3].start, 3);
  EXPECT_DOUBLE_EQ(words[3].end, 4);
}

Segment segment(double start, double end) {
  Segment made;
  made.start = start;
  made.end = end;
  return made;
}

TEST(WordTiming, SegmentsTakeTheirWords) {
  std::vector<Segment> segments = {segment(10, 12), segment(12, 14)};
  std::vector<TimedWord> words = made({" a", " b", ",", " c"});
  for (TimedWord& word : words) {
    word.start *= 0.2;
    word.end *= 0.2;
  }
  merge_punctuation(words, "", ",");
  const std::vector<size_t> ends = {3, 4};
  place_words(segments, ends, words, {0.2, 0.4}, {10, 9.9});
  ASSERT_EQ(segments[0].words->size(), 2U);
  EXPECT_EQ(segments[0].words->at(1).word, " b,");
  EXPECT_DOUBLE_EQ(segments[0].words->at(1).start, 10.2);
  EXPECT_DOUBLE_EQ(segments[0].end, 10.4);
  EXPECT_DOUBLE_EQ(segments[1].start, 10.6);
  EXPECT_DOUBLE_EQ(segments[1].end, 10.8);
}

TEST(WordTiming, AFirstWordDoesNotReachOverThePauseBefore) {
  std::vector<Segment> segments = {segment(10, 14)};
  std::vector<TimedWord> words = made({" a", " b"});
  words[0].end = words[1].start = 3;
  words[1].end = 3.2;
  const std::vector<size_t> ends = {2};
  place_words(segments, ends, words, {0.2, 0.4}, {10, 10});
  EXPECT_DOUBLE_EQ(segments[0].words->at(0).start, 12.6);
  EXPECT_DOUBLE_EQ(segments[0].words->at(0).end, 13);
  EXPECT_DOUBLE_EQ(segments[0].start, 12.6);
}

TEST(WordTiming, TimesNeverDecrease) {
  std::vector<Segment> segments = {segment(0, 1), segment(0, 1), segment(0, 1)};
  std::vector<TimedWord> words = made({" a", " b", " c"});
  words[0].end = 2.5;
  const std::vector<size_t> ends = {1, 1, 3};
  place_words(segments, ends, words, {0.5, 1}, {0, 1.7});
  double last = 1.7;
  for (const Segment& one : segments) {
    EXPECT_GE(one.start, last);
    for (const Word& word : *one.words) {
      EXPECT_GE(word.start, last);
      EXPECT_GE(word.end, word.start);
      last = word.end;
    }
    EXPECT_GE(one.end, last);
  }
  EXPECT_TRUE(segments[1].words->empty());
}

Segment said(double start, double end, double probability) {
  Segment made = segment(start, end);
  made.words = {Word{start, end, " word", probability}};
  return made;
}

TEST(Hallucinations, AmidSilenceAreDropped) {
  const WindowBounds window{
      .begin = 10, .end = 40, .full_end = 40, .recording_end = 100, .last_speech = 9};
  // A sure word, a made-up one far behind it, and nothing after.
  std::vector<Segment> segments = {said(10, 10.5, 0.9), said(20, 24, 0.1)};
  EXPECT_EQ(drop_hallucinations(segments, window, 2), std::optional<double>(20));
  ASSERT_EQ(segments.size(), 1U);
  // Made up at the beginning, after silence.
  segments = {said(15, 19, 0.1), said(20, 20.5, 0.9)};
  EXPECT_EQ(drop_hallucinations(segments, window, 2), std::optional<double>(15));
  EXPECT_TRUE(segments.empty());
  // Close to other speech.
  segments = {said(10, 10.5, 0.9), said(13, 17, 0.1), said(17.5, 18, 0.9)};
  EXPECT_EQ(drop_hallucinations(segments, window, 4), std::nullopt);
  EXPECT_EQ(segments.size(), 3U);
  // The last of the recording: nothing is left.
  segments = {said(10, 10.5, 0.9), said(96, 99, 0.1)};
  EXPECT_EQ(drop_hallucinations(segments, window, 2), std::optional<double>(100));
}

}  // namespace
}  // namespace slim
