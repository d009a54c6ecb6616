// One step at a time.
#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/check.h"
#include "engine/logits.h"

namespace slim {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();

}  // namespace

int64_t awaited(const BeamSetting& setting) {
  return std::max<int64_t>(1, std::llrint(setting.beams * setting.patience));
}

BeamSearch::BeamSearch(BeamSetting setting, std::vector<int32_t> begun)
    : setting_(std::move(setting)), begun_(std::ssize(begun)) {
  check(setting_.beams >= 1 && setting_.patience > 0, "a search has beams and patience");
  live_.push_back({std::move(begun), 0});
}

bool BeamSearch::ends(const Continuation& one) const {
  const auto& ends = setting_.ends;
  return one.sum_logprob == kImpossible ||
         std::find(ends.begin(), ends.end(), one.token) != ends.end();
}

bool BeamSearch::enough() const noexcept { return std::ssize(ended_) >= awaited(setting_); }

bool BeamSearch::over() const noexcept { return live_.empty() || enough(); }

void BeamSearch::offer(size_t beam, std::span<const float> logprobs) {
  const size_t count = static_cast<size_t>(setting_.beams) + setting_.ends.size();
  const std::vector<int64_t> likeliest = largest(logprobs, count);
  for (const int64_t token : likeliest) {
    const double sum = live_[beam].sum_logprob + logprobs[static_cast<size_t>(token)];
    offered_.push_back({beam, static_cast<int32_t>(token), sum});
  }
  if (likeliest.empty()) offered_.push_back({beam, -1, kImpossible});
}

std::vector<Continuation> BeamSearch::ranked() {
  std::vector<Continuation> all = std::exchange(offered_, {});
  std::stable_sort(all.begin(), all.end(), [](const Continuation& a, const Continuation& b) {
    return a.sum_logprob != b.sum_logprob ? a.sum_logprob > b.sum_logprob : a.beam < b.beam;
  });
  return all;
}

void BeamSearch::advance(std::span<const Continuation> continuations) {
  std::vector<Beam> next;
  parents_.clear();
  for (const Continuation& one : continuations) {
    if (std::ssize(next) == setting_.beams) break;
    const Beam& from = live_[one.beam];
    if (ends(one)) {
      if (!enough()) ended_.push_back(hypothesis(from, one.sum_logprob, true));
      continue;
    }
    next.push_back({from.tokens, one.sum_logprob});
    next.back().tokens.push_back(one.token);
    parents_.push_back(one.beam);
  }
  live_ = std::move(next);
  ++length_;
}

Hypothesis BeamSearch::hypothesis(const Beam& beam, double sum_logprob, bool ended) const {
  const auto length = static_cast<double>(std::max<int64_t>(1, std::ssize(beam.tokens) - begun_));
  const double penalty =
      setting_.length_penalty ? std::pow((5 + length) / 6, *setting_.length_penalty) : length;
  return {beam.tokens, sum_logprob, sum_logprob / penalty, ended};
}

std::vector<Hypothesis> BeamSearch::best() const {
  std::vector<Hypothesis> all = ended_;
  if (!enough()) {
    std::vector<Hypothesis> rest;
    for (const Beam& beam : live_) rest.push_back(hypothesis(beam, beam.sum_logprob, false));
    std::stable_sort(rest.begin(), rest.end(), [](const Hypothesis& a, const Hypothesis& b) {
      return a.sum_logprob > b.sum_logprob;
    });
    for (Hypothesis& one : rest) {
      if (std::ssize(all) >= setting_.beams) break;
      all.push_back(std::move(one));
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  return all;
}

}  // namespace slim
