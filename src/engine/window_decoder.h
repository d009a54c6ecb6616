// WindowDecoder: from encoder rows to tokens. Greedy, for several windows at once, each with its
// own prompt; a window that ends leaves the batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/step_batch.h"
#include "engine/timestamp_rules.h"
#include "models/model.h"
#include "slim/slim.h"

namespace slim {

struct WindowRequest {
  std::vector<int32_t> prompt;  // earlier text, then the start token and what follows it
  int64_t start_index = 0;      // of the start token in prompt: no_speech_prob is read there
  const PageTable* encoded = nullptr;
};

struct WindowResult {
  std::vector<int32_t> tokens;  // sampled, without the end token
  double avg_logprob = 0;       // over the tokens and the end token
  double no_speech_prob = 0;    // from the raw logits at the start token
};

struct DecodeCounts {
  int64_t steps = 0;   // decoder passes
  int64_t tokens = 0;  // sampled
  ContextBytes peak;   // most that the pages of these windows held at once
};

// `max_tokens` sampled tokens per window at most; also ends where the decoder's positions do.
// Counts are added to, the peak is raised. A row's result does not depend on its neighbours.
std::vector<WindowResult> decode_windows(const Model& model, std::span<const WindowRequest> windows,
                                         const SamplingRules& rules, int64_t max_tokens,
                                         DecodeCounts* counts);

// The most likely language of each window, by the logits after the start token alone.
struct DetectedLanguage {
  size_t index = 0;  // into tokens.languages
  double probability = 0;
};
std::vector<DetectedLanguage> detect_languages(const Model& model,
                                               std::span<const PageTable* const> encoded,
                                               const SpeechTokens& tokens);

}  // namespace slim
