// Translator: from sources to texts, for many at a time. Sources are read by the encoder some at a
// time; of each, the beams or samples share its encoder rows and the pages of their common
// beginning; all of all texts are one step's batch, which a text leaves when it is done and another
// one joins when half of the places are free.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "engine/beam_search.h"
#include "engine/translation_setting.h"
#include "models/model.h"
#include "slim/translation.h"

namespace slim {

class Runtime;
struct Route;

struct TranslationRequest {
  std::vector<int32_t> source;  // not empty
  std::vector<int32_t> begun;   // what the decoder is given first
  int64_t counted = 0;          // of these: how many, after the start token, count as written
  uint64_t stream = 0;          // of random numbers; below 2^43
};

// Calls done(index, texts) as they are done, the best text first; false stops all that are not.
// A text's result does not depend on the others, but for rounding. Throws Error{bad_request} for a
// source that is too long for the encoder, or a beginning that leaves the decoder no room (with
// both counts); Error{bad_file} for logits that are no numbers. Counts are added to `stats`.
void translate_requests(const Model& model, std::span<const TranslationRequest> requests,
                        const TranslationSetting& setting, TranslateStats& stats,
                        FunctionRef<bool(size_t, std::vector<Hypothesis>)> done);

// The tokens of text `index` (from 0 on) of several, which TranslationTokens::source() gives.
// Throws its errors with the text's number, and Error{bad_request} for one that is too long for the
// encoder.
std::vector<int32_t> read_source(const Runtime& runtime, const std::string& text,
                                 const Route& route, size_t index);

}  // namespace slim
