// The rules by which probabilities become stretches, and the probabilities of noise and bursts. A
// probability is of a frame here.
#include "audio/speech_cutter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <random>

#include "audio/speech_frames.h"

namespace slim {
namespace {

struct Run {
  int64_t frames;
  double probability;
};

std::vector<Stretch> cut(const SpeechRules& rules, const std::vector<Run>& runs) {
  SpeechCutter cutter(rules, kHop);
  int64_t frames = 0;
  for (const Run& run : runs) {
    for (int64_t i = 0; i < run.frames; ++i) cutter.push(run.probability);
    frames += run.frames;
  }
  std::vector<Stretch> stretches = cutter.finish(frames * kHop);
  for (Stretch& one : stretches) {
    for (int64_t* const at : {&one.begin, &one.end, &one.speech_begin, &one.speech_end})
      *at /= kHop;
  }
  return stretches;
}

SpeechRules plain() {
  SpeechRules rules;
  rules.max_speech = 100000 * kHop;
  rules.padding = 0;
  return rules;
}

void expect_stretch(const Stretch& stretch, int64_t begin, int64_t end) {
  EXPECT_EQ(stretch.begin, begin);
  EXPECT_EQ(stretch.end, end);
}

TEST(SpeechCutter, LongSilenceEndsSpeechAndShortDoesNot) {
  const auto found =
      cut(plain(), {{100, 0}, {50, 0.9}, {199, 0}, {50, 0.9}, {300, 0}, {50, 0.9}, {10, 0}});
  ASSERT_EQ(found.size(), 2U);
  expect_stretch(found[0], 100, 399);
  expect_stretch(found[1], 699, 759);
  EXPECT_EQ(found[1].speech_end, 749);
  EXPECT_TRUE(cut(plain(), {{500, 0.49}}).empty());
  EXPECT_TRUE(cut(plain(), {}).empty());
}

TEST(SpeechCutter, BetweenTheThresholdsNothingChanges) {
  const auto found = cut(plain(), {{10, 0.4}, {10, 0.5}, {500, 0.4}, {300, 0.3}});
  ASSERT_EQ(found.size(), 1U);
  expect_stretch(found[0], 10, 520);
}

TEST(SpeechCutter, ShortSpeechIsLeftOut) {
  SpeechRules rules = plain();
  rules.min_speech = 25 * kHop;
  const auto found = cut(rules, {{10, 0}, {25, 1}, {300, 0}, {26, 1}, {300, 0}});
  ASSERT_EQ(found.size(), 1U);
  expect_stretch(found[0], 335, 361);
}

TEST(SpeechCutter, SilenceIsKeptAroundSpeech) {
  SpeechRules rules = plain();
  rules.padding = 40 * kHop;
  rules.min_silence = 50 * kHop;
  const auto found =
      cut(rules, {{10, 0}, {100, 1}, {61, 0}, {100, 1}, {200, 0}, {100, 1}, {90, 0}});
  ASSERT_EQ(found.size(), 3U);
  expect_stretch(found[0], 0, 140);  // half of the silence
  expect_stretch(found[1], 140, 311);
  expect_stretch(found[2], 431, 611);
  EXPECT_EQ(found[2].speech_begin, 471);
  EXPECT_EQ(found[2].speech_end, 571);
}

TEST(SpeechCutter, LongSpeechIsCutAtAPauseOrRightThere) {
  SpeechRules rules = plain();
  rules.max_speech = 100 * kHop;
  const auto paused = cut(rules, {{70, 1}, {15, 0}, {60, 1}, {300, 0}});
  ASSERT_EQ(paused.size(), 2U);
  expect_stretch(paused[0], 0, 70);
  expect_stretch(paused[1], 85, 145);
  const auto right_there = cut(rules, {{250, 1}});
  ASSERT_GE(right_there.size(), 2U);
  expect_stretch(right_there[0], 0, 101);
  EXPECT_EQ(right_there.back().end, 250);
}

// Noise of this level, with a buzz of 140 Hz in bursts of a quarter second from `begin` to `end`.
std::vector<float> buzz(double seconds, double begin, double end, float noise) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, noise);
  std::vector<float> samples(static_cast<size_t>(seconds * kSampleRate));
  for (size_t i = 0; i < samples.size(); ++i) {
    const double t = static_cast<double>(i) / kSampleRate;
    samples[i] = noise > 0 ? normal(random) : 0;
    if (t < begin || t >= end || std::fmod(t, 0.5) > 0.25) continue;
    for (int harmonic = 1; harmonic <= 20; ++harmonic) {
      samples[i] +=
          static_cast<float>(0.05 * std::sin(2 * std::numbers::pi * 140 * harmonic * t) / harmonic);
    }
  }
  return samples;
}

SpeechFrames frames_of(const std::vector<float>& samples,
                       std::shared_ptr<const SpeechDetector> detector = nullptr) {
  SpeechFilter filter;
  filter.rules.max_speech = 1000000 * kHop;
  filter.detector = std::move(detector);
  return {AudioReader::from_samples(samples, "made up"), 80, filter};
}

