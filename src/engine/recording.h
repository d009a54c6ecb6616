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
#include "engine/speech_tokens.h"
#include "engine/window_decoder.h"
#include "slim/slim.h"
#include "text/tokenizer.h"

namespace slim {

// What stays the same for all windows of all recordings of one call.
struct TranscriptionSetting {
  const Tokenizer* tokenizer = nullptr;
  const SpeechTokens* tokens = nullptr;
  TranscribeOptions options;
  int64_t window_frames = 3000;  // what the encoder takes: two frames a position
  int64_t text_positions = 448;  // the decoder's
};

class Recording {
 public:
  // Reads the audio once. Throws what AudioReader throws, and Error{bad_request} for a language
  // that the model does not know.
  Recording(std::unique_ptr<AudioReader> audio, int64_t bins, const TranscriptionSetting& setting);

  // Moves past digital silence (frames that are all alike hold no speech, and models hear "you" in
  // them), then says whether a window is left to decode.
  bool next_window();
  // Writes the window's frames: [window_frames, bins].
  void read_window(std::span<float> mel);
  // The prompt of the window: earlier text, start token, language, task.
  WindowRequest request(const PageTable* encoded) const;
  // Turns the window's tokens into segments and moves on.
  void accept(const WindowResult& result);

  bool needs_language() const { return setting_.tokens->multilingual() && language_ < 0; }
  void set_language(int32_t id, std::string code, double probability);
  double seconds_done() const;
  double seconds() const { return transcription_.duration; }
  Transcription take() { return std::move(transcription_); }

 private:
  int64_t window_size() const;  // frames of content in the window
  void add_segment(const WindowResult& result, double start, double end,
                   std::span<const int32_t> tokens);
  // Segments between pairs of timestamps; returns the frames to move on by.
  int64_t split(const WindowResult& result);

  TranscriptionSetting setting_;
  MelStream mel_;
  int64_t seek_ = 0;  // frames
  int32_t language_ = -1;
  std::vector<int32_t> text_tokens_;  // of all segments so far
  Transcription transcription_;
};

// Length of the text in bytes over its length compressed by zlib (openai-whisper's measure of
// repetition); 0 for no text.
double compression_ratio(const std::string& text);

}  // namespace slim
