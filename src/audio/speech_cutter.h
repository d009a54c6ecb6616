// SpeechCutter: from probabilities of speech to stretches of it, by the rules of Silero's detector
// as faster-whisper has them. Speech begins where the probability reaches `threshold`, and ends
// where it falls below `neg_threshold` for as long as `min_silence`.
#pragma once

#include <cstdint>
#include <vector>

#include "audio/time_map.h"

namespace slim {

// Durations in frames.
struct SpeechRules {
  double threshold = 0.5;
  double neg_threshold = 0.35;
  int64_t min_speech = 0;     // shorter speech is dropped
  int64_t max_speech = 0;     // longer speech is cut at its last pause of 0.1 s, or right there
  int64_t min_silence = 200;  // shorter silence does not end speech
  int64_t padding = 40;       // of silence kept on each side; or half of what there is
};

class SpeechCutter {
 public:
  explicit SpeechCutter(const SpeechRules& rules) : rules_(rules) {}

  // The next frame's probability.
  void push(double probability);
  // The stretches of all frames, with their padding.
  std::vector<Stretch> finish();

 private:
  void add(int64_t begin, int64_t end);
  void cut_long(int64_t frame);
  void forget_pauses() { silence_ = pause_ = resumed_ = kNone; }

  static constexpr int64_t kNone = -1;
  SpeechRules rules_;
  int64_t frames_ = 0;
  bool speaking_ = false;
  int64_t begin_ = 0;        // of the speech
  int64_t silence_ = kNone;  // where the silence within it began
  int64_t pause_ = kNone;    // where the last pause that it may be cut at began
  int64_t resumed_ = kNone;  // where it went on after that
  std::vector<Stretch> found_;
};

}  // namespace slim
