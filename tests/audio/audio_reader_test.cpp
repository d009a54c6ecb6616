// AudioReader on good files: rates, channels, formats, pieces, rewinding, pipes, threads.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <thread>

#include "audio/sounds.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int kWav = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
constexpr int kFlac = SF_FORMAT_FLAC | SF_FORMAT_PCM_16;
constexpr int kOgg = SF_FORMAT_OGG | SF_FORMAT_VORBIS;
constexpr int kMp3 = SF_FORMAT_MPEG | SF_FORMAT_MPEG_LAYER_III;
constexpr int kFloatWav = SF_FORMAT_WAV | SF_FORMAT_FLOAT;

TEST(AudioReader, HearsTheSameToneAtEveryRateFormatAndChannelCount) {
  const TemporaryFolder folder;
  int read = 0;
  for (const int format : {kWav, kFlac, kOgg, kMp3}) {
    for (const int rate : {8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000}) {
      for (const int channels : {1, 2, 6}) {
        SCOPED_TRACE(testing::Message() << std::hex << format << std::dec << " at " << rate
                                        << " Hz, " << channels << " channels");
        const std::string path = folder.file("tone");
        if (!write_sound(path, {format, rate, channels}, tone(rate / 2, rate, channels))) {
          // mp3 has neither; everything else takes all of these.
          EXPECT_TRUE(format == kMp3 && (channels > 2 || rate > 48000));
          continue;
        }
        const auto reader = AudioReader::open(path);
        const auto samples = read_all(*reader);
        ASSERT_NEAR(static_cast<double>(samples.size()), 8000, 1);
        EXPECT_NEAR(static_cast<double>(reader->expected_samples()), 8000, 1);
        // The mean of amplitudes 0.1, 0.2, ...; in phase with the original away from the ends. 16
        // bits are off by 2e-5 and the resampler by less; Vorbis with six channels by 5.3 %. (100
        // Hz, as Vorbis takes the fourth channel of six for the bass.)
        const double amplitude = 0.05 * (channels + 1);
        const double bound = format == kOgg || format == kMp3 ? 0.06 * amplitude : 5e-5;
        double square = 0;
        for (int i = 1000; i < 7000; ++i) {
          const double expected = amplitude * std::sin(2 * std::numbers::pi * 100 * i / 16000);
          square += std::pow(samples[static_cast<size_t>(i)] - expected, 2);
        }
        EXPECT_LT(std::sqrt(square / 6000), bound);
        ++read;
      }
    }
  }
  EXPECT_EQ(read, 3 * 8 * 3 + 6 * 2);
}

TEST(AudioReader, OpensEachChannelByItself) {
  const TemporaryFolder folder;
  for (const int rate : {16000, 44100}) {
    for (const int channels : {1, 3}) {
      const std::string path = folder.file("tones");
      ASSERT_TRUE(write_sound(path, {kWav, rate, channels}, tone(rate, rate, channels)));
      // Through a pipe as well, which can be read only once.
      const std::string pipe = folder.file("pipe");
      ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
      std::thread writer([&] {
        std::ofstream(pipe, std::ios::binary) << std::ifstream(path, std::ios::binary).rdbuf();
      });
      const auto piped = AudioReader::open_channels(pipe);
      writer.join();
      std::filesystem::remove(pipe);
      const auto readers = AudioReader::open_channels(path);
      ASSERT_EQ(std::ssize(readers), channels);
      ASSERT_EQ(piped.size(), readers.size());
      for (size_t i = 0; i < readers.size(); ++i) {
        const auto samples = read_all(*readers[i]);
        EXPECT_NEAR(static_cast<double>(samples.size()), 16000, 1);
        const float loudest = *std::max_element(samples.begin(), samples.end());
        EXPECT_NEAR(loudest, 0.1 * static_cast<double>(i + 1), 2e-3) << rate << ' ' << channels;
        EXPECT_EQ(read_all(*piped[i]), samples);
      }
    }
  }
}

TEST(AudioReader, KeepsWhatSixteenKilohertzHoldAndRemovesTheRest) {
  const TemporaryFolder folder;
  const std::string path = folder.file("high.wav");
  for (const auto& [frequency, amplitude] : {std::pair(7000.0, 0.1), std::pair(9000.0, 0.0)}) {
    ASSERT_TRUE(write_sound(path, {kFloatWav, 44100, 1}, tone(44100, 44100, 1, frequency)));
    const auto samples = read_all(*AudioReader::open(path));
    double square = 0;
    for (size_t i = 1000; i < 15000; ++i) square += std::pow(samples[i], 2);
    // 7 kHz lies in the passband (to 0.91 of 8 kHz); 9 kHz would fold to 7. Seen: 7.5e-5.
    EXPECT_NEAR(std::sqrt(2 * square / 14000), amplitude, 1e-4) << frequency;
  }
}

