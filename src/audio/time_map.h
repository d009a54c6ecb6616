// TimeMap: between a recording and what is transcribed of it, where silence was left out. Frames
// are those of the spectrum (10 ms). Kept ones are counted from 0 on through all stretches; times
// go back by the distance between a stretch and where it came to lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace slim {

// A part of the recording that is kept: speech with some silence around it. Frames of the
// recording; begin <= speech_begin <= speech_end <= end.
struct Stretch {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t speech_begin = 0;
  int64_t speech_end = 0;

  int64_t frames() const { return end - begin; }
};

class TimeMap {
 public:
  // Ascending, none overlapping, none empty; may be none at all.
  explicit TimeMap(std::vector<Stretch> stretches);

  int64_t frames() const { return frames_; }  // kept
  const std::vector<Stretch>& stretches() const { return stretches_; }
  // Where kept frame `kept` lies in the recording; frames from the end on follow the last stretch.
  int64_t recording_frame(int64_t kept) const;
  // Kept frames that lie before a frame of the recording.
  int64_t kept_before(int64_t frame) const;

  // Seconds, start <= end.
  struct Times {
    double start = 0;
    double end = 0;
  };
  // Of something said among the kept frames, in the recording. It is said where speech is: one that
  // begins at the end of a stretch (in the silence there, or within 0.25 s of it) begins with the
  // next, and one that ends at the beginning of a stretch ends with the one before. What comes
  // later does not become earlier. Where nothing was left out, times stay as they are; else they
  // lie within the stretches.
  Times times(double start, double end) const;
  // Of what cannot be said across a gap, a word: within the last stretch whose speech it is part
  // of.
  Times times_in_one(double start, double end) const;

 private:
  size_t stretch_at(double kept_seconds) const;
  // Seconds of speech of a stretch within kept times.
  double overlap(size_t stretch, double start, double end) const;
  bool meant(size_t stretch, double start, double end) const;
  double in_stretch(size_t stretch, double kept_seconds) const;

  std::vector<Stretch> stretches_;
  std::vector<int64_t> kept_;  // kept frames before each stretch
  int64_t frames_ = 0;
};

}  // namespace slim
