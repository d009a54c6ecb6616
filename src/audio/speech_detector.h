// SpeechDetector: tells speech from other sound by the samples of a recording, a step of them at a
// time. Where there is none, frames are judged by their energy (speech_probability.h).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/function_ref.h"

namespace slim {

class SpeechDetector {
 public:
  // Hears one recording, from its beginning on.
  class Listener {
   public:
    virtual ~Listener() = default;
    // The next samples, of 16 kHz. `take` is given the probability of each step, in order; of the
    // latest ones maybe in a later call.
    virtual void hear(std::span<const float> samples, FunctionRef<void(double)> take) = 0;
    // The recording has ended. Its last step goes on in zeros.
    virtual void finish(FunctionRef<void(double)> take) = 0;
  };

  virtual ~SpeechDetector() = default;
  virtual int64_t step() const = 0;  // samples that a probability is of
  virtual std::unique_ptr<Listener> listen() const = 0;
};

}  // namespace slim
