// MelStream against openai-whisper's definition (golden frames), in any order of reading.
#include "audio/log_mel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "audio/mel_filters.h"
#include "audio/sounds.h"
#include "slim/error.h"

namespace slim {
namespace {

const std::string kGolden = SLIM_TEST_DATA "/golden/audio/";

std::vector<float> frames_of(MelStream& mel, int64_t first, int64_t count) {
  std::vector<float> frames(static_cast<size_t>(count * mel.bins()), -99.0F);
  mel.read(first, count, frames);
  return frames;
}

MelStream mel_of(const std::vector<float>& samples, int64_t bins = 80) {
  return {AudioReader::from_samples(samples, "memory"), bins};
}

std::vector<float> signal(const std::string& name, int64_t samples) {
  if (name == "speech") return read_all(*AudioReader::open(kGolden + "speech.wav"));
  if (name == "zeros") return std::vector<float>(static_cast<size_t>(samples));
  return synthetic_signal(samples);
}

TEST(MelStream, EqualsWhisper) {
  std::ifstream values(kGolden + "log_mel.bin", std::ios::binary);
  std::ifstream cases_file(kGolden + "log_mel.json");
  const auto cases = nlohmann::json::parse(cases_file);
  ASSERT_EQ(cases.size(), 22U);
  for (const auto& one : cases) {
    SCOPED_TRACE(one.dump());
    const auto bins = one["bins"].get<int64_t>();
    const auto samples = signal(one["signal"], one["samples"]);
    ASSERT_EQ(samples.size(), one["samples"].get<size_t>());
    auto mel = mel_of(samples, bins);
    EXPECT_EQ(mel.samples(), static_cast<int64_t>(samples.size()));
    EXPECT_EQ(mel.frames(), static_cast<int64_t>(samples.size()) / 160);
    std::vector<float> expected(static_cast<size_t>(bins));
    for (const auto frame : one["frames"].get<std::vector<int64_t>>()) {
      values.read(reinterpret_cast<char*>(expected.data()), bins * int64_t{sizeof(float)});
      ASSERT_TRUE(values.good());
      const auto actual = frames_of(mel, frame, 1);
      for (size_t bin = 0; bin < expected.size(); ++bin) {
        // The header promises 1e-4. Seen: 1.6e-5 (speech), 2.4e-6 (all else): the reference's own
        // f32 transform.
        ASSERT_NEAR(actual[bin], expected[bin], 3e-5) << "frame " << frame << ", bin " << bin;
      }
    }
  }
  EXPECT_EQ(values.peek(), std::ifstream::traits_type::eof());
}

TEST(MelStream, HasZerosBehindTheRecording) {
  auto mel = mel_of(synthetic_signal(1000));
  ASSERT_EQ(mel.frames(), 6);
  const auto content = frames_of(mel, 0, 6);
  const auto window = frames_of(mel, 0, 3000);
  EXPECT_TRUE(std::equal(content.begin(), content.end(), window.begin()));
  EXPECT_TRUE(std::all_of(window.begin() + 6 * 80, window.end(), [](float v) { return v == 0; }));
  EXPECT_EQ(frames_of(mel, 100000, 2), std::vector<float>(160));
  EXPECT_TRUE(frames_of(mel, 3, 0).empty());
  auto nothing = mel_of({});
  EXPECT_EQ(nothing.frames(), 0);
  EXPECT_EQ(frames_of(nothing, 0, 2), std::vector<float>(160));
}

TEST(MelStream, TakesTheMaximumOfTheWholeRecording) {
  std::vector<float> samples(16000 * 10);
  auto quiet = mel_of(samples);
  EXPECT_EQ(frames_of(quiet, 0, 1).front(), -1.5F);  // (-10 + 4) / 4
  const auto loud = synthetic_signal(4000);
  std::copy(loud.begin(), loud.end(), samples.end() - 4000);
  auto late = mel_of(samples);
  const auto start = frames_of(late, 0, 1);
  const auto end = frames_of(late, late.frames() - 30, 30);
  EXPECT_FLOAT_EQ(start.front(), *std::max_element(end.begin(), end.end()) - 2);
}

TEST(MelStream, TakesTheLoudestThatWasHeardBefore) {
  const std::vector<float> quiet(16000);
  auto after = MelStream(AudioReader::from_samples(quiet, "quiet"), 80, 1.5F);
  EXPECT_FLOAT_EQ(after.loudest(), 1.5F);
  EXPECT_FLOAT_EQ(frames_of(after, 0, 1).front(), -0.5F);
  const auto loud = synthetic_signal(8000);
  const float loudest = mel_of(loud).loudest();
  EXPECT_EQ(MelStream(AudioReader::from_samples(loud, "loud"), 80, loudest - 1).loudest(), loudest);
}

TEST(MelStream, GivesTheSameFramesInAnyOrder) {
  constexpr int64_t kFrames = 7500;  // more than are kept
  auto mel = mel_of(synthetic_signal(kHop * kFrames), 128);
  const auto whole = frames_of(mel, 0, kFrames);
  const std::vector<std::pair<int64_t, int64_t>> orders = {{0, 3000},    {2990, 3000}, {2995, 3000},
                                                           {4500, 3000}, {7000, 3000}, {50, 1},
                                                           {7499, 1},    {0, 1}};
  for (const auto& [first, count] : orders) {
    const auto part = frames_of(mel, first, count);
    const int64_t content = std::min(count, kFrames - first) * 128;
    EXPECT_TRUE(std::equal(part.begin(), part.begin() + content, whole.begin() + first * 128))
        << first;
  }
}

// A recording without a file that counts how it is read; its samples repeat after 1000.
class EndlessReader final : public AudioReader {
 public:
  struct Use {
    int64_t rewinds = 0;
    int64_t samples = 0;
    size_t largest_piece = 0;
  };
  EndlessReader(int64_t length, Use& use) : AudioReader("endless"), length_(length), use_(use) {}

