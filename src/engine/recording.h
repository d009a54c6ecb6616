// Recording: one file's progress through long-form transcription (openai-whisper's sequential
// algorithm): which frames come next, what earlier text prompts them, and how a window's tokens
// become segments and a new place to seek to. A chunk of a file can be a recording of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "audio/speech_frames.h"
#include "engine/token_times.h"
#include "engine/transcription_setting.h"
#include "slim/slim.h"
#include "text/tokenizer.h"

namespace slim {

// A part of a recording. Frames; those that are kept count.
struct Clip {
  int64_t begin = 0;
  int64_t end = 0;
};

class Recording {
 public:
  // Reads the audio once. Throws what AudioReader throws, and Error{bad_request} for a language
  // that the model does not know.
  // `loudest`: as MelStream's.
  Recording(std::unique_ptr<AudioReader> audio, int64_t bins, const TranscriptionSetting& setting,
            float loudest = std::numeric_limits<float>::lowest());
  // A chunk of another, from these frames of it: [clip, bins]. No text comes before it but the
  // initial prompt. `first`: the prefix begins its text.
  Recording(const Recording& whole, Clip clip, std::vector<float> mel, bool first);

  // What there is to transcribe, last one first.
  const std::vector<Clip>& clips() const { return clips_; }
  SpeechFrames& frames() { return *mel_; }

  // Moves to the next clip at the end of one and past digital silence (frames that are all alike
  // hold no speech, and models hear "you" in them), then says whether a window is left to decode.
  bool next_window();
  // Writes the window's frames: [window_frames, bins].
  void read_window(std::span<float> mel);
  // The samples of a chunk, for models that hear those.
  const std::vector<float>& samples() const { return chunk_samples_; }
  // The prompt of the window: hotwords, earlier text, start token, language, task; and the prefix.
  WindowRequest request(const PageTable* encoded) const;
  // Finds when the tokens of a text (ids below the end token) are said in the window, given the
  // start token with language and task, and how many frames hold sound.
  using Align = std::function<TokenTimes(std::span<const int32_t> start,
                                         std::span<const int32_t> text, int64_t frames)>;
  // Turns the window's tokens into segments and moves on. `align`: asked where word times are
  // wanted.
  void accept(const WindowResult& result, const Align& align = {});

  bool needs_language() const { return setting_.tokens->multilingual() && language_ < 0; }
  void set_language(int32_t id, std::string code, double probability);
  // What is spoken in the window at hand, where that is detected anew for each.
  void set_window_language(int32_t id, std::string code);
  double seconds_done() const;
  double seconds() const { return transcription_.duration; }
  // Goes on with the segments of a chunk, which come after its own.
  void append(Recording& chunk);
  Transcription take() { return std::move(transcription_); }

 private:
  void find_clips();
  void read(int64_t first, int64_t count, std::span<float> out);
  int64_t window_size() const;  // frames of content in the window
  // What a window's tokens come to.
  struct Heard {
    std::vector<Segment> segments;
    int64_t next = 0;           // frame to go on from
    bool silent_after = false;  // the model says that nothing follows the last segment
  };
  // The start token, language and task.
  std::vector<int32_t> start_tokens() const;
  Segment segment_of(const WindowResult& result, double start, double end,
                     std::span<const int32_t> tokens) const;
  // Segments between pairs of timestamps.
  Heard split(const WindowResult& result) const;
  // Gives the segments their words, by which they end and the next window begins.
  void find_words(Heard& heard, const Align& align);
  void skip_hallucinations(Heard& heard, double threshold) const;
  // Takes a segment, with times in the file.
  void keep(Segment segment);

  TranscriptionSetting setting_;
  std::shared_ptr<SpeechFrames> mel_;  // of the whole, where this is a chunk
  std::optional<Clip> chunk_;
  std::vector<float> chunk_mel_;
  std::vector<float> chunk_samples_;
  int64_t seek_ = 0;         // frames; those that are kept count, here and in the windows
  std::vector<Clip> clips_;  // what is left to transcribe, last one first
  double last_speech_ = 0;   // seconds: where the last word ends
  bool first_window_ = true;
  int32_t language_ = -1;  // of the window, as its code
  std::string language_code_;
  std::vector<int32_t> earlier_;  // text that prompts the next window
  Transcription transcription_;
};

}  // namespace slim
