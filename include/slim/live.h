// Speech that is transcribed while it is still coming in.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "slim/transcription.h"

namespace slim {

class Engine;

struct LiveOptions {
  // Not for live use, and Error{bad_request}: batched, vad_filter, clip_timestamps, split_channels,
  // without_timestamps. The callbacks are not called.
  TranscribeOptions transcribe;
  double step_seconds = 2;  // of new sound, after which the text is looked at again; 0.1 to 10
};

struct LiveUpdate {
  std::vector<Segment> segments;  // final since the last update; times from the first sample on
  std::string partial;            // what seems to be said after them; changes from look to look
  double seconds = 0;             // of sound heard so far
};

// What has come in since the last final segment, at most a window (30 s), is decoded anew with each
// step. A segment is final when two looks in a row agree on its text and it is over: another one
// follows, or a second without speech; or when the window is full. Memory does not grow. Models
// without timestamps have a segment for what is said up to a pause.
//
// The text is not quite that of a file: the floor of the spectrum depends on the loudest moment
// *so far*, and windows begin at final segments. Not thread-safe; several over one engine do not
// disturb each other.
class LiveTranscription {
 public:
  // The engine must outlive it. Throws Error{bad_request} for options that cannot be served.
  LiveTranscription(Engine& engine, const LiveOptions& options);
  ~LiveTranscription();

  // Takes samples of 16 kHz, mono, any number of them. An update if a step became full. Throws
  // Error{bad_file} for what is not sound, and takes none of the samples then.
  std::optional<LiveUpdate> push(std::span<const float> samples);
  // The sound has ended: the rest is final. Nothing may be pushed afterwards.
  LiveUpdate finish();

  std::string vad_detector() const;     // Transcription::vad_detector; "" for most models
  const std::string& language() const;  // "" until it is known, and where no token tells
  int64_t held_samples() const;         // a window and a step at most, and what push() brought

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slim
