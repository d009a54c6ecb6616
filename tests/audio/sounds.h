// Signals and sound files for the tests of src/audio: made by formula, written by libsndfile.
#pragma once

#include <sndfile.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <numbers>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "audio/audio_reader.h"

namespace slim {

// A folder of its own that goes away with the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "slim_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// The synthetic signal of tools/make_golden_audio.py, in the same integers.
inline std::vector<float> synthetic_signal(int64_t count) {
  uint32_t noise = 1;
  uint32_t phase = 0;
  uint32_t step = 1U << 22;
  std::vector<float> samples(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    noise = noise * 1664525U + 1013904223U;
    phase += step;
    step = step < 1U << 30 ? step + 4096 : 1U << 22;
    const int triangle = std::abs(static_cast<int>(phase >> 16) - 32768) - 16384;
    const int tone = i / 8000 % 2 == 0 ? triangle : 0;
    const int hiss = (static_cast<int>(noise >> 16) - 32768) >> 4;
    samples[static_cast<size_t>(i)] = static_cast<float>(tone + hiss) / 32768;
  }
  return samples;
}

// A tone of `frequency` Hz at `rate`, of amplitude 0.1, 0.2, ... in the channels (interleaved).
inline std::vector<float> tone(int64_t frames, int rate, int channels, double frequency = 100) {
  std::vector<float> samples;
  for (int64_t i = 0; i < frames; ++i) {
    const double value = std::sin(2 * std::numbers::pi * frequency * static_cast<double>(i) / rate);
    for (int c = 1; c <= channels; ++c) samples.push_back(static_cast<float>(0.1 * c * value));
  }
  return samples;
}

struct SoundFormat {
  int format = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
  int rate = 16000;
  int channels = 1;
};

// False where libsndfile cannot write this rate or channel count in this format.
inline bool write_sound(const std::string& path, const SoundFormat& format,
                        std::span<const float> samples) {
  SF_INFO info = {};
  info.format = format.format;
  info.samplerate = format.rate;
  info.channels = format.channels;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  if (file == nullptr) return false;
  const auto count = static_cast<sf_count_t>(samples.size());
  bool whole = false;
  if ((format.format & SF_FORMAT_SUBMASK) == SF_FORMAT_PCM_16) {
    // libsndfile writes 1 as 32767 but reads 32768 as 1: integers come back as they were.
    std::vector<int16_t> integers;
    for (const float sample : samples) {
      integers.push_back(static_cast<int16_t>(std::lround(sample * 32768)));
    }
    whole = sf_write_short(file, integers.data(), count) == count;
  } else {
    whole = sf_write_float(file, samples.data(), count) == count;
  }
  return sf_close(file) == 0 && whole;
}

inline std::string file_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::vector<float> read_all(AudioReader& reader, int64_t piece = 10000) {
  std::vector<float> samples;
  std::vector<float> buffer(static_cast<size_t>(piece));
  while (const int64_t count = reader.read(buffer)) {
    samples.insert(samples.end(), buffer.begin(), buffer.begin() + count);
  }
  return samples;
}

}  // namespace slim
