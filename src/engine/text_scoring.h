// Scoring: a text's tokens through one model or two, cut into sequences, with the logits of every
// token. Passes are large: by the reading rule of the attention layers a query reads sealed earlier
// pages and the f32 rows of its own, whatever the pass, so each token is scored against stored rows
// as in decoding.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "engine/step_batch.h"
#include "models/model.h"

namespace slim {

// Cuts the tokens into runs of at most `context`, each with `begin` before it where that is not
// empty (it counts). A last run of a single token is dropped: it foretells nothing.
std::vector<std::vector<int32_t>> cut_text(std::span<const int32_t> tokens,
                                           std::span<const int32_t> begin, int64_t context);

// Tokens of a pass so that its logits take 64 MB at most; 16 to 512.
int64_t scoring_step(int64_t vocabulary);

// Runs one sequence through all models in step; score(i, logits) is called for each token i in
// order, with a row of logits of each model.
using ScoreToken = FunctionRef<void(size_t token, std::span<const std::span<float>> logits)>;
void score_sequence(std::span<const Model* const> models, std::span<const int32_t> tokens,
                    int64_t step_tokens, ScoreToken score);

}  // namespace slim
