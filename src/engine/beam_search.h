// BeamSearch: the bookkeeping of texts that grow side by side from one beginning, for speech and
// text alike: which go on from which, which have ended, which is best. It knows tokens and
// log-probabilities, not models. A step of B beams, as CTranslate2 takes it:
//
//   candidates  of each beam, its likeliest tokens: B, and one for each token that ends a text
//   ranked      by the sum of log-probabilities; equals by beam, then by token
//   go on       the first B that do not end
//   ended       those that end and are among the first B, round(B * patience) in all
//
// (openai-whisper also takes ends that stand lower, above the last that goes on: it stops sooner,
// now and then before a text that is likelier.)
// It is over when so many have ended or none goes on; whoever runs it may stop sooner. The best
// text has the largest sum / n of n tokens or, with a length penalty, sum / ((5 + n) / 6)^penalty
// (Wu et al. 2016); n is at least 1, and the end is in the sum but not in n. With one beam this is
// greedy.
//
// Or as Transformers takes it (BeamEnding::best), where the score is sum / n^penalty and the end is
// in n, too:
//
//   ended       of all so far the round(B * patience) of the best scores stay
//
// It is over when so many have ended and no live text has a better score than the worst of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace slim {

enum class BeamEnding : uint8_t { first, best };

struct BeamSetting {
  int beams = 1;                         // B, 1 at least
  double patience = 1;                   // above 0
  std::optional<double> length_penalty;  // none: scores are means
  std::vector<int32_t> ends = {};        // tokens that end a text
  BeamEnding ending = BeamEnding::first;
  bool early = false;   // of best: over as soon as so many have ended
  int64_t counted = 0;  // of the tokens that are begun: the last ones, which lengths count
};

// round(beams * patience), halves to even, but 1 at least: how many texts are waited for.
int64_t awaited(const BeamSetting& setting);

struct Hypothesis {
  std::vector<int32_t> tokens;  // what was begun and what was added, without the end
  double sum_logprob = 0;       // of what was added and, if it ended, of the end
  double score = 0;             // what the length penalty makes of it
  bool ended = true;            // by itself: there was room for more
};

// A beam, by its place among the live ones, and the token after it.
struct Continuation {
  size_t beam = 0;
  int32_t token = 0;
  double sum_logprob =
      0;  // of the text with this token; -infinity ends the text, whatever the token
};

class BeamSearch {
 public:
  // One live beam with the tokens that all texts begin with, which no score counts.
  BeamSearch(BeamSetting setting, std::vector<int32_t> begun);

  size_t live() const noexcept { return live_.size(); }
  std::span<const int32_t> tokens(size_t beam) const { return live_[beam].tokens; }
  double sum_logprob(size_t beam) const { return live_[beam].sum_logprob; }
  int64_t length() const noexcept { return length_; }  // tokens added to each live beam
  bool over() const noexcept;
  bool ends(const Continuation& one) const;

  // What may follow this beam: a row of V log-probabilities. Where all are -infinity or NaN, the
  // text ends, and is the least likely of all. Cost: O(V), for rows in no order.
  void offer(size_t beam, std::span<const float> logprobs);
  // The same of a row's likeliest tokens, offered() of them.
  void offer(size_t beam, std::span<const Candidate> candidates);
  int64_t offered() const noexcept { return setting_.beams + std::ssize(setting_.ends); }
  // What was offered since the last step, ranked.
  std::vector<Continuation> ranked();
  // A step: takes continuations in this order, as above. Those of ranked(); or drawn ones, which
  // makes samples of the beams.
  void advance(std::span<const Continuation> continuations);
  // The last step there is room for: of BeamEnding::best, the first B of all continuations are then
  // texts, whether they end or not. Of the other it is advance().
  void finish(std::span<const Continuation> continuations);
  // Of each live beam, which one it went on from in the last step.
  std::span<const size_t> parents() const noexcept { return parents_; }

  // The texts that ended, the best first, equals as they ended; where fewer than awaited have, the
  // likeliest live ones as well, up to B texts.
  std::vector<Hypothesis> best() const;

 private:
  struct Beam {
    std::vector<int32_t> tokens;
    double sum_logprob;
  };
  bool enough() const noexcept;
  bool beaten() const;
  void keep_best();
  void take_ended(const Continuation& one);
  Hypothesis hypothesis(const Beam& beam, double sum_logprob, bool ended) const;

  BeamSetting setting_;
  std::vector<Beam> live_;
  int64_t begun_;
  int64_t length_ = 0;
  std::vector<size_t> parents_;
  std::vector<Continuation> offered_;
  std::vector<Hypothesis> ended_;
  bool beaten_ = false;  // of best: no live text can be among the best
};

}  // namespace slim
