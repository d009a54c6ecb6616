// The network as a recording's detector: the same however samples come in, and on real speech what
// Silero's own says, with the stretches of faster-whisper.
#include "engine/speech_network_detector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "audio/speech_frames.h"
#include "models/golden.h"
#include "weights/checkpoint.h"

namespace slim {
namespace {

namespace fs = std::filesystem;
using test::floats;

const fs::path kGolden = fs::path(SLIM_TEST_DATA) / "golden" / "speech_network";

std::vector<double> probabilities(const SpeechDetector& detector, std::span<const float> samples,
                                  size_t piece) {
  std::vector<double> all;
  const auto take = [&](double probability) { all.push_back(probability); };
  const auto listener = detector.listen();
  for (size_t at = 0; at < samples.size(); at += piece) {
    listener->hear(samples.subspan(at, std::min(piece, samples.size() - at)), take);
  }
  listener->finish(take);
  return all;
}

std::vector<float> noise(size_t count) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 0.3F);
  std::vector<float> samples(count);
  for (float& sample : samples) sample = normal(random);
  return samples;
}

TEST(SpeechNetworkDetector, PiecesDoNotMatter) {
  const auto detector = open_speech_network(kGolden.string());
  // More than the steps that are run together, and part of one.
  const std::vector<float> samples = noise(200 * 512 + 100);
  const std::vector<double> whole = probabilities(*detector, samples, samples.size());
  ASSERT_EQ(whole.size(), 201U);
  for (const size_t piece : {size_t{1}, size_t{511}, size_t{16000}, size_t{70000}}) {
    EXPECT_EQ(probabilities(*detector, samples, piece), whole) << piece;
  }
  // Nothing of the noise after it, nor of another recording, is heard in a beginning.
  const std::vector<double> begin = probabilities(*detector, std::span(samples).first(512), 512);
  ASSERT_EQ(begin.size(), 1U);
  EXPECT_NEAR(begin.front(), whole.front(), 1e-6);
  EXPECT_TRUE(probabilities(*detector, {}, 1).empty());
}

TEST(RealModelSpeechNetwork, FindsTheStretchesOfFasterWhisper) {
  const fs::path models = SLIM_MODELS;
  if (!fs::exists(models / "silero-vad" / "model.safetensors")) GTEST_SKIP() << "run 'make models'";
  const auto expected = Checkpoint::open(kGolden / "librivox");
  const std::span<const float> wanted = floats(expected->get("probabilities"));
  const auto audio = AudioReader::open((models / "speech" / "librivox.wav").string());
  std::vector<float> samples(static_cast<size_t>(audio->expected_samples()));
  ASSERT_EQ(audio->read(samples), std::ssize(samples));

  SpeechFilter filter;
  filter.detector = open_speech_network((models / "silero-vad").string());
  const std::vector<double> got = probabilities(*filter.detector, samples, samples.size());
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-5) << i;

  filter.rules.min_silence = 160 * 16;
  filter.rules.max_speech = 30 * 16000 - filter.step() - 2 * filter.rules.padding;
  const SpeechFrames frames(AudioReader::from_samples(samples, "librivox"), 80, filter);
  std::vector<float> stretches;
  for (const Stretch& one : frames.map().stretches()) {
    for (const int64_t frame : {one.begin, one.end}) {
      stretches.push_back(static_cast<float>(frame * kHop));
    }
  }
  const std::span<const float> theirs = floats(expected->get("stretches"));
  ASSERT_EQ(stretches.size(), theirs.size());
  for (size_t i = 0; i < stretches.size(); ++i) {
    EXPECT_LE(std::abs(stretches[i] - theirs[i]), kHop / 2) << i;  // the nearest frame
  }
}

}  // namespace
}  // namespace slim
