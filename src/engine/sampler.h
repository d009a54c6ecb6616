// Sampler: from a row of logits to a token. One per sample: it counts what the text has in it and
// owns its random numbers. The chain, in this order (that of Transformers):
//   penalties   z_i of tokens in prompt or text: z_i > 0 ? z_i / repeat : z_i * repeat
//               then, of tokens in the text: z_i -= presence + frequency * (times in it)
//   greedy      the largest z, the lowest id of equals; or
//   temperature z / temperature
//   top-k       the k likeliest, equals by id
//   top-p       of these the fewest that have top_p of their probability
//   min-p       of these whatever has min_p of the likeliest one's probability
//   draw        by the probabilities that are left
// Probabilities are in double. Log-probabilities that are reported are those of the logits as they
// came: what the model says, not what the chain makes of it.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/random_numbers.h"
#include "kernels/kernels.h"
#include "slim/generation.h"

namespace slim {

// Throws Error{bad_request} naming the option that is out of range (NaN is).
void check_sampling(const SamplingOptions& options);

struct LogProbability {
  int32_t token = 0;
  double value = 0;
};

struct SampledToken {
  int32_t token = 0;
  double logprob = 0;               // 0 unless log-probabilities were asked for
  std::vector<LogProbability> top;  // likeliest first
};

class Sampler {
 public:
  // options.seed must be set. `stream`: the sample's number. `logprobs`: as in GenerateOptions.
  Sampler(const SamplingOptions& options, uint64_t stream, int logprobs);

  // Counts tokens of the prompt.
  void observe(std::span<const int32_t> prompt);
  // Chooses, and counts the choice as text. Changes the logits. Throws what check_logits does.
  // Cost: O(V) plus O(log V) for each candidate that top-k or top-p keep.
  SampledToken sample(std::span<float> logits);
  // How many of a row's likeliest tokens are all that a choice needs: nothing is penalised, and the
  // likeliest is taken, or one of the top_k is drawn. 0: it needs the row, sample().
  int64_t needed() const;
  // As sample(), from the likeliest tokens of a row, needed() at least. Throws what
  // check_candidates does.
  SampledToken choose(std::span<const Candidate> likeliest);

 private:
  void penalise(std::span<float> logits) const;
  int32_t draw(std::span<const float> logits);
  int32_t draw(std::span<const Candidate> likeliest);

  SamplingOptions options_;
  int logprobs_;
  RandomNumbers random_;
  std::unordered_map<int32_t, int64_t> in_text_;  // of all tokens seen; 0: in the prompt only
};

// log softmax(logits)[token] and the `top` likeliest. Logits are finite or -infinity, not all of
// them the latter.
SampledToken log_probabilities(std::span<const float> logits, int32_t token, int top);

}  // namespace slim
