// Files of sound for the command line's tests.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace slim {

// `promise` is the size its header states (-1: the true one); `kind` 1 PCM, 3 floats.
template <typename Sample>
std::string wav_of(int rate, int channels, int kind, const std::vector<Sample>& samples,
                   int64_t promise = -1) {
  const auto size = static_cast<uint32_t>(samples.size() * sizeof(Sample));
  const uint32_t stated = promise < 0 ? size : static_cast<uint32_t>(promise);
  std::string bytes;
  const auto put = [&](uint32_t value, size_t count) {
    for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i) & 255U);
  };
  bytes += "RIFF";
  put(36 + stated, 4);
  bytes += "WAVEfmt ";
  put(16, 4);
  const int frame = channels * static_cast<int>(sizeof(Sample));
  put(static_cast<uint32_t>(kind), 2);
  put(static_cast<uint32_t>(channels), 2);
  put(static_cast<uint32_t>(rate), 4);
  put(static_cast<uint32_t>(rate * frame), 4);
  put(static_cast<uint32_t>(frame), 2);
  put(8 * sizeof(Sample), 2);
  bytes += "data";
  put(stated, 4);
  bytes.append(reinterpret_cast<const char*>(samples.data()), size);
  return bytes;
}

inline std::string wav(int rate, int channels, const std::vector<int16_t>& samples,
                       int64_t promise = -1) {
  return wav_of(rate, channels, 1, samples, promise);
}

inline std::string float_wav(int rate, const std::vector<float>& samples) {
  return wav_of(rate, 1, 3, samples);
}

inline std::vector<int16_t> sweep(size_t samples) {
  std::vector<int16_t> values(samples);
  for (size_t i = 0; i < samples; ++i) {
    const double t = static_cast<double>(i);
    values[i] = static_cast<int16_t>(9000 * std::sin(0.05 * t + 1e-6 * t * t));
  }
  return values;
}

}  // namespace slim