  int64_t read(std::span<float> out) override {
    const int64_t count = std::min(static_cast<int64_t>(out.size()), length_ - position_);
    for (int64_t i = 0; i < count; ++i) {
      out[static_cast<size_t>(i)] = static_cast<float>((position_ + i) % 1000) / 1000;
    }
    position_ += count;
    use_.samples += count;
    use_.largest_piece = std::max(use_.largest_piece, out.size());
    return count;
  }
  void rewind() override {
    ++use_.rewinds;
    position_ = 0;
    length_ -= shrinks_by;
  }
  int64_t expected_samples() const override { return length_; }

  int64_t shrinks_by = 0;

 private:
  int64_t length_;
  Use& use_;
  int64_t position_ = 0;
};

// Window after window, each beginning inside the one before, as transcription reads.
void read_as_transcription(MelStream& mel) {
  for (int64_t first = 0; first < mel.frames(); first += first % 3 == 0 ? 2999 : 100) {
    frames_of(mel, first, kWindowFrames);
  }
}

TEST(MelStream, ReadsALongRecordingTwiceInSmallPieces) {
  constexpr int64_t kLength = int64_t{4} * 60 * kSampleRate;
  EndlessReader::Use use;
  MelStream mel(std::make_unique<EndlessReader>(kLength, use), 80);
  EXPECT_EQ(use.samples, kLength);
  read_as_transcription(mel);
  EXPECT_EQ(use.rewinds, 1);
  EXPECT_LE(use.samples, 2 * kLength);
  EXPECT_LE(use.largest_piece, 20000U);  // and no more is held at a time
}

TEST(MelStream, ReadsUpToAMinuteOnce) {
  EndlessReader::Use use;
  MelStream mel(std::make_unique<EndlessReader>(59 * kSampleRate, use), 80);
  read_as_transcription(mel);
  EXPECT_EQ(use.rewinds, 0);
  EXPECT_EQ(use.samples, 59 * kSampleRate);
}

TEST(MelStream, NoticesARecordingThatShrinks) {
  EndlessReader::Use use;
  auto reader = std::make_unique<EndlessReader>(70 * kSampleRate, use);
  reader->shrinks_by = kSampleRate;
  MelStream mel(std::move(reader), 80);
  EXPECT_THROW(frames_of(mel, 0, mel.frames()), Error);
  EXPECT_THROW(frames_of(mel, mel.frames() - 1, 1), Error);  // still
  EXPECT_NO_THROW(frames_of(mel, 0, 3000));                  // from the start again
}

TEST(MelStream, RefusesOtherBinsAndBadSpans) {
  EXPECT_THROW(mel_of({}, 40), Error);
  auto mel = mel_of({});
  std::vector<float> out(80);
  EXPECT_THROW(mel.read(0, 2, out), Error);
  EXPECT_THROW(mel.read(-1, 1, out), Error);
}

// The area under each filter is 1: 40 Hz between weights, which are few for the narrowest filters.
// Windows of samples, forwards over more than is kept, back again, and to the very end.
TEST(MelStream, GivesTheSamplesOfItsFrames) {
  const std::vector<float> samples = synthetic_signal(int64_t{100} * 16000 + 77);
  MelStream mel(AudioReader::from_samples(samples, "memory"), 80,
                std::numeric_limits<float>::lowest(), true);
  const int64_t end = std::ssize(samples);
  for (const auto& [first, last] : {std::pair<int64_t, int64_t>{0, 480000},
                                    {400000, 880000},
                                    {880000, 880160},
                                    {end - 480000, end},
                                    {end - 1, end},
                                    {160, 161},
                                    {end, end}}) {
    std::vector<float> got = {7};  // what is there stays
    mel.read_samples(first, last, got);
    std::vector<float> expected = {7};
    expected.insert(expected.end(), samples.begin() + first, samples.begin() + last);
    EXPECT_EQ(got, expected) << first;
  }
}

TEST(MelFilters, HaveUnitArea) {
  for (const int64_t bins : {80, 128}) {
    const auto filters = mel_filters(bins);
    ASSERT_EQ(filters.size(), static_cast<size_t>(bins));
    for (const auto& filter : filters) {
      ASSERT_FALSE(filter.weights.empty());
      EXPECT_LE(filter.first + filter.weights.size(), 200U);
    }
    double area = 0;
    for (const float weight : filters.back().weights) area += 40 * double{weight};
    EXPECT_NEAR(area, 1, 0.02);
  }
}

}  // namespace
}  // namespace slim
