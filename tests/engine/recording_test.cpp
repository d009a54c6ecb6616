// Long-form bookkeeping: prompts, segments and seeking, with made-up window results.
#include "engine/recording.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace slim {
namespace {

std::vector<float> tone(int64_t samples) {
  std::vector<float> values(static_cast<size_t>(samples));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] =
        0.3F * std::sin(0.2F * static_cast<float>(i)) * std::sin(0.0003F * static_cast<float>(i));
  }
  return values;
}

class RecordingTest : public testing::Test {
 protected:
  void SetUp() override {
    tokenizer = Tokenizer::load(SLIM_TEST_DATA "/golden/text/tiny_whisper_tokenizer.json");
    tokens = speech_tokens(*tokenizer, false);
    setting.tokenizer = tokenizer.get();
    setting.tokens = &tokens;
    setting.task = tokens.transcribe;
  }

  Recording record(const std::vector<float>& samples) {
    return Recording(AudioReader::from_samples(samples, "made up"), 80, setting);
  }
  Recording record(int64_t samples) { return record(tone(samples)); }

  int32_t at(double seconds) const {
    return tokens.first_timestamp + static_cast<int32_t>(std::lround(seconds / 0.02));
  }
  WindowResult said(std::vector<int32_t> ids) const {
    WindowResult result;
    result.tokens = std::move(ids);
    result.avg_logprob = -0.2;
    result.no_speech_prob = 0.01;
    result.temperature = 0.2;
    result.compression_ratio = 1.5;
    return result;
  }
  std::vector<int32_t> text(const std::string& words) const { return tokenizer->encode(words); }
  std::vector<int32_t> joined(std::initializer_list<std::vector<int32_t>> parts) const {
    std::vector<int32_t> all;
    for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }

  std::shared_ptr<const Tokenizer> tokenizer;
  SpeechTokens tokens;
  TranscriptionSetting setting;
};

TEST_F(RecordingTest, APairOfTimestampsSplitsAndMovesToTheLastOne) {
  Recording recording = record(60 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(joined({{at(0)},
                                text(" one"),
                                {at(5)},
                                {at(5)},
                                text(" two"),
                                {at(12.5)},
                                {at(12.5)},
                                text(" cut off")})));
  EXPECT_DOUBLE_EQ(recording.seconds_done(), 12.5);
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(joined({{at(0)}, text(" three"), {at(3)}})));
  const Transcription result = recording.take();
  ASSERT_EQ(result.segments.size(), 3U);
  EXPECT_EQ(result.segments[1].text, " two");
  EXPECT_DOUBLE_EQ(result.segments[1].start, 5);
  EXPECT_DOUBLE_EQ(result.segments[1].end, 12.5);
  EXPECT_EQ(result.segments[2].seek, 1250);
  EXPECT_DOUBLE_EQ(result.segments[2].start, 12.5);
  EXPECT_DOUBLE_EQ(result.segments[2].end, 15.5);
  EXPECT_EQ(result.segments[2].id, 3);
  EXPECT_EQ(result.segments[0].compression_ratio, 1.5);
  EXPECT_EQ(result.segments[0].temperature, 0.2);
  EXPECT_EQ(result.text(), "one two three");
}

TEST_F(RecordingTest, ASingleTimestampAtTheEndMovesAWholeWindow) {
  Recording recording = record(60 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(joined({{at(0)}, text(" one"), {at(5)}, {at(6)}, text(" two"), {at(9)}})));
  EXPECT_DOUBLE_EQ(recording.seconds_done(), 30);
  EXPECT_EQ(recording.take().segments.size(), 2U);
}

TEST_F(RecordingTest, WithoutTimestampsTheSegmentIsTheWindow) {
  Recording recording = record(40 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(text(" all of it")));
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(text(" the rest")));
  EXPECT_FALSE(recording.next_window());
  const Transcription result = recording.take();
  ASSERT_EQ(result.segments.size(), 2U);
  EXPECT_DOUBLE_EQ(result.segments[0].end, 30);
  EXPECT_DOUBLE_EQ(result.segments[1].start, 30);
  EXPECT_DOUBLE_EQ(result.segments[1].end, 40);
}