TEST(AudioReader, PassesSixteenKilohertzBitByBit) {
  const TemporaryFolder folder;
  const auto samples = synthetic_signal(100000);
  for (const int format : {kFloatWav, kWav, kFlac}) {
    ASSERT_TRUE(write_sound(folder.file("signal"), {format}, samples));
    EXPECT_EQ(read_all(*AudioReader::open(folder.file("signal"))), samples);
  }
  EXPECT_EQ(read_all(*AudioReader::from_samples(samples, "memory")), samples);
}

TEST(AudioReader, KeepsTheLengthAtAnyRate) {
  const TemporaryFolder folder;
  for (const int rate : {1000, 8000, 11025, 15999, 16001, 44100, 44101, 768000}) {
    for (const int64_t frames : {0, 1, 2, 99, 1000, 30011}) {
      const std::string path = folder.file("length.wav");
      ASSERT_TRUE(write_sound(path, {kWav, rate, 1}, tone(frames, rate, 1)));
      const auto reader = AudioReader::open(path);
      const double exact = static_cast<double>(frames) * 16000 / rate;
      EXPECT_NEAR(static_cast<double>(read_all(*reader).size()), exact, 1) << rate;
      EXPECT_NEAR(static_cast<double>(reader->expected_samples()), exact, 0.5) << rate;
    }
  }
}

TEST(AudioReader, GivesTheSameInPiecesOfAnySize) {
  const TemporaryFolder folder;
  const std::string path = folder.file("stereo.wav");
  ASSERT_TRUE(write_sound(path, {kWav, 44100, 2}, synthetic_signal(200001 * 2)));
  const auto whole = read_all(*AudioReader::open(path), 1000000);
  for (const int64_t piece : {1, 7, 1024, 65537}) {
    EXPECT_EQ(read_all(*AudioReader::open(path), piece), whole) << piece;
  }
}

TEST(AudioReader, GivesTheSameAfterRewinding) {
  const TemporaryFolder folder;
  const std::string path = folder.file("again");
  for (const int format : {kWav, kFlac, kOgg, kMp3}) {
    for (const int rate : {16000, 48000}) {
      ASSERT_TRUE(write_sound(path, {format, rate, 2}, synthetic_signal(100000)));
      const auto reader = AudioReader::open(path);
      const auto first = read_all(*reader);
      reader->rewind();
      std::vector<float> part(12345);
      reader->read(part);
      reader->rewind();
      EXPECT_EQ(read_all(*reader), first) << std::hex << format;
    }
  }
}

TEST(AudioReader, AllowsRecordingsWithoutSamples) {
  const TemporaryFolder folder;
  const std::string path = folder.file("none");
  for (const int format : {kWav, kFloatWav, kOgg, SF_FORMAT_AIFF | SF_FORMAT_PCM_16}) {
    for (const int rate : {16000, 44100}) {
      ASSERT_TRUE(write_sound(path, {format, rate, 1}, {}));
      const auto reader = AudioReader::open(path);
      EXPECT_TRUE(read_all(*reader).empty()) << std::hex << format;
      reader->rewind();
      EXPECT_TRUE(read_all(*reader).empty()) << std::hex << format;
    }
  }
  EXPECT_TRUE(read_all(*AudioReader::from_samples({}, "memory")).empty());
}

// A wav file of 10000 samples whose audio claims `size` bytes, as programs that write to a pipe do.
std::string streamed_wav(const std::string& path, uint32_t size, const std::string& after = "") {
  EXPECT_TRUE(write_sound(path, {kWav}, synthetic_signal(after.empty() ? 10000 : 0)));
  std::string bytes = file_bytes(path) + after;
  for (size_t i = 0; i < 4; ++i) bytes[40 + i] = static_cast<char>(size >> (8 * i));
  write_bytes(path, bytes);
  return path;
}

TEST(AudioReader, ReadsStreamedFilesWhoseHeaderDoesNotKnowTheirLength) {
  const TemporaryFolder folder;
  const std::string path = folder.file("streamed.wav");
  for (const uint32_t size : {0U, 0x7FFFF000U, 0x80000000U, 0xFFFFFFFFU}) {
    const auto reader = AudioReader::open(streamed_wav(path, size));
    EXPECT_EQ(read_all(*reader), synthetic_signal(10000)) << size;
    EXPECT_EQ(reader->expected_samples(), 10000);
  }
  // Really empty, and something else follows.
  const std::string list("LIST\4\0\0\0note", 12);
  EXPECT_TRUE(read_all(*AudioReader::open(streamed_wav(path, 0, list))).empty());
}

