// Text from a language model: what Engine::generate and ChatSession take and give.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace slim {

// How the next token is chosen, in this order (that of Transformers):
//   repetition, presence and frequency penalties; then, greedily, the largest logit (the lowest id
//   of equals), or: temperature; top-k; top-p; min-p; a draw.
// Probabilities are computed in double, and random numbers by Slim itself: equal logits and seed
// give equal tokens on every machine.
struct SamplingOptions {
  double temperature = 0;        // divides logits; 0: greedy
  int top_k = 0;                 // keep the k most likely; 0: all
  double top_p = 1;              // keep the fewest that together are at least so likely; 1: all
  double min_p = 0;              // keep those at least this share of the likeliest one's; 0: all
  double repeat_penalty = 1;     // of tokens in prompt or text: logits above 0 divided by it,
                                 // others multiplied
  double presence_penalty = 0;   // subtracted from the logits of tokens in the text, once ...
  double frequency_penalty = 0;  // ... and for each time they are in it
  std::optional<uint64_t> seed;  // none: a random one, which Generation reports
};

struct GenerateOptions {
  SamplingOptions sampling;
  int64_t max_tokens = 128;       // 0: until the model ends or the context is full
  std::vector<std::string> stop;  // text ends before the first of these
  bool ignore_end = false;        // go on after an end-of-text token
  int logprobs = -1;              // alternatives listed for each token; -1: no log-probabilities
  int64_t step_tokens = 0;  // most tokens in one pass: prompts are taken in such chunks; 0: as the
                            // device likes them (512, or 4096 on a card)
  // Text as it comes: whole characters, never the start of a stop string. Called for every token,
  // with text that may be empty, from the generating thread; false stops that sample.
  std::function<bool(int sample, const std::string& text)> on_text;
  // After each pass that read some of the prompt; false stops the request.
  std::function<bool(int64_t tokens_done, int64_t tokens_total)> on_prompt;
};

struct GenerateRequest {
  std::string prompt;           // special tokens in it are recognised
  std::vector<int32_t> tokens;  // instead of a prompt, if not empty; used as they are
  int samples = 1;              // over one copy of the prompt's rows; sample i has seed (seed, i)
  GenerateOptions options;
};

enum class Finish : uint8_t {
  end,        // an end-of-text token
  stop,       // a stop string
  length,     // max_tokens
  context,    // no room left in the context
  cancelled,  // by a callback
};
const char* name_of(Finish finish);

struct TokenProbability {
  int32_t token = 0;
  std::string text;    // its bytes, which may be part of a character
  double logprob = 0;  // under the model's own distribution, before penalties and temperature
};

struct GeneratedToken {
  TokenProbability chosen;
  std::vector<TokenProbability> top;  // the most likely, in order
};

struct Completion {
  std::string text;                      // valid UTF-8
  std::vector<int32_t> tokens;           // all that were chosen, the ending one included
  std::vector<GeneratedToken> logprobs;  // one for each token, if asked for
  Finish finish = Finish::end;
  std::string stop;  // the stop string met
};

struct GenerateStats {
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;     // of them: their rows were there already
  int64_t generated_tokens = 0;  // of all samples
  int64_t decoded_tokens = 0;    // of them: in passes that read no prompt
  int64_t steps = 0;             // passes through the model
  double prompt_seconds = 0;     // passes that read prompts
  double decode_seconds = 0;     // all others, sampling included
  double load_seconds = 0;
  int64_t context_bytes = 0;     // most that was held: pages, hot pages; shared ones counted once
  int64_t context_kv_bytes = 0;  // what a standard cache in bf16 would hold in as many pages
  int64_t weight_bytes = 0;      // as used: mapped or derived
  double prompt_rate() const;    // prompt tokens a second, without cached ones
  double decode_rate() const;    // decoded tokens a second
};

struct Generation {
  std::vector<Completion> samples;
  uint64_t seed = 0;
  GenerateStats stats;
};

struct Message {
  std::string role;  // system, user, assistant
  std::string content;
};

}  // namespace slim
