// What may be sampled next: openai-whisper's timestamp rules, blank rule and suppress list, for one
// row of logits.
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

// The tokens that may not come next in each row of a step, as data: whoever has the logits, on
// whatever device, makes them -infinity (Kernels::forbid).
class ForbiddenTokens {
 public:
  ForbiddenTokens(const SamplingRules& rules, int64_t vocabulary)
      : rules_(rules), vocabulary_(vocabulary) {}

  // What never comes; row -1: in any row.
  void forbid_always(int32_t row);
  // What may not follow `sampled`, which is what this window has produced so far.
  void forbid_after(std::span<const int32_t> sampled, int32_t row);
  // Forbids the end right after a segment's first timestamp (other than the text's first token), if
  // that is before `before`, in timestamp steps: for windows that end in a pause, where models say
  // all the same that a segment was cut off, and leave its text out.
  void require_text(std::span<const int32_t> sampled, int32_t before, int32_t row);

  std::span<const ForbiddenColumns> columns() const noexcept { return columns_; }

 private:
  void forbid(int32_t row, int64_t begin, int64_t end);
  void forbid_unpaired(std::span<const int32_t> sampled, int32_t row);

  const SamplingRules& rules_;
  int64_t vocabulary_;
  std::vector<ForbiddenColumns> columns_;
};

// The last rule, on a row of log-probabilities of what is not forbidden: where the timestamps
// together are more likely than any other token, forbids all others and makes the timestamps' sum
// to one. FindCandidates does so with the columns from `settled_tail` on.
int64_t settled_tail(const SamplingRules& rules);
void settle_timestamps(const SamplingRules& rules, std::span<float> logprobs);

struct Choice {
  int32_t token = -1;
  float logprob = 0;
};

// Draws by the probabilities to the power of 1 / temperature, which is above 0. The log-probability
// is the one before the power; -infinity if none is possible (nor in a row of NaN).
Choice draw(std::span<const float> logprobs, double temperature, RandomNumbers& random);

}  // namespace slim
