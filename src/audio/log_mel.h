// Log-mel spectra as openai-whisper computes them: 16 kHz, Hann window of 400, hop 160, centred
// with reflection, power spectrum, Slaney mel filters (80 or 128), log10 clamped at 1e-10, clamped
// at 8 below the maximum of the *whole recording*, (x + 4) / 4. Equal to it within 1e-4.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "audio/audio_reader.h"

namespace slim {

constexpr int64_t kHop = 160;            // samples a frame
constexpr int64_t kWindowFrames = 3000;  // frames of one encoder window: 30 s
constexpr int64_t kFramesPerSecond = 100;

// Random-access frames over a recording of any length, in memory that does not grow with it: the
// recording is read twice, once for its maximum (on construction) and once for its frames, and
// asking for an earlier frame than before starts the second reading over. Its samples can be had
// beside its frames, by models that hear those.
class MelStream {
 public:
  // `bins` 80 or 128. Reads the whole recording once. Throws what AudioReader throws. `loudest`:
  // the floor is that of a recording in which there is such a value at least. `keep_samples`: for
  // read_samples(). `hear`: given all samples in order, as they are read; or empty.
  using Hear = std::function<void(std::span<const float>)>;
  MelStream(std::unique_ptr<AudioReader> audio, int64_t bins,
            float loudest = std::numeric_limits<float>::lowest(), bool keep_samples = false,
            Hear hear = {});
  ~MelStream();

  int64_t samples() const noexcept;  // 16 kHz samples in the recording
  // Frames with content: samples / kHop, as openai-whisper's content_frames (its mel is computed
  // over the recording followed by 30 s of zeros, so later frames exist and hold silence).
  int64_t frames() const noexcept;
  int64_t bins() const noexcept;
  float loudest() const noexcept;  // the largest value there is, in the scale of read()

  // Writes frames [first, first + count) to out as [count, bins] (frame-major: channels last, the
  // layout of Kernels::convolve). Frames from frames() on are zero (as openai-whisper pads a
  // window's features), as in pad_or_trim.
  void read(int64_t first, int64_t count, std::span<float> out);
  // Appends samples [begin, end) of the recording, at most kWindowFrames * kHop and the last
  // frame's rest.
  void read_samples(int64_t begin, int64_t end, std::vector<float>& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slim
