// AudioReader: mp3 and any audio libsndfile reads (wav, flac, ogg, aiff, ...) at any rate and
// channel count as 16 kHz mono f32, in pieces: memory does not grow with the file. Channels are
// averaged; resampling is libsoxr's high quality; 16 kHz passes through bit by bit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace slim {

constexpr int64_t kSampleRate = 16000;

class AudioReader {
 public:
  // "-" reads standard input; it, as any pipe, goes through an unlinked temporary file so that it
  // can be read twice. Throws Error{bad_file} with path and reason: missing, empty, not audio, a
  // rate outside [1000, 768000], a header that promises more frames than the file has (wav and aiff
  // here; flac and mp3 in read(); other formats do not tell).
  static std::unique_ptr<AudioReader> open(const std::string& path);
  // The same file, each channel by itself.
  static std::vector<std::unique_ptr<AudioReader>> open_channels(const std::string& path);
  // 16 kHz mono samples in memory (tests, bindings); copies them.
  static std::unique_ptr<AudioReader> from_samples(std::span<const float> samples,
                                                   std::string name);
  virtual ~AudioReader() = default;

  // Fills `out` as far as there is audio; returns the samples written; 0 at the end. Throws
  // Error{bad_file} at a NaN, infinite or absurdly loud sample (naming its time), where the file
  // cannot be decoded and where it ends early; after that only rewind() may be called.
  virtual int64_t read(std::span<float> out) = 0;
  // Starts over.
  virtual void rewind() = 0;
  // The length in 16 kHz samples that the header promises; -1 if it does not say.
  virtual int64_t expected_samples() const = 0;
  const std::string& name() const noexcept { return name_; }

 protected:
  explicit AudioReader(std::string name) : name_(std::move(name)) {}

 private:
  std::string name_;
};

}  // namespace slim
