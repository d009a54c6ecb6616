// In Transformers' order: a token that is penalised may be banned afterwards.
#include "engine/token_rules.h"

#include <algorithm>
#include <limits>
#include <unordered_set>

namespace slim {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void ban(int32_t token, std::span<float> row) {
  if (token >= 0 && static_cast<size_t>(token) < row.size()) {
    row[static_cast<size_t>(token)] = kNever;
  }
}

}  // namespace

void TokenRules::penalise(std::span<const int32_t> tokens, std::span<float> row) const {
  const auto penalty = static_cast<float>(repetition_penalty);
  const std::unordered_set<int32_t> there(tokens.begin(), tokens.end());
  for (const int32_t token : there) {
    if (static_cast<size_t>(token) >= row.size()) continue;  // a start that is never written
    float& value = row[static_cast<size_t>(token)];
    value = value > 0 ? value / penalty : value * penalty;
  }
}

void TokenRules::ban_repeated(std::span<const int32_t> tokens, std::span<float> row) const {
  const auto size = static_cast<size_t>(no_repeat_ngram);
  if (size == 0 || tokens.size() < size) return;
  const auto last = tokens.last(size - 1);
  for (size_t i = 0; i + size <= tokens.size(); ++i) {
    const auto before = tokens.subspan(i, size - 1);
    if (std::equal(before.begin(), before.end(), last.begin())) ban(tokens[i + size - 1], row);
  }
}

void TokenRules::apply(std::span<const int32_t> tokens, int64_t written,
                       std::span<float> row) const {
  if (repetition_penalty != 1) penalise(tokens, row);
  ban_repeated(tokens, row);
  for (const std::vector<int32_t>& sequence : banned) {
    const size_t before = sequence.size() - 1;
    if (tokens.size() < before) continue;
    const auto last = tokens.last(before);
    if (std::equal(last.begin(), last.end(), sequence.begin())) ban(sequence.back(), row);
  }
  if (written == first) {
    for (const int32_t token : not_first) ban(token, row);
  }
  if (written >= least) return;
  for (const int32_t end : ends) ban(end, row);
}

}  // namespace slim
