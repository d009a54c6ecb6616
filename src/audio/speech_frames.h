// SpeechFrames: a recording's spectrum, and its samples where they are wanted, or what is left of
// both without silence. Frames are counted among those that are kept; map() says where they lie in
// the recording.
#pragma once

#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "audio/log_mel.h"
#include "audio/speech_cutter.h"
#include "audio/speech_detector.h"
#include "audio/time_map.h"

namespace slim {

// What silence is left out by.
struct SpeechFilter {
  SpeechRules rules;
  std::shared_ptr<const SpeechDetector> detector;  // none: by energy

  int64_t step() const { return detector ? detector->step() : kHop; }
};

class SpeechFrames {
 public:
  // Reads the whole recording once; by energy twice (once if it is shorter than a minute). Throws
  // what AudioReader throws. `loudest`, `keep_samples`: as MelStream's.
  SpeechFrames(std::unique_ptr<AudioReader> audio, int64_t bins,
               const std::optional<SpeechFilter>& filter,
               float loudest = std::numeric_limits<float>::lowest(), bool keep_samples = false);

  int64_t samples() const noexcept { return mel_.samples(); }  // of the recording
  int64_t frames() const noexcept { return map_.frames(); }
  int64_t bins() const noexcept { return mel_.bins(); }
  float loudest() const noexcept { return mel_.loudest(); }
  const TimeMap& map() const noexcept { return map_; }

  // As MelStream::read. Frames of the last call are kept, so that a window which begins within the
  // one before it does not read the recording anew.
  void read(int64_t first, int64_t count, std::span<float> out);
  // The samples of frames [first, first + count), a window at most; those after the recording's
  // last whole frame go with it.
  std::vector<float> samples_of(int64_t first, int64_t count);

 private:
  class Search;
  SpeechFrames(std::unique_ptr<AudioReader> audio, int64_t bins, std::unique_ptr<Search> search,
               float loudest, bool keep_samples);
  void read_stretches(int64_t first, int64_t count, std::span<float> out);

  MelStream mel_;
  TimeMap map_;
  int64_t kept_first_ = 0;
  std::vector<float> kept_;
};

}  // namespace slim
