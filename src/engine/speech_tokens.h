// SpeechTokens: the ids that steer a speech model's decoder, found by name in its tokenizer, and
// the ids that must never be sampled. A plain model (Moonshine) has two, for the beginning and the
// end of a text, and no other name means anything.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace slim {

struct SpeechTokens {
  int32_t start = 0;  // <|startoftranscript|>
  int32_t end = 0;    // <|endoftext|>
  // Of plain models none, -1.
  int32_t previous = -1;       // <|startofprev|>
  int32_t no_speech = -1;      // <|nospeech|>, <|nocaptions|> in older vocabularies
  int32_t no_timestamps = -1;  // <|notimestamps|>
  // Text is below the first, timestamps are above: those of plain models are all text.
  int32_t text_end = std::numeric_limits<int32_t>::max();         // <|endoftext|>
  int32_t first_timestamp = std::numeric_limits<int32_t>::max();  // <|0.00|>; then 20 ms apart
  int32_t transcribe = -1;                                        // <|transcribe|>
  int32_t translate = -1;  // <|translate|>; -1 if the vocabulary lacks it
  int32_t blank = -1;      // " ": must not come first; -1 if the vocabulary lacks it
  struct Language {
    std::string code;  // "en"
    int32_t id;
  };
  std::vector<Language> languages;  // in id order; empty for English-only models
  // Brackets, music notes and other marks that are not speech (openai-whisper's suppress_tokens
  // "-1"), and the tokens that must not be sampled whatever is asked for. Ascending.
  std::vector<int32_t> non_speech;
  std::vector<int32_t> steering;

  bool plain() const { return no_timestamps < 0; }
  bool multilingual() const { return !languages.empty(); }
  // Throws Error{bad_request} for a language the model does not know, naming those it knows.
  int32_t language(std::string_view code) const;
};

// `vocabulary` is the model's: English-only models (below 51865 ids) list language tokens that they
// were never trained on. Throws Error{unsupported_model} if a steering token is missing.
SpeechTokens speech_tokens(const Tokenizer& tokenizer, bool multilingual);

// Of a plain model: decoder_start_token_id and eos_token_id, of generation_config.json or
// config.json. Throws Error{bad_file} where neither file has them.
SpeechTokens plain_speech_tokens(const std::filesystem::path& directory, int64_t vocabulary);

}  // namespace slim
