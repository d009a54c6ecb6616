// Speech to text: what Engine::transcribe takes and gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace slim {

struct TranscribeOptions {
  std::string language;                    // "" detects it (multilingual models), or "en"
  bool condition_on_previous_text = true;  // up to 223 tokens of earlier text as a prompt
  bool without_timestamps = false;         // decode without timestamp tokens
  double no_speech_threshold = 0.6;        // skip a window above this probability of silence ...
  double logprob_threshold = -1.0;         // ... unless its mean log-probability is above this
  double max_initial_timestamp = 1.0;      // seconds
  int max_tokens = 0;                      // per window; 0: half the context (224)
  int batch_size = 1;                      // files decoded together, a window of each at a time
  // Called from the transcribing thread; returning false stops with what there is so far.
  std::function<bool(size_t file, double seconds_done, double seconds_total)> on_progress;
};

// The fields of faster-whisper's segments. Times in seconds from the start of the file.
struct Segment {
  int id = 0;    // 1, 2, ...
  int seek = 0;  // first frame (10 ms) of the window it was decoded from
  double start = 0;
  double end = 0;
  std::string text;  // valid UTF-8, with its leading space
  std::vector<int32_t> tokens;
  double temperature = 0;
  double avg_logprob = 0;
  double compression_ratio = 0;  // of the window's text, by zlib
  double no_speech_prob = 0;
};

struct Stats {
  double audio_seconds = 0;
  double load_seconds = 0;
  double mel_seconds = 0;
  double encode_seconds = 0;
  double decode_seconds = 0;
  double total_seconds = 0;  // without loading
  int64_t windows = 0;
  int64_t tokens = 0;                 // generated
  int64_t steps = 0;                  // decoder passes
  int64_t context_peak_bytes = 0;     // most pages held at once: rows, encoder rows, scales
  int64_t context_peak_kv_bytes = 0;  // what a standard cache in rows of the same type would hold
  int64_t weight_bytes = 0;           // as used: mapped or derived
};

struct Transcription {
  std::string language;
  double language_probability = 1;
  double duration = 0;  // seconds
  std::vector<Segment> segments;
  std::string text() const;  // all segments, leading space trimmed
};

}  // namespace slim
