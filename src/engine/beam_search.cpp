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

bool BeamSearch::over() const noexcept {
  if (setting_.ending == BeamEnding::first) return live_.empty() || enough();
  return live_.empty() || beaten_;
}

// Of texts that have ended, sorted by score.
bool BeamSearch::beaten() const {
  if (!enough()) return false;
  if (setting_.early || live_.empty()) return true;
  const Beam& likeliest = live_.front();
  return !(hypothesis(likeliest, likeliest.sum_logprob, false).score > ended_.back().score);
}

void BeamSearch::keep_best() {
  std::stable_sort(ended_.begin(), ended_.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  if (std::ssize(ended_) > awaited(setting_)) ended_.resize(static_cast<size_t>(awaited(setting_)));
}

void BeamSearch::offer(size_t beam, std::span<const float> logprobs) {
  std::vector<Candidate> likeliest;
  for (const int64_t token : largest(logprobs, static_cast<size_t>(offered()))) {
    likeliest.push_back({static_cast<int32_t>(token), logprobs[static_cast<size_t>(token)]});
  }
  offer(beam, likeliest);
}

void BeamSearch::offer(size_t beam, std::span<const Candidate> candidates) {
  const size_t before = offered_.size();
  for (const auto& [token, logprob] : candidates) {
    if (token >= 0) offered_.push_back({beam, token, live_[beam].sum_logprob + logprob});
  }
  if (offered_.size() == before) offered_.push_back({beam, -1, kImpossible});
}

std::vector<Continuation> BeamSearch::ranked() {
  std::vector<Continuation> all = std::exchange(offered_, {});
  std::stable_sort(all.begin(), all.end(), [](const Continuation& a, const Continuation& b) {
    return a.sum_logprob != b.sum_logprob ? a.sum_logprob > b.sum_logprob : a.beam < b.beam;
  });
  return all;
}

void BeamSearch::take_ended(const Continuation& one) {
  if (setting_.ending == BeamEnding::first && enough()) return;
  ended_.push_back(hypothesis(live_[one.beam], one.sum_logprob, true));
}

void BeamSearch::advance(std::span<const Continuation> continuations) {
  const bool best = setting_.ending == BeamEnding::best;
  std::vector<Beam> next;
  parents_.clear();
  for (size_t place = 0; place < continuations.size(); ++place) {
    const Continuation& one = continuations[place];
    if (std::ssize(next) == setting_.beams) break;
    if (ends(one)) {
      if (std::cmp_less(place, setting_.beams)) take_ended(one);
      continue;
    }
    next.push_back({live_[one.beam].tokens, one.sum_logprob});
    next.back().tokens.push_back(one.token);
    parents_.push_back(one.beam);
  }
  live_ = std::move(next);
  ++length_;
  if (!best) return;
  keep_best();
  beaten_ = beaten();
}

void BeamSearch::finish(std::span<const Continuation> continuations) {
  if (setting_.ending == BeamEnding::first) return advance(continuations);
  const size_t count = std::min(continuations.size(), static_cast<size_t>(setting_.beams));
  for (const Continuation& one : continuations.first(count)) {
    if (ends(one)) {
      take_ended(one);
      continue;
    }
    Beam beam = {live_[one.beam].tokens, one.sum_logprob};
    beam.tokens.push_back(one.token);
    ended_.push_back(hypothesis(beam, one.sum_logprob, false));
  }
  keep_best();
  live_.clear();
  parents_.clear();
  ++length_;
}

Hypothesis BeamSearch::hypothesis(const Beam& beam, double sum_logprob, bool ended) const {
  const int64_t written = std::ssize(beam.tokens) - begun_;
  if (setting_.ending == BeamEnding::best) {
    const int64_t counted = std::max<int64_t>(1, written + setting_.counted + (ended ? 1 : 0));
    const double penalty =
        std::pow(static_cast<double>(counted), setting_.length_penalty.value_or(1));
    return {beam.tokens, sum_logprob, sum_logprob / penalty, ended};
  }
  const auto length = static_cast<double>(std::max<int64_t>(1, written));
  const double penalty =
      setting_.length_penalty ? std::pow((5 + length) / 6, *setting_.length_penalty) : length;
  return {beam.tokens, sum_logprob, sum_logprob / penalty, ended};
}

std::vector<Hypothesis> BeamSearch::best() const {
  std::vector<Hypothesis> all = ended_;
  if (!enough() && setting_.ending == BeamEnding::first) {
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