TEST(SpeechFrames, OnlyWhatStandsOutIsKept) {
  for (const float noise : {0.0F, 1e-4F, 2e-3F}) {
    SpeechFrames frames = frames_of(buzz(70, 30, 40, noise));
    ASSERT_EQ(frames.map().stretches().size(), 1U) << noise;
    const Stretch& speech = frames.map().stretches().front();
    EXPECT_NEAR(static_cast<double>(speech.speech_begin), 3000, 10) << noise;
    EXPECT_NEAR(static_cast<double>(speech.speech_end), 3975, 10) << noise;
    EXPECT_EQ(speech.begin, speech.speech_begin - 40);
    EXPECT_EQ(speech.end, speech.speech_end + 40);
    EXPECT_EQ(frames.samples(), 70 * kSampleRate);
  }
}

TEST(SpeechFrames, SteadyNoiseAndSilenceAreNoSpeech) {
  for (const float noise : {0.0F, 1e-4F, 0.1F}) {
    EXPECT_EQ(frames_of(buzz(40, 0, 0, noise)).frames(), 0) << noise;
  }
  EXPECT_EQ(frames_of({}).frames(), 0);
  EXPECT_EQ(frames_of(std::vector<float>(100, 0.5F)).frames(), 0);
}

// Says of each 512 samples whether one of them is above 0.04, and what it was given.
class Loudness : public SpeechDetector {
 public:
  int64_t step() const override { return 512; }
  std::unique_ptr<Listener> listen() const override { return std::make_unique<Ear>(heard); }
  std::shared_ptr<std::vector<float>> heard = std::make_shared<std::vector<float>>();

 private:
  class Ear : public Listener {
   public:
    explicit Ear(std::shared_ptr<std::vector<float>> heard) : heard_(std::move(heard)) {}
    void hear(std::span<const float> samples, FunctionRef<void(double)> take) override {
      heard_->insert(heard_->end(), samples.begin(), samples.end());
      for (; judged_ + 512 <= heard_->size(); judged_ += 512) judge(512, take);
    }
    void finish(FunctionRef<void(double)> take) override {
      if (judged_ < heard_->size()) judge(heard_->size() - judged_, take);
    }

   private:
    void judge(size_t count, FunctionRef<void(double)> take) {
      const auto step = std::span(*heard_).subspan(judged_, count);
      take(*std::max_element(step.begin(), step.end()) > 0.04F ? 1 : 0);
    }
    std::shared_ptr<std::vector<float>> heard_;
    size_t judged_ = 0;
  };
};

TEST(SpeechFrames, ADetectorHearsEverySampleOnce) {
  const std::vector<float> samples = buzz(70.0001, 30, 40, 0);
  const auto detector = std::make_shared<Loudness>();
  SpeechFrames frames = frames_of(samples, detector);
  std::vector<float> window(3000 * 80);
  frames.read(0, 3000, window);
  frames.read(500, 3000, window);
  EXPECT_EQ(*detector->heard, samples);
  ASSERT_EQ(frames.map().stretches().size(), 1U);
  const Stretch& speech = frames.map().stretches().front();
  // Steps end at 29.984, 39.744 and 39.776 s; the last burst at 39.75.
  EXPECT_EQ(speech.speech_begin, 2998);
  EXPECT_EQ(speech.speech_end, 3978);
  EXPECT_EQ(speech.begin, 2998 - 40);
  EXPECT_EQ(speech.end, 3978 + 40);
}

// Less than a frame of speech, in the last step, is none.
TEST(SpeechFrames, NoStretchIsEmpty) {
  for (const size_t count : {size_t{512 * 5 + 1}, size_t{512 * 5 + 159}, size_t{512 * 5 + 161}}) {
    std::vector<float> samples(count);
    samples.back() = 0.5F;
    SpeechFilter filter;
    filter.rules.max_speech = 1000000 * kHop;
    filter.rules.padding = 0;
    filter.detector = std::make_shared<Loudness>();
    const SpeechFrames frames(AudioReader::from_samples(samples, "made up"), 80, filter);
    EXPECT_EQ(frames.map().stretches().size(), count == 512 * 5 + 161 ? 1U : 0U) << count;
  }
}

// Windows overlap, and lie across the gaps.
TEST(SpeechFrames, FramesAreThoseOfTheRecording) {
  std::vector<float> samples = buzz(100, 5, 12, 1e-3F);
  const std::vector<float> more = buzz(100, 80, 90, 0);
  for (size_t i = 0; i < samples.size(); ++i) samples[i] += more[i];
  SpeechFrames frames = frames_of(samples);
  ASSERT_EQ(frames.map().stretches().size(), 2U);
  MelStream whole(AudioReader::from_samples(samples, "made up"), 80);
  std::vector<float> got(500 * 80);
  std::vector<float> expected(80);
  for (const int64_t first : {int64_t{0}, int64_t{450}, int64_t{300}, frames.frames() - 20}) {
    frames.read(first, 500, got);
    for (int64_t i = 0; i < 500; ++i) {
      std::fill(expected.begin(), expected.end(), 0.0F);
      if (first + i < frames.frames()) {
        whole.read(frames.map().recording_frame(first + i), 1, expected);
      }
      const std::vector<float> own(got.begin() + i * 80, got.begin() + (i + 1) * 80);
      ASSERT_EQ(own, expected) << first << " + " << i;
    }
  }
}

}  // namespace
}  // namespace slim
