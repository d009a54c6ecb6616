// SampleDecoder: a file's samples at its own rate and channels. Two libraries stand behind it:
// libmpg123 for MPEG layers 1 to 3, libsndfile for all else. libsndfile reads mp3 through libmpg123
// too, but stops where it guesses the end to be: a variable bit rate without a length tag lost half
// of a recording in silence; and it lets libmpg123 write to standard error.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "slim/error.h"

namespace slim {

// Throws Error{bad_file} at the first sample that is not a number, infinite or absurd. `first` is
// the index of samples[0] in the file.
void check_samples(std::span<const float> samples, int64_t first, double rate,
                   const std::string& name);

struct SampleFormat {
  int64_t rate = 0;  // Hz
  int64_t channels = 0;
  int64_t frames = -1;  // (a sample of every channel) promised by the file; -1: it does not say
  int64_t slack = 0;    // frames by which good files fall short of that
};

class SampleDecoder {
 public:
  // From the start of `file`, which must outlive the decoder. `name` is the place of its errors.
  // Throws Error{bad_file} where the file is not audio.
  static std::unique_ptr<SampleDecoder> open(std::FILE* file, const std::string& name);
  virtual ~SampleDecoder() = default;

  const SampleFormat& format() const noexcept { return format_; }
  // Fills `out`, channels interleaved, with whole frames as far as there are any; returns their
  // number. Throws Error{bad_file} where the file cannot be decoded or ends before its promise.
  int64_t read(std::span<float> out);

 protected:
  explicit SampleDecoder(std::string name) : name_(std::move(name)) {}
  [[noreturn]] void fail(std::string text) const;
  double seconds(int64_t frame) const;

  SampleFormat format_;

 private:
  // As read(), unchecked; `failure` becomes the library's reason where it met an error.
  virtual int64_t decode(std::span<float> out, std::string& failure) = 0;

  std::string name_;
  int64_t position_ = 0;  // frames decoded
};

std::unique_ptr<SampleDecoder> open_sndfile(std::FILE* file, const std::string& name);
// Nothing where the file does not begin like MPEG audio.
std::unique_ptr<SampleDecoder> open_mpeg(std::FILE* file, const std::string& name);

}  // namespace slim