// libsndfile alone stops at its guess of the length.
TEST(AudioReader, ReadsMp3OfVariableRateWithoutLengthToItsEnd) {
  const TemporaryFolder folder;
  const std::string path = folder.file("variable.mp3");
  // Noise first: the rate of the first frames would make it short.
  auto samples = synthetic_signal(80000);
  samples.resize(160000);
  ASSERT_TRUE(write_sound(path, {kMp3}, samples));
  std::string bytes = file_bytes(path);
  const size_t tag = std::min(bytes.find("Xing"), bytes.find("Info"));
  ASSERT_LT(tag, 100U);
  bytes.erase(0, bytes.find("\xFF\xF3", tag));          // up to the frame after the tag's
  write_bytes(path, bytes + std::string(200000, 'x'));  // and a tag of another kind behind
  const auto reader = AudioReader::open(path);
  EXPECT_EQ(reader->expected_samples(), -1);
  // Without the tag the encoder's delay and padding stay: up to 3 frames of 576.
  EXPECT_NEAR(static_cast<double>(read_all(*reader).size()), 160000, 3 * 576);
}

TEST(AudioReader, ReadsPipesAndStandardInputTwice) {
  const TemporaryFolder folder;
  const auto samples = synthetic_signal(300000);  // beyond a pipe's buffer
  ASSERT_TRUE(write_sound(folder.file("piped.flac"), {kFlac}, samples));
  const std::string bytes = file_bytes(folder.file("piped.flac"));
  for (const bool standard : {false, true}) {
    int ends[2] = {};
    ASSERT_EQ(::pipe(ends), 0);
    std::thread writer([&] {
      EXPECT_EQ(::write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
      ::close(ends[1]);
    });
    std::unique_ptr<AudioReader> reader;
    if (standard) {
      const int saved = ::dup(STDIN_FILENO);
      ::dup2(ends[0], STDIN_FILENO);
      reader = AudioReader::open("-");
      if (saved >= 0) ::dup2(saved, STDIN_FILENO);
      if (saved >= 0) ::close(saved);
      EXPECT_EQ(reader->name(), "standard input");
    } else {
      reader = AudioReader::open("/dev/fd/" + std::to_string(ends[0]));
    }
    writer.join();
    ::close(ends[0]);
    EXPECT_EQ(read_all(*reader), samples);
    reader->rewind();
    EXPECT_EQ(read_all(*reader), samples);
  }
}

// Beside them a thread opens what is not audio: a descriptor closed once too often there would be
// the file of another thread.
TEST(AudioReader, ReadsInSeveralThreadsAtOnce) {
  const TemporaryFolder folder;
  const std::vector<SoundFormat> formats = {{kWav, 44100, 2}, {kMp3, 48000, 1}, {kOgg, 16000, 2}};
  for (size_t i = 0; i < formats.size(); ++i) {
    ASSERT_TRUE(write_sound(folder.file(std::to_string(i)), formats[i], synthetic_signal(50000)));
  }
  write_bytes(folder.file("text"), "this is not audio");
  std::atomic<size_t> done = 0;
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    while (done < formats.size()) {
      EXPECT_THROW(AudioReader::open(folder.file("text")), Error);
    }
  });
  for (size_t i = 0; i < formats.size(); ++i) {
    threads.emplace_back([&, i] {
      EXPECT_NO_THROW({
        const std::string path = folder.file(std::to_string(i));
        const auto once = read_all(*AudioReader::open(path));
        for (int round = 0; round < 30; ++round) {
          EXPECT_EQ(read_all(*AudioReader::open(path), 9999), once);
        }
      });
      ++done;
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(AudioReader, ClosesWhatItOpens) {
  const TemporaryFolder folder;
  const std::string path = folder.file("file");
  const auto open_files = [] {
    const std::filesystem::directory_iterator files("/proc/self/fd");
    return std::distance(begin(files), end(files));
  };
  const auto before = open_files();
  for (const int format : {kWav, kFlac, kOgg, kMp3}) {
    ASSERT_TRUE(write_sound(path, {format}, synthetic_signal(5000)));
    const auto reader = AudioReader::open(path);
    reader->rewind();
    write_bytes(path, "this is not audio");
    EXPECT_THROW(AudioReader::open(path), Error);
    EXPECT_THROW(reader->rewind(), Error);
  }
  EXPECT_EQ(open_files(), before);
}

}  // namespace
}  // namespace slim
