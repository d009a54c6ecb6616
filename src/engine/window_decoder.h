// WindowDecoder: from encoder rows to tokens, by beam search or by sampling, for several windows at
// once, each with its own prompt. The beams and samples of a window share its encoder rows and the
// pages of their common beginning; all of all windows are one step's batch, which a window leaves
// when it is done.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/beam_search.h"
#include "engine/step_batch.h"
#include "engine/timestamp_rules.h"
#include "models/model.h"
#include "slim/slim.h"

namespace slim {

struct WindowRequest {
  std::vector<int32_t> prompt;  // earlier text, then the start token and what follows it
  int64_t start_index = 0;      // of the start token in prompt: no_speech_prob is read there
  const PageTable* encoded = nullptr;
  std::vector<int32_t> begun;  // what the result's tokens begin with, whatever the model says
  int32_t whole_before = 0;    // segments that begin before it have text (require_text)
  uint64_t stream = 0;         // below 2^43; windows of one number draw the same random numbers
  int64_t max_tokens = 0;      // of this window, if fewer than of all; 0: as many
};

struct WindowResult {
  std::vector<int32_t> tokens;  // what was begun and what was sampled, without the end token
  double avg_logprob = 0;       // over the sampled tokens and the end token
  double no_speech_prob = 0;    // from the raw logits at the start token; 0 without such a token
  double temperature = 0;
  double compression_ratio = 0;  // of the text; set by decode_with_fallback
};

struct DecodeCounts {
  int64_t steps = 0;   // decoder passes
  int64_t tokens = 0;  // chosen, of all beams and samples
  ContextBytes peak;   // most that the pages of these windows held at once
};

struct DecodeSetting {
  SamplingRules rules;
  int64_t max_tokens = 224;  // sampled per window at most; also ends where the positions do
  double temperature = 0;    // 0: beam search; greedy with one candidate
  int candidates = 1;        // beams of a window, or samples
  double patience = 1;       // of beam search
  std::optional<double> length_penalty;  // of beams and samples
  uint64_t seed = 0;
  int attempt = 0;  // each has random numbers of its own; below 1024, as are candidates
};

// The best candidate of each window (BeamSearch::best). Counts are added to, the peak is raised. A
// row's result does not depend on its neighbours.
std::vector<WindowResult> decode_windows(const Model& model, std::span<const WindowRequest> windows,
                                         const DecodeSetting& setting, DecodeCounts* counts);

// The most likely language of each window, by the logits after the start token alone.
struct DetectedLanguage {
  size_t index = 0;  // into tokens.languages
  double probability = 0;
};
std::vector<DetectedLanguage> detect_languages(const Model& model,
                                               std::span<const PageTable* const> encoded,
                                               const SpeechTokens& tokens);

}  // namespace slim
