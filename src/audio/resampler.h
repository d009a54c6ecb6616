// Resampler: one channel of f32 samples from any rate to another, in pieces, by libsoxr at high
// quality (20 bits, linear phase, passes up to 0.91 of the lower Nyquist frequency). The delay of
// its filters is taken out: n samples become round(n * to / from) within one, aligned with the
// input.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

namespace slim {

class Resampler {
 public:
  // Rates in Hz. Throws Error{out_of_memory} if the filters cannot be made.
  Resampler(double from, double to);

  struct Progress {
    int64_t used = 0;  // samples of `in` that were taken
    int64_t made = 0;  // samples of `out` that were written
  };
  // Takes what it can of `in`, writes what it can of `out`.
  Progress process(std::span<const float> in, std::span<float> out);
  // After the last sample: writes what the filters still hold; returns its length, 0 when it is
  // all out.
  int64_t finish(std::span<float> out);

 private:
  struct Delete {
    void operator()(void* soxr) const noexcept;
  };
  Progress run(const float* in, size_t in_length, std::span<float> out);
  std::unique_ptr<void, Delete> soxr_;
};

}  // namespace slim
