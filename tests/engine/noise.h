// Noise: recordings that say nothing, and the same as files.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <vector>

namespace slim {

inline std::vector<float> noise(size_t samples, uint32_t seed) {
  std::vector<float> values(samples);
  uint32_t state = seed;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) / 16777216.0F - 0.5F;
  }
  return values;
}

// Mono, 16 kHz, 16 bits.
inline void write_wav(const std::filesystem::path& path, const std::vector<float>& samples) {
  std::ofstream file(path, std::ios::binary);
  const auto bytes = static_cast<uint32_t>(samples.size() * 2);
  const auto u32 = [&](uint32_t v) { file.write(reinterpret_cast<const char*>(&v), 4); };
  const auto u16 = [&](uint16_t v) { file.write(reinterpret_cast<const char*>(&v), 2); };
  file << "RIFF";
  u32(36 + bytes);
  file << "WAVEfmt ";
  u32(16), u16(1), u16(1), u32(16000), u32(32000), u16(2), u16(16);
  file << "data";
  u32(bytes);
  for (const float sample : samples) {
    u16(static_cast<uint16_t>(static_cast<int16_t>(std::lround(sample * 32767))));
  }
}

}  // namespace slim
