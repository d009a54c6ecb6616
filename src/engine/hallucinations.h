// Hallucinations: segments of improbable, very short or very long words amid silence, which models
// hear where nothing is said. What openai-whisper does about them with a threshold on silence: go
// on from the end of the silence before them.
#pragma once

#include <optional>
#include <vector>

#include "slim/transcription.h"

namespace slim {

// A window in seconds, and what lies around it.
struct WindowBounds {
  double begin = 0;
  double end = 0;            // of its content
  double full_end = 0;       // had it been full
  double recording_end = 0;  // end of all there is to transcribe
  double last_speech = 0;    // end of what was said before
};

// Drops the first segment that seems made up and lies in silences of more than `threshold` seconds,
// and all after it; segments must have their words. Returns the second to go on from, beyond the
// window's beginning; none if nothing was dropped.
std::optional<double> drop_hallucinations(std::vector<Segment>& segments,
                                          const WindowBounds& window, double threshold);

}  // namespace slim
