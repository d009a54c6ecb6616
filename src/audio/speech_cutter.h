// SpeechCutter: from probabilities of speech, each of a step of samples, to stretches of it, by the
// rules of Silero's detector as faster-whisper has them. Speech begins with the step whose
// probability reaches `threshold`, and ends where it falls below `neg_threshold` for as long as
// `min_silence`.
#pragma once

#include <cstdint>
#include <vector>

#include "audio/time_map.h"

namespace slim {

// Durations in samples of 16 kHz.
struct SpeechRules {
  double threshold = 0.5;
  double neg_threshold = 0.35;
  int64_t min_speech = 0;       // shorter speech is dropped
  int64_t max_speech = 0;       // longer speech is cut at its last pause of 0.1 s, or right there
  int64_t min_silence = 32000;  // shorter silence does not end speech
  int64_t padding = 6400;       // of silence kept on each side; or half of what there is
};

class SpeechCutter {
 public:
  // `step`: samples that a probability is of.
  SpeechCutter(const SpeechRules& rules, int64_t step) : rules_(rules), step_(step) {}

  // The next step's probability.
  void push(double probability);
  // The stretches of a recording of so many samples, in samples, with their padding.
  std::vector<Stretch> finish(int64_t samples);

 private:
  void add(int64_t begin, int64_t end);
  void cut_long(int64_t at);
  void forget_pauses() { silence_ = pause_ = resumed_ = kNone; }

  static constexpr int64_t kNone = -1;
  SpeechRules rules_;
  int64_t step_;
  int64_t next_ = 0;  // where the next step begins
  bool speaking_ = false;
  int64_t begin_ = 0;        // of the speech
  int64_t silence_ = kNone;  // where the silence within it began
  int64_t pause_ = kNone;    // where the last pause that it may be cut at began
  int64_t resumed_ = kNone;  // where it went on after that
  std::vector<Stretch> found_;
};

}  // namespace slim
