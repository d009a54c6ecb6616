// The rules, one at a time.
#include "engine/timestamp_rules.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slim {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

void forbid(std::span<float> logits, int64_t begin, int64_t end) {
  const auto size = static_cast<int64_t>(logits.size());
  begin = std::clamp<int64_t>(begin, 0, size);
  end = std::clamp<int64_t>(end, begin, size);
  std::fill(logits.begin() + begin, logits.begin() + end, kForbidden);
}

void forbid_unpaired(const SpeechTokens& tokens, std::span<const int32_t> sampled,
                     std::span<float> logits) {
  const auto vocabulary = static_cast<int64_t>(logits.size());
  const auto is_timestamp = [&](int32_t id) { return id >= tokens.first_timestamp; };
  const size_t count = sampled.size();
  const bool last = count >= 1 && is_timestamp(sampled[count - 1]);
  const bool penultimate = count < 2 || is_timestamp(sampled[count - 2]);
  if (last && penultimate) {
    forbid(logits, tokens.first_timestamp, vocabulary);
  } else if (last) {
    forbid(logits, 0, tokens.end);  // an end of segment: another timestamp or the end of text
  }
  const auto latest = std::find_if(sampled.rbegin(), sampled.rend(), is_timestamp);
  if (latest == sampled.rend()) return;
  // A segment that has just ended may be followed by one that starts at the same time.
  const int32_t lowest = last && !penultimate ? *latest : *latest + 1;
  forbid(logits, tokens.first_timestamp, lowest);
}

}  // namespace

void apply_rules(const SamplingRules& rules, std::span<const int32_t> sampled,
                 std::span<float> logits) {
  const SpeechTokens& tokens = *rules.tokens;
  const auto vocabulary = static_cast<int64_t>(logits.size());
  for (const int32_t id : rules.suppressed) forbid(logits, id, id + 1);
  if (sampled.empty() && rules.suppress_blank) {
    if (tokens.blank >= 0) forbid(logits, tokens.blank, tokens.blank + 1);
    forbid(logits, tokens.end, tokens.end + 1);
  }
  if (!rules.timestamps) return;
  forbid(logits, tokens.no_timestamps, tokens.no_timestamps + 1);
  forbid_unpaired(tokens, sampled, logits);
  if (sampled.empty()) {
    forbid(logits, 0, tokens.first_timestamp);
    forbid(logits, int64_t{tokens.first_timestamp} + rules.max_initial + 1, vocabulary);
  }
}

void require_text(const SamplingRules& rules, std::span<const int32_t> sampled, int32_t before,
                  std::span<float> logits) {
  const SpeechTokens& tokens = *rules.tokens;
  const size_t count = sampled.size();
  if (count < 2 || sampled[count - 2] < tokens.first_timestamp) return;
  const int32_t begun = sampled[count - 1] - tokens.first_timestamp;
  if (begun >= 0 && begun < before) forbid(logits, tokens.end, tokens.end + 1);
}

void settle_timestamps(const SamplingRules& rules, std::span<float> logprobs) {
  const auto first = std::min(static_cast<size_t>(rules.tokens->first_timestamp), logprobs.size());
  if (!rules.timestamps || first == logprobs.size()) return;
  const std::span<float> others = logprobs.first(first);
  const std::span<float> times = logprobs.subspan(first);
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
