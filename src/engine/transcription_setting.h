// TranscriptionSetting: what stays the same for all windows of all recordings of one call: the
// options, checked, and what they mean for this model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "audio/speech_frames.h"
#include "engine/fallback.h"
#include "engine/speech_tokens.h"
#include "models/spec.h"
#include "slim/transcription.h"
#include "text/tokenizer.h"

namespace slim {

struct TranscriptionSetting {
  const Tokenizer* tokenizer = nullptr;
  const SpeechTokens* tokens = nullptr;
  TranscribeOptions options;
  int64_t window_frames = 3000;  // what the encoder takes: two frames a position, or 30 s
  int64_t bins = 80;             // of the spectrum: the model's, or what pauses are found by
  bool waveform = false;         // the model hears samples
  int64_t text_positions = 448;  // the decoder's
  int32_t task = -1;             // <|transcribe|> or <|translate|>
  FallbackSetting fallback;
  std::optional<SpeechFilter> speech_filter;  // where silence is left out
  // The options' texts, in tokens; at most prompt_budget() of hotwords and of the prefix.
  std::vector<int32_t> initial_prompt;
  std::vector<int32_t> hotwords;
  std::vector<int32_t> prefix;

  // Decoded in chunks: where that is asked for, and where no timestamp says how far a window was
  // heard.
  bool chunked() const { return options.batched || tokens->plain(); }
  std::string vad_detector() const {  // Transcription::vad_detector
    return !speech_filter ? "" : speech_filter->detector ? "network" : "energy";
  }
  // What earlier text, hotwords and prefix may take: it leaves half the positions to a window.
  int64_t prompt_budget() const { return text_positions / 2 - 1; }
};

// Throws Error{bad_request} naming the option that cannot be served. `tokenizer` and `tokens` must
// outlive the setting.
TranscriptionSetting transcription_setting(const Tokenizer& tokenizer, const SpeechTokens& tokens,
                                           const ModelSpec& spec, const TranscribeOptions& options);

}  // namespace slim
