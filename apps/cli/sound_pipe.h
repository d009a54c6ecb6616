// SoundPipe: samples of a wav that is still being written, or of none but samples, as they come:
// the input of `transcribe --live`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace slim::cli {

class SoundPipe {
 public:
  // `path`: "-" is standard input. `raw`: s16le samples of 16 kHz, one channel, from the first byte
  // on; else a wav header of 16 kHz, s16 or f32, and any number of channels, whose mean is taken.
  // Throws Error{bad_file} with the path.
  SoundPipe(const std::string& path, bool raw);
  ~SoundPipe();
  SoundPipe(const SoundPipe&) = delete;
  SoundPipe& operator=(const SoundPipe&) = delete;

  // Waits for what comes next, half a second of it at most. Empty at the end; or where a signal
  // interrupts.
  std::vector<float> read();

 private:
  bool fill(size_t bytes);  // of pending_; false where it ends before
  void read_header();
  void read_format(const std::vector<unsigned char>& chunk);
  [[noreturn]] void fail(const std::string& sentence) const;

  std::string name_;
  int descriptor_ = -1;
  int64_t channels_ = 1;
  bool floats_ = false;
  int64_t frames_ = 0;          // read so far
  uint64_t left_ = UINT64_MAX;  // bytes of samples that the header promises
  std::vector<unsigned char> pending_;
};

}  // namespace slim::cli
