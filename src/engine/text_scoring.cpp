// Two models advance pass by pass, so that the logits of one pass are all that is held.
#include "engine/text_scoring.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace slim {

std::vector<std::vector<int32_t>> cut_text(std::span<const int32_t> tokens,
                                           std::span<const int32_t> begin, int64_t context) {
  const int64_t room = context - static_cast<int64_t>(begin.size());
  check(room > 0, "a sequence has room for its text");
  std::vector<std::vector<int32_t>> sequences;
  while (!tokens.empty()) {
    const auto count = std::min(tokens.size(), static_cast<size_t>(room));
    std::vector<int32_t> sequence(begin.begin(), begin.end());
    sequence.insert(sequence.end(), tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(count));
    if (sequence.size() > 1) sequences.push_back(std::move(sequence));
    tokens = tokens.subspan(count);
  }
  return sequences;
}

int64_t scoring_step(int64_t vocabulary) {
  constexpr int64_t kLogits = int64_t{1} << 24;
  return std::clamp<int64_t>(kLogits / vocabulary, 16, 512);
}

void score_sequence(std::span<const Model* const> models, std::span<const int32_t> tokens,
                    int64_t step_tokens, ScoreToken score) {
  const auto length = static_cast<int64_t>(tokens.size());
  std::vector<Sequence> sequences;
  std::vector<StepBatch> batches;
  for (const Model* model : models) {
    sequences.push_back({model->new_sequence()});
    sequences.back().regime = model->regime(length);
    batches.emplace_back(*model);
  }
  std::vector<int64_t> rows;
  std::vector<std::span<float>> logits(models.size());
  for (int64_t first = 0; first < length; first += step_tokens) {
    const int64_t count = std::min(step_tokens, length - first);
    rows.resize(static_cast<size_t>(count));
    std::iota(rows.begin(), rows.end(), 0);
    for (size_t m = 0; m < models.size(); ++m) {
      batches[m].clear();
      batches[m].add(sequences[m],
                     tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count)), rows);
      batches[m].run();
    }
    for (int64_t i = 0; i < count; ++i) {
      for (size_t m = 0; m < models.size(); ++m) logits[m] = batches[m].logits(i);
      score(static_cast<size_t>(first + i), logits);
    }
  }
}

}  // namespace slim
