// The chain. Tokens are kept in a heap and taken off it likeliest first, so that top-k and
// top-p sort only what they keep: with a vocabulary of 256,000 a full sort would take longer than
// the rest of sampling.
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "engine/logits.h"
#include "slim/error.h"

namespace slim {
namespace {

struct Weighed {
  double weight;  // probability times a constant
  int32_t token;
};

// Whether b is to come before a: a total order, so that every library's heap gives the same.
bool later(const Weighed& a, const Weighed& b) {
  return a.weight != b.weight ? a.weight < b.weight : a.token > b.token;
}

void check_range(double value, double low, double high, const char* name) {
  if (value >= low && value <= high) return;
  const std::string bounds =
      std::isinf(high) ? "at least " + std::to_string(low)
                       : "between " + std::to_string(low) + " and " + std::to_string(high);
  throw Error(ErrorCode::bad_request, "The option must be " + bounds + ".", name);
}

// Orders the likeliest first, as far as top-k and top-p need it, and drops the
// others. Returns the weight of what is left.
double keep_likeliest(const SamplingOptions& options, std::vector<Weighed>& all) {
  double mass = 0;
  for (const Weighed& one : all) mass += one.weight;
  const auto limit = options.top_k > 0
                         ? std::min<size_t>(static_cast<size_t>(options.top_k), all.size())
                         : all.size();
  if (limit == all.size() && options.top_p >= 1) return mass;
  std::make_heap(all.begin(), all.end(), later);
  std::vector<Weighed> kept;
  const auto take = [&] {
    std::pop_heap(all.begin(), all.end(), later);
    kept.push_back(all.back());
    all.pop_back();
    return kept.back().weight;
  };
  if (limit < kept.size() + all.size()) {
    mass = 0;
    while (kept.size() < limit) mass += take();
  }
  double sum = 0;
  size_t count = 0;
  while (count == 0 || (count < limit && sum < options.top_p * mass)) {
    sum += count < kept.size() ? kept[count].weight : take();
    ++count;
  }
  kept.resize(count);
  all = std::move(kept);
  return sum;
}

// Takes a token into account whose logit is by so much larger than the largest.
void weigh(int32_t token, double larger, double temperature, std::vector<Weighed>& all) {
  // exp(-745) is the least double above 0: what lies lower cannot be drawn.
  if (larger < -745 * temperature) return;
  all.push_back({std::exp(larger / temperature), token});
}

int32_t pick(const SamplingOptions& options, std::vector<Weighed> all, RandomNumbers& random) {
  double mass = keep_likeliest(options, all);
  if (options.min_p > 0) {
    // The likeliest has weight 1.
    std::erase_if(all, [&](const Weighed& one) { return one.weight < options.min_p; });
    mass = 0;
    for (const Weighed& one : all) mass += one.weight;
  }
  double rest = random.uniform() * mass;
  for (const Weighed& one : all) {
    rest -= one.weight;
    if (rest < 0) return one.token;
  }
  return all.back().token;  // rounding left a little over
}

}  // namespace

void check_sampling(const SamplingOptions& options) {
  constexpr double kNoLimit = std::numeric_limits<double>::infinity();
  check_range(options.temperature, 0, 1e6, "temperature");
  check_range(options.top_k, 0, kNoLimit, "top_k");
  check_range(options.top_p, 0, 1, "top_p");
  check_range(options.min_p, 0, 1, "min_p");
  check_range(options.repeat_penalty, 1e-3, 1e3, "repeat_penalty");
  check_range(options.presence_penalty, -1e3, 1e3, "presence_penalty");
  check_range(options.frequency_penalty, -1e3, 1e3, "frequency_penalty");
}

Sampler::Sampler(const SamplingOptions& options, uint64_t stream, int logprobs)
    : options_(options), logprobs_(logprobs), random_(options.seed.value_or(0), stream) {}

void Sampler::observe(std::span<const int32_t> prompt) {
  for (const int32_t token : prompt) in_text_.try_emplace(token, 0);
}

void Sampler::penalise(std::span<float> logits) const {
  const auto repeat = static_cast<float>(options_.repeat_penalty);
  for (const auto& [token, times] : in_text_) {
    if (static_cast<size_t>(token) >= logits.size()) continue;  // a start that is never written
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0 ? logit / repeat : logit * repeat;
    if (times == 0) continue;
    logit -= static_cast<float>(options_.presence_penalty +
                                options_.frequency_penalty * static_cast<double>(times));
  }
}

int32_t Sampler::draw(std::span<const float> logits) {
  const double largest = logits[static_cast<size_t>(argmax(logits))];
  std::vector<Weighed> all;
  all.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    weigh(static_cast<int32_t>(i), logits[i] - largest, options_.temperature, all);
  }
  return pick(options_, std::move(all), random_);
}

int32_t Sampler::draw(std::span<const Candidate> likeliest) {
  const double largest = likeliest.front().log_probability;
  std::vector<Weighed> all;
  for (const auto& [token, logprob] : likeliest) {
    if (token >= 0) weigh(token, logprob - largest, options_.temperature, all);
  }
  return pick(options_, std::move(all), random_);
}

SampledToken Sampler::sample(std::span<float> logits) {
  check_logits(logits);
  std::vector<float> as_they_came;
  if (logprobs_ >= 0) as_they_came.assign(logits.begin(), logits.end());
  penalise(logits);
  const int32_t token =
      options_.temperature > 0 ? draw(logits) : static_cast<int32_t>(argmax(logits));
  ++in_text_[token];
  if (logprobs_ < 0) return {token, 0, {}};
  return log_probabilities(as_they_came, token, logprobs_);
}

int64_t Sampler::needed() const {
  const bool penalised = options_.repeat_penalty != 1 || options_.presence_penalty != 0 ||
                         options_.frequency_penalty != 0;
  const int64_t drawn_from = options_.temperature > 0 ? options_.top_k : 1;
  if (penalised || drawn_from == 0) return 0;
  const int64_t count = std::max<int64_t>(drawn_from, logprobs_);
  return count <= kMostCandidates ? count : 0;
}

SampledToken Sampler::choose(std::span<const Candidate> likeliest) {
  check_candidates(likeliest);
  const int32_t token = options_.temperature > 0 ? draw(likeliest) : likeliest.front().column;
  ++in_text_[token];
  SampledToken chosen{token, 0, {}};
  if (logprobs_ < 0) return chosen;
  for (const auto& [column, logprob] : likeliest) {
    if (column == token) chosen.logprob = logprob;
    if (column >= 0 && std::ssize(chosen.top) < logprobs_) chosen.top.push_back({column, logprob});
  }
  return chosen;
}

SampledToken log_probabilities(std::span<const float> logits, int32_t token, int top) {
  const double norm = log_sum_exp(logits);
  std::vector<LogProbability> all;
  all.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    all.push_back({static_cast<int32_t>(i), logits[i] - norm});
  }
  const size_t count = std::min(static_cast<size_t>(std::max(top, 0)), all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<ptrdiff_t>(count), all.end(),
                    [](const LogProbability& a, const LogProbability& b) {
                      return a.value != b.value ? a.value > b.value : a.token < b.token;
                    });
  all.resize(count);
  return {token, logits[static_cast<size_t>(token)] - norm, std::move(all)};
}

}  // namespace slim
