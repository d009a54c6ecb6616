// The rules, one at a time.
#include "engine/timestamp_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slim {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

}  // namespace

void ForbiddenTokens::forbid(int32_t row, int64_t begin, int64_t end) {
  begin = std::clamp<int64_t>(begin, 0, vocabulary_);
  end = std::clamp<int64_t>(end, begin, vocabulary_);
  if (begin == end) return;
  columns_.push_back({row, static_cast<int32_t>(begin), static_cast<int32_t>(end)});
}

void ForbiddenTokens::forbid_unpaired(std::span<const int32_t> sampled, int32_t row) {
  const SpeechTokens& tokens = *rules_.tokens;
  const auto is_timestamp = [&](int32_t id) { return id >= tokens.first_timestamp; };
  const size_t count = sampled.size();
  const bool last = count >= 1 && is_timestamp(sampled[count - 1]);
  const bool penultimate = count < 2 || is_timestamp(sampled[count - 2]);
  if (last && penultimate) {
    forbid(row, tokens.first_timestamp, vocabulary_);
  } else if (last) {
    forbid(row, 0, tokens.end);  // an end of segment: another timestamp or the end of text
  }
  const auto latest = std::find_if(sampled.rbegin(), sampled.rend(), is_timestamp);
  if (latest == sampled.rend()) return;
  // A segment that has just ended may be followed by one that starts at the same time.
  const int32_t lowest = last && !penultimate ? *latest : *latest + 1;
  forbid(row, tokens.first_timestamp, lowest);
}

void ForbiddenTokens::forbid_always(int32_t row) {
  for (const int32_t id : rules_.suppressed) forbid(row, id, int64_t{id} + 1);
  const int64_t none = rules_.tokens->no_timestamps;
  if (rules_.timestamps) forbid(row, none, none + 1);
}

void ForbiddenTokens::forbid_after(std::span<const int32_t> sampled, int32_t row) {
  const SpeechTokens& tokens = *rules_.tokens;
  if (sampled.empty() && rules_.suppress_blank) {
    if (tokens.blank >= 0) forbid(row, tokens.blank, tokens.blank + 1);
    forbid(row, tokens.end, tokens.end + 1);
  }
  if (!rules_.timestamps) return;
  forbid_unpaired(sampled, row);
  if (sampled.empty()) {
    forbid(row, 0, tokens.first_timestamp);
    forbid(row, int64_t{tokens.first_timestamp} + rules_.max_initial + 1, vocabulary_);
  }
}

void ForbiddenTokens::require_text(std::span<const int32_t> sampled, int32_t before, int32_t row) {
  const SpeechTokens& tokens = *rules_.tokens;
  const size_t count = sampled.size();
  if (count < 2 || sampled[count - 2] < tokens.first_timestamp) return;
  const int32_t begun = sampled[count - 1] - tokens.first_timestamp;
  if (begun >= 0 && begun < before) forbid(row, tokens.end, tokens.end + 1);
}

int64_t settled_tail(const SamplingRules& rules) {
  return rules.timestamps ? rules.tokens->first_timestamp : kNoTail;
}

void settle_timestamps(const SamplingRules& rules, std::span<float> logprobs) {
  const int64_t first = settled_tail(rules);
  if (first >= std::ssize(logprobs)) return;
  const std::span<float> others = logprobs.first(static_cast<size_t>(first));
  const std::span<float> times = logprobs.subspan(static_cast<size_t>(first));
  const int64_t likeliest = argmax(others);
  const auto together = static_cast<float>(log_sum_exp(times));
  if (!(together > (likeliest < 0 ? kForbidden : others[static_cast<size_t>(likeliest)]))) return;
  std::fill(others.begin(), others.end(), kForbidden);
  for (float& logprob : times) logprob -= together;
}

Choice draw(std::span<const float> logprobs, double temperature, RandomNumbers& random) {
  const int64_t best = argmax(logprobs);
  if (best < 0) return {-1, kForbidden};
  const double largest = logprobs[static_cast<size_t>(best)];
  const auto weight = [&](float logprob) { return std::exp((logprob - largest) / temperature); };
  double mass = 0;
  for (const float logprob : logprobs) mass += logprob > kForbidden ? weight(logprob) : 0;
  double rest = random.uniform() * mass;
  auto drawn = static_cast<size_t>(best);  // if rounding leaves a little over
  for (size_t i = 0; i < logprobs.size(); ++i) {
    if (!(logprobs[i] > kForbidden)) continue;
    rest -= weight(logprobs[i]);
    if (rest < 0) {
      drawn = i;
      break;
    }
  }
  return {static_cast<int32_t>(drawn), logprobs[drawn]};
}

}  // namespace slim
