// Recording: one file's progress through long-form transcription (openai-whisper's sequential
// algorithm): which frames come next, what earlier text prompts them, and how a window's tokens
// become segments and a new place to seek to.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "audio/log_mel.h"
#include "engine/transcription_setting.h"
#include "slim/slim.h"
#include "text/tokenizer.h"

namespace slim {

class Recording {
 public:
  // Reads the audio once. Throws what AudioReader throws, and Error{bad_request} for a language
  // that the model does not know.
  Recording(std::unique_ptr<AudioReader> audio, int64_t bins, const TranscriptionSetting& setting);

  // Moves to the next clip at the end of one and past digital silence (frames that are all alike
  // hold no speech, and models hear "you" in them), then says whether a window is left to decode.
  bool next_window();
  // Writes the window's frames: [window_frames, bins].
  void read_window(std::span<float> mel);
  // The prompt of the window: hotwords, earlier text, start token, language, task; and the prefix.
  WindowRequest request(const PageTable* encoded) const;
  // Turns the window's tokens into segments and moves on.
  void accept(const WindowResult& result);

  bool needs_language() const { return setting_.tokens->multilingual() && language_ < 0; }
  void set_language(int32_t id, std::string code, double probability);
  double seconds_done() const;
  double seconds() const { return transcription_.duration; }
  Transcription take() { return std::move(transcription_); }

 private:
  struct Clip {
    int64_t begin;  // frames
    int64_t end;
  };
  void find_clips();
  int64_t window_size() const;  // frames of content in the window
  void add_segment(const WindowResult& result, double start, double end,
                   std::span<const int32_t> tokens);
  // Segments between pairs of timestamps; returns the frames to move on by.
  int64_t split(const WindowResult& result);

  TranscriptionSetting setting_;
  MelStream mel_;
  int64_t seek_ = 0;         // frames
  std::vector<Clip> clips_;  // what is left to transcribe, last one first
  bool first_window_ = true;
  int32_t language_ = -1;
  std::vector<int32_t> earlier_;  // text that prompts the next window
  Transcription transcription_;
};

}  // namespace slim
