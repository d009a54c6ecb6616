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

Choice choose_randomly(const SamplingRules& rules, std::span<const float> logprobs,
                       double temperature, RandomNumbers& random) {
  const SpeechTokens& tokens = *rules.tokens;
  const auto zero = std::min(static_cast<size_t>(tokens.first_timestamp), logprobs.size());
  size_t first = 0;  // of the ids to draw from
  double together = 0;
  if (rules.timestamps && zero < logprobs.size()) {
    const int64_t text = argmax(logprobs.first(zero));
    const auto times = static_cast<float>(log_sum_exp(logprobs.subspan(zero)));
    if (times > (text < 0 ? kForbidden : logprobs[static_cast<size_t>(text)])) {
      first = zero;
      together = times;
    }
  }
  const std::span<const float> range = logprobs.subspan(first);
  const int64_t best = argmax(range);
  if (best < 0) return {tokens.end, kForbidden};
  const double largest = range[static_cast<size_t>(best)];
  const auto weight = [&](float logprob) { return std::exp((logprob - largest) / temperature); };
  double mass = 0;
  for (const float logprob : range) mass += logprob > kForbidden ? weight(logprob) : 0;
  double rest = random.uniform() * mass;
  auto drawn = static_cast<size_t>(best);  // if rounding leaves a little over
  for (size_t i = 0; i < range.size(); ++i) {
    if (!(range[i] > kForbidden)) continue;
    rest -= weight(range[i]);
    if (rest < 0) {
      drawn = i;
      break;
    }
  }
  return {static_cast<int32_t>(first + drawn), static_cast<float>(range[drawn] - together)};
}

Choice choose_greedily(const SamplingRules& rules, std::span<const float> logprobs) {
  const SpeechTokens& tokens = *rules.tokens;
  const auto first = std::min(static_cast<size_t>(tokens.first_timestamp), logprobs.size());
  const int64_t text = argmax(logprobs.first(first));
  const float text_logprob = text < 0 ? kForbidden : logprobs[static_cast<size_t>(text)];
  if (rules.timestamps && first < logprobs.size()) {
    const std::span<const float> times = logprobs.subspan(first);
    const auto together = static_cast<float>(log_sum_exp(times));
    if (together > text_logprob) {
      const int64_t time = argmax(times);
      return {tokens.first_timestamp + static_cast<int32_t>(time),
              times[static_cast<size_t>(time)] - together};
    }
  }
  if (text < 0) return {tokens.end, kForbidden};
  if (rules.timestamps) return {static_cast<int32_t>(text), text_logprob};
  const int64_t any = argmax(logprobs);
  return {static_cast<int32_t>(any), logprobs[static_cast<size_t>(any)]};
}

}  // namespace slim
