// TranslationSetting: how a model writes its texts, from what the caller asks for, what the model's
// files say, and what Transformers does where neither says anything.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "engine/beam_search.h"
#include "engine/token_rules.h"
#include "engine/translation_tokens.h"
#include "slim/translation.h"

namespace slim {

struct TranslationSetting {
  BeamSetting search;
  TokenRules rules;
  bool renormalized = false;          // after the rules probabilities add up to 1 again
  int64_t most = 0;                   // tokens written, at most
  std::optional<int32_t> forced_end;  // the token that is written last where there is no more room
  SamplingOptions sampling;           // seed is set
  int hypotheses = 1;
  int batch = 1;

  bool samples() const { return sampling.temperature > 0; }
  bool greedy() const { return !samples() && search.beams == 1; }
};

// By generation_config.json or, where there is none, config.json of the tokens, and by the
// latter's task for the route. Throws Error{bad_request} for an option out of range,
// Error{unsupported_model} for a way of generating that the files ask for and that is not known
// here.
TranslationSetting translation_setting(const TranslateOptions& options,
                                       const TranslationTokens& tokens, int64_t vocabulary);

}  // namespace slim
