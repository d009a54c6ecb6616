// Fallback: decodes windows again, at ever higher temperatures, where what came out is too
// repetitive or too unlikely to be what was said (openai-whisper's rule; the choice among texts
// that all fail is faster-whisper's).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/window_decoder.h"
#include "text/tokenizer.h"

namespace slim {

struct FallbackSetting {
  DecodeSetting decode;  // its temperature, candidates and attempt are set from what follows
  std::vector<double> temperatures = {0};
  int beam_size = 1;  // candidates at temperature 0
  int best_of = 1;    // above it
  double compression_ratio_threshold = 2.4;
  double logprob_threshold = -1;
  double no_speech_threshold = 0.6;
};

// Whether the result is to be decoded again. `compression_ratio` and the others are set.
bool needs_fallback(const FallbackSetting& setting, const WindowResult& result);

// Each window falls back on its own.
std::vector<WindowResult> decode_with_fallback(const Model& model,
                                               std::span<const WindowRequest> windows,
                                               const FallbackSetting& setting,
                                               const Tokenizer& tokenizer, DecodeCounts* counts);

// Length of the text in bytes over its length compressed by zlib (openai-whisper's measure of
// repetition); 0 for no text.
double compression_ratio(const std::string& text);

}  // namespace slim
