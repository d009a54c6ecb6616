// Track: one file (or a channel of it), decoded window after window, or cut into chunks that are
// decoded side by side. Where it is not `chunked` there is one chunk, the whole. Else a chunk takes
// at most a window; of what is longer, it ends with the last stretch of speech that it has room
// for, or, where silence is not left out, at the quietest 0.2 s of the window's last third. So
// chunks end in pauses, and what lies between two of them is in one of them. Where no timestamps
// part the text of a chunk, each stretch of speech is one.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "engine/recording.h"

namespace slim {

class Track {
 public:
  // Where it comes from, for whoever asks: the file's number, and the channel's.
  struct Origin {
    size_t file = 0;
    size_t channel = 0;
  };
  // Throws what Recording throws. `loudest`: as MelStream's.
  Track(Origin origin, std::unique_ptr<AudioReader> audio, int64_t bins,
        const TranscriptionSetting& setting, float loudest = std::numeric_limits<float>::lowest());

  const Origin& origin() const { return origin_; }
  // The next chunk, with a window to decode; null where none is left. It lives until finish().
  Recording* next();
  // Of a chunk that has no window left.
  void finish(const Recording* chunk);
  bool finished() const { return begun_all_ && chunks_.empty(); }

  bool needs_language() const { return whole_.needs_language(); }
  void set_language(int32_t id, const std::string& code, double probability);
  double seconds_done() const { return finished() ? seconds() : whole_.seconds_done(); }
  double seconds() const { return whole_.seconds(); }
  float loudest() { return whole_.frames().loudest(); }
  // What is done so far.
  Transcription take();

 private:
  struct Chunk {
    std::unique_ptr<Recording> recording;
    bool done = false;
  };
  // Where a chunk from clip.begin on ends. `mel`: the window that begins there.
  int64_t end_of_chunk(Clip clip, std::span<const float> mel);
  Recording* next_chunk();

  Origin origin_;
  bool chunked_;
  bool by_stretch_;           // a chunk is one stretch of speech at most
  int64_t window_;            // frames
  Recording whole_;           // decoded itself, or what its chunks come to
  std::vector<Clip> clips_;   // what is not cut yet, last one first
  std::deque<Chunk> chunks_;  // those that are not in the whole yet
  bool first_ = true;
  bool begun_all_ = false;
};

// The middle of the quietest moment of [begin, end) frames of mel, [frames, bins]: the mean of all
// bins over `around` frames either side is least, the latest of equals.
int64_t quietest(std::span<const float> mel, int64_t bins, Clip range, int64_t around);

}  // namespace slim
