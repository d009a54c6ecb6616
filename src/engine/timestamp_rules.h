// What may be sampled next: openai-whisper's timestamp rules, blank rule and suppress list, as a
// filter on one row of logits.
//
//  * suppressed ids never; a blank and the end never first (unless that is allowed);
//  <|notimestamps|> never
//  * timestamps come in pairs (end of one segment, start of the next), never decrease, and no
//    segment has length zero; the first token is a timestamp of at most max_initial
//  * optionally, a segment that has begun has text
//  * where the timestamps together are more likely than any single other token, one of them it is
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/logits.h"
#include "engine/random_numbers.h"
#include "engine/speech_tokens.h"

namespace slim {

struct SamplingRules {
  const SpeechTokens* tokens = nullptr;
  bool timestamps = true;
  int32_t max_initial = 50;  // in timestamp steps of 20 ms
  bool suppress_blank = true;
  std::vector<int32_t> suppressed;
};

// Sets forbidden logits to -infinity; `sampled` is what this window has produced so far.
void apply_rules(const SamplingRules& rules, std::span<const int32_t> sampled,
                 std::span<float> logits);

// Forbids the end right after a segment's first timestamp (other than the text's first token), if
// that is before `before`, in timestamp steps: for windows that end in a pause, where models say
// all the same that a segment was cut off, and leave its text out.
void require_text(const SamplingRules& rules, std::span<const int32_t> sampled, int32_t before,
                  std::span<float> logits);

// The last rule, on a row of filtered log-probabilities: where the timestamps together are more
// likely than any other token, forbids all others and makes the timestamps' sum to one.
void settle_timestamps(const SamplingRules& rules, std::span<float> logprobs);

struct Choice {
  int32_t token = -1;
  float logprob = 0;
};

// Draws by the probabilities to the power of 1 / temperature, which is above 0. The log-probability
// is the one before the power; -infinity if none is possible (nor in a row of NaN).
Choice draw(std::span<const float> logprobs, double temperature, RandomNumbers& random);

}  // namespace slim
