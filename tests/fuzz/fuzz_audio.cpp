// Fuzzes AudioReader: whatever the bytes of a file, it is read or refused with an Error{bad_file},
// twice the same, and every sample that comes out is finite.
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "audio/audio_reader.h"
#include "slim/error.h"

namespace {

// A few bytes can stand for hours; the first minute is enough.
constexpr int64_t kMostSamples = 60 * slim::kSampleRate;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

std::vector<float> read_some(slim::AudioReader& reader) {
  std::vector<float> samples;
  std::vector<float> piece(10007);
  while (static_cast<int64_t>(samples.size()) < kMostSamples) {
    const int64_t count = reader.read(piece);
    require(count >= 0 && count <= static_cast<int64_t>(piece.size()));
    if (count == 0) break;
    samples.insert(samples.end(), piece.begin(), piece.begin() + count);
  }
  return samples;
}

void read_file(const std::string& path) {
  try {
    const auto reader = slim::AudioReader::open(path);
    require(reader->expected_samples() >= -1);
    const auto samples = read_some(*reader);
    for (const float sample : samples) require(std::isfinite(sample));
    reader->rewind();
    require(read_some(*reader) == samples);
  } catch (const slim::Error& error) {
    require(error.code() == slim::ErrorCode::bad_file);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int file = ::memfd_create("fuzz_audio", MFD_CLOEXEC);
  require(file >= 0 && ::write(file, data, size) == static_cast<ssize_t>(size));
  read_file("/proc/self/fd/" + std::to_string(file));
  ::close(file);
  return 0;
}