TEST_F(RecordingTest, EmptyAndInstantaneousSegmentsAreDropped) {
  Recording recording = record(30 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  recording.accept(said({at(0), at(1)}));
  EXPECT_TRUE(recording.take().segments.empty());
}

TEST_F(RecordingTest, ALikelySilenceIsSkippedUnlessTheTextIsSure) {
  Recording recording = record(90 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  WindowResult unsure = said(text(" you"));
  unsure.no_speech_prob = 0.7;
  unsure.avg_logprob = -1.5;
  recording.accept(unsure);
  EXPECT_DOUBLE_EQ(recording.seconds_done(), 30);
  ASSERT_TRUE(recording.next_window());
  WindowResult sure = unsure;
  sure.avg_logprob = -0.5;
  recording.accept(sure);
  EXPECT_EQ(recording.take().segments.size(), 1U);
}

TEST_F(RecordingTest, MarksAreNoTextWhereSpeechIsUnlikely) {
  for (const double no_speech_prob : {0.5, 0.7}) {
    Recording recording = record(60 * kSampleRate);
    ASSERT_TRUE(recording.next_window());
    WindowResult marks = said(joined({{at(0)},
                                      text(" ."),
                                      {at(2)},
                                      {at(2)},
                                      text(" ?!"),
                                      {at(4)},
                                      {at(4)},
                                      text(" 7."),
                                      {at(6)},
                                      {at(6)}}));
    marks.no_speech_prob = no_speech_prob;
    recording.accept(marks);
    EXPECT_DOUBLE_EQ(recording.seconds_done(), 6) << "what follows is heard all the same";
    EXPECT_EQ(recording.take().text(), no_speech_prob < 0.6 ? ". ?! 7." : "7.");
  }
}

TEST_F(RecordingTest, PromptsAreEarlierTextWithinTheBudget) {
  Recording recording = record(90 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  const WindowRequest first = recording.request(nullptr);
  EXPECT_EQ(first.prompt, std::vector<int32_t>{tokens.start});
  EXPECT_EQ(first.start_index, 0);
  std::vector<int32_t> words(300, text("a").at(0));
  recording.accept(said(words));
  ASSERT_TRUE(recording.next_window());
  const WindowRequest second = recording.request(nullptr);
  EXPECT_EQ(second.prompt.size(), 1U + 223U + 1U);
  EXPECT_EQ(second.prompt.front(), tokens.previous);
  EXPECT_EQ(second.prompt.back(), tokens.start);
  EXPECT_EQ(second.start_index, 224);
}

TEST_F(RecordingTest, PreviousTextCanBeLeftOut) {
  setting.options.condition_on_previous_text = false;
  setting.options.without_timestamps = true;
  Recording recording = record(90 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  recording.accept(said(text(" words")));
  const std::vector<int32_t> expected = {tokens.start, tokens.no_timestamps};
  EXPECT_EQ(recording.request(nullptr).prompt, expected);
}

TEST_F(RecordingTest, AnInitialPromptIsTextBeforeTheFirstWindow) {
  setting.initial_prompt = text(" before");
  for (const bool condition : {true, false}) {
    setting.options.condition_on_previous_text = condition;
    Recording recording = record(90 * kSampleRate);
    ASSERT_TRUE(recording.next_window());
    EXPECT_EQ(recording.request(nullptr).prompt,
              joined({{tokens.previous}, text(" before"), {tokens.start}}));
    recording.accept(said(text(" words")));
    ASSERT_TRUE(recording.next_window());
    const std::vector<int32_t> all =
        joined({{tokens.previous}, text(" before"), text(" words"), {tokens.start}});
    EXPECT_EQ(recording.request(nullptr).prompt,
              condition ? all : std::vector<int32_t>{tokens.start});
  }
}

TEST_F(RecordingTest, HotwordsStandInEveryPromptAndShareTheBudget) {
  setting.hotwords = text(" hot");
  Recording recording = record(90 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  EXPECT_EQ(recording.request(nullptr).prompt,
            joined({{tokens.previous}, text(" hot"), {tokens.start}}));
  recording.accept(said(std::vector<int32_t>(300, text("a").at(0))));
  ASSERT_TRUE(recording.next_window());
  const WindowRequest request = recording.request(nullptr);
  EXPECT_EQ(request.prompt.size(), 1U + 223U + 1U);
  EXPECT_EQ(request.prompt[1], text(" hot").at(0));
  EXPECT_EQ(request.prompt[223], text("a").at(0));
}

TEST_F(RecordingTest, APrefixBeginsTheFirstWindowAndTakesTheHotwordsPlace) {
  setting.hotwords = text(" hot");
  setting.prefix = text(" so");
  setting.initial_prompt = std::vector<int32_t>(300, text("a").at(0));
  Recording recording = record(90 * kSampleRate);
  ASSERT_TRUE(recording.next_window());
  const WindowRequest first = recording.request(nullptr);
  EXPECT_EQ(first.begun, joined({{at(0)}, text(" so")}));
  EXPECT_EQ(first.prompt.size() + text(" so").size(), 1U + 223U + 1U);
  EXPECT_EQ(first.prompt[1], text("a").at(0));
  recording.accept(said(joined({{at(0)}, text(" so"), {at(3)}})));
  ASSERT_TRUE(recording.next_window());
  EXPECT_TRUE(recording.request(nullptr).begun.empty());
  EXPECT_EQ(recording.request(nullptr).prompt[1], text(" hot").at(0));
  setting.options.without_timestamps = true;
  Recording plain = record(90 * kSampleRate);
  ASSERT_TRUE(plain.next_window());
  EXPECT_EQ(plain.request(nullptr).begun, text(" so"));
}

TEST_F(RecordingTest, AHighTemperatureResetsThePrompt) {
  for (const double temperature : {0.5, 0.6}) {
    Recording recording = record(90 * kSampleRate);
    ASSERT_TRUE(recording.next_window());
    WindowResult result = said(text(" words"));
    result.temperature = temperature;
    recording.accept(result);
    ASSERT_TRUE(recording.next_window());
    EXPECT_EQ(recording.request(nullptr).prompt.size() > 1, temperature <= 0.5);
  }
}

TEST_F(RecordingTest, ClipsAreTranscribedAlone) {
  setting.options.clip_timestamps = {10, 15, 40, 75, 80};
  Recording recording = record(90 * kSampleRate);
  std::vector<double> seeks;
  std::vector<float> mel(static_cast<size_t>(3000 * 80));
  while (recording.next_window()) {
    seeks.push_back(recording.seconds_done());
    recording.read_window(mel);
    // Beyond the clip there is nothing to hear.
    const float last = mel[static_cast<size_t>(499 * 80)];
    const float next = mel[static_cast<size_t>(500 * 80)];
    if (seeks.size() == 1) {
      EXPECT_NE(last, 0);
      EXPECT_EQ(next, 0);
    }
    // The first window's speech goes on after its clip, as far as the model thinks.
    recording.accept(said(joined({{at(0)}, text(" one"), {at(25)}, {at(25)}})));
  }
  EXPECT_EQ(seeks, (std::vector<double>{10, 40, 65, 80}));
  EXPECT_DOUBLE_EQ(recording.seconds_done(), 90);
}

TEST_F(RecordingTest, ClipsBeyondTheEndHoldNothing) {
  setting.options.clip_timestamps = {100, 110, 120};
  Recording recording = record(90 * kSampleRate);
  EXPECT_FALSE(recording.next_window());
}

TEST_F(RecordingTest, DigitalSilenceIsNeverDecoded) {
  for (const int64_t samples : {0L, 1L, 399L, 19200L, 720000L}) {
    Recording recording = record(std::vector<float>(static_cast<size_t>(samples), 0.0F));
    EXPECT_FALSE(recording.next_window()) << samples;
    const Transcription result = recording.take();
    EXPECT_TRUE(result.segments.empty());
    EXPECT_DOUBLE_EQ(result.duration, static_cast<double>(samples) / kSampleRate);
  }
}

TEST_F(RecordingTest, ASilentStretchIsPassedOver) {
  std::vector<float> samples(static_cast<size_t>(70 * kSampleRate), 0.0F);
  const std::vector<float> sound = tone(5 * kSampleRate);
  std::copy(sound.begin(), sound.end(), samples.begin() + 62 * kSampleRate);
  Recording recording = record(samples);
  ASSERT_TRUE(recording.next_window());
  EXPECT_DOUBLE_EQ(recording.seconds_done(), 60);
}

TEST_F(RecordingTest, AnUnknownLanguageIsASentence) {
  setting.options.language = "xx";
  EXPECT_THROW(record(100), Error);
  setting.options.language = "en";
  EXPECT_EQ(record(100).take().language, "en");
}

TEST_F(RecordingTest, MultilingualPromptsNameLanguageAndTask) {
  tokens = speech_tokens(*tokenizer, true);
  setting.task = tokens.translate;
  ASSERT_TRUE(tokens.multilingual());
  Recording recording = record(30 * kSampleRate);
  EXPECT_TRUE(recording.needs_language());
  const SpeechTokens::Language& language = tokens.languages.front();
  recording.set_language(language.id, language.code, 0.9);
  ASSERT_TRUE(recording.next_window());
  const std::vector<int32_t> expected = {tokens.start, language.id, tokens.translate};
  EXPECT_EQ(recording.request(nullptr).prompt, expected);
  EXPECT_EQ(recording.take().language, language.code);
}

}  // namespace
}  // namespace slim
