// The bookkeeping of beams against CTranslate2's, written down as it goes there, and against the
// search of everything; on made-up models, whose sums of log-probabilities are exact, so that
// ties are ties.
#include "engine/beam_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/random_numbers.h"

namespace slim {
namespace {

using Text = std::vector<int32_t>;

constexpr float kImpossible = -std::numeric_limits<float>::infinity();
constexpr int32_t kEnd = 0;

// A row for every text: multiples of 1/8 from -1/8 down, `levels` of them.
struct ToyModel {
  uint64_t seed = 0;
  int32_t vocabulary = 5;
  int levels = 40;

  std::vector<float> after(std::span<const int32_t> text) const {
    uint64_t stream = 1;
    for (const int32_t token : text) stream = stream * 31 + static_cast<uint64_t>(token) + 1;
    RandomNumbers random(seed, stream);
    std::vector<float> row(static_cast<size_t>(vocabulary));
    for (float& value : row) {
      value = -static_cast<float>(1 + std::floor(random.uniform() * levels)) / 8;
    }
    return row;
  }
};

// Runs the search on a model, for so many steps at most.
std::vector<Hypothesis> search(const ToyModel& model, const BeamSetting& setting, int steps,
                               const Text& begun = {}) {
  BeamSearch beams(setting, begun);
  for (int i = 0; i < steps && !beams.over(); ++i) {
    for (size_t beam = 0; beam < beams.live(); ++beam) {
      beams.offer(beam, model.after(beams.tokens(beam)));
    }
    beams.advance(beams.ranked());
  }
  return beams.best();
}

double score_of(double sum, size_t length, const std::optional<double>& penalty) {
  const double n = std::max<double>(1, static_cast<double>(length));
  return penalty ? sum / std::pow((5 + n) / 6, *penalty) : sum / n;
}

// Written as CTranslate2's BeamSearch goes about it (src/decoding.cc), for one recording: of all
// beams' continuations the best 2 B; of the first B of these, one that ends is registered, and the
// next of the rest that does not end goes on in its place. It begins with one beam.
std::vector<Hypothesis> ctranslate2(const ToyModel& model, const BeamSetting& setting, int steps) {
  const auto width = static_cast<size_t>(setting.beams);
  const auto most = static_cast<size_t>(std::nearbyint(setting.beams * setting.patience));
  struct Scored {
    Text text;
    double sum;
    bool ends() const { return !text.empty() && text.back() == kEnd; }
  };
  std::vector<Scored> beams = {{{}, 0}};
  std::vector<Scored> registered;
  for (int step = 0; step < steps && registered.size() < most && !beams.empty(); ++step) {
    std::vector<Scored> top;
    for (const Scored& beam : beams) {
      const std::vector<float> row = model.after(beam.text);
      for (size_t i = 0; i < row.size(); ++i) {
        top.push_back({beam.text, beam.sum + row[i]});
        top.back().text.push_back(static_cast<int32_t>(i));
      }
    }
    const size_t kept = std::min(top.size(), 2 * width);
    std::stable_sort(top.begin(), top.end(),
                     [](const Scored& a, const Scored& b) { return a.sum > b.sum; });
    top.resize(kept);
    std::vector<size_t> next;
    size_t spare = width;
    for (size_t k = 0; k < std::min(width, kept); ++k) {
      if (!top[k].ends()) {
        next.push_back(k);
        continue;
      }
      if (registered.size() < most) registered.push_back(top[k]);
      while (spare < kept && top[spare].ends()) ++spare;
      if (spare < kept) next.push_back(spare++);
    }
    std::sort(next.begin(), next.end());
    beams.clear();
    for (const size_t k : next) beams.push_back(top[k]);
  }
  const bool short_of = registered.size() < most;
  for (size_t i = 0; short_of && i < beams.size() && registered.size() < width; ++i) {
    registered.push_back(beams[i]);
  }
  std::vector<Hypothesis> all;
  for (auto& [text, sum] : registered) {
    const bool ended = !text.empty() && text.back() == kEnd;
    if (ended) text.pop_back();
    const double score = score_of(sum, text.size(), setting.length_penalty);
    all.push_back({text, sum, score, ended});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  return all;
}

void expect_same(const std::vector<Hypothesis>& found, const std::vector<Hypothesis>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].tokens, expected[i].tokens) << i;
    EXPECT_EQ(found[i].sum_logprob, expected[i].sum_logprob) << i;
    EXPECT_DOUBLE_EQ(found[i].score, expected[i].score) << i;
    EXPECT_EQ(found[i].ended, expected[i].ended) << i;
  }
}

TEST(BeamSearch, KeepsTheTextsOfCTranslate2) {
  for (const int levels : {3, 40}) {  // many ties, and few
    for (uint64_t seed = 0; seed < 40; ++seed) {
      const ToyModel model{seed, 6, levels};
      for (const int beams : {1, 2, 3, 5}) {
        for (const double patience : {1.0, 1.5, 2.5}) {
          BeamSetting setting{beams, patience, {}, {kEnd}};
          if (seed % 2 == 1) setting.length_penalty = static_cast<double>(seed % 5) / 4;
          SCOPED_TRACE(testing::Message()
                       << levels << ' ' << seed << ' ' << beams << ' ' << patience);
          expect_same(search(model, setting, 9), ctranslate2(model, setting, 9));
        }
      }
    }
  }
}

// All texts of at most `steps` tokens that end, and those of `steps` that do not.
void all_texts(const ToyModel& model, int steps, const Text& text, double sum,
               std::vector<Hypothesis>& all) {
  if (static_cast<int>(text.size()) == steps) return all.push_back({text, sum, 0, false});
  const std::vector<float> row = model.after(text);
  for (int32_t token = 0; token < model.vocabulary; ++token) {
    const double longer = sum + row[static_cast<size_t>(token)];
    if (token == kEnd) {
      all.push_back({text, longer, 0, true});
      continue;
    }
    Text next = text;
    next.push_back(token);
    all_texts(model, steps, next, longer, all);
  }
}

TEST(BeamSearch, WithABeamForEveryTextIsTheSearchOfEverything) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const ToyModel model{seed, 4, 1000};
    for (const std::optional<double> penalty : {std::optional<double>(), {0.0}, {0.7}}) {
      std::vector<Hypothesis> all;
      all_texts(model, 4, {}, 0, all);
      for (Hypothesis& one : all) one.score = score_of(one.sum_logprob, one.tokens.size(), penalty);
      std::stable_sort(all.begin(), all.end(),
                       [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
      const std::vector<Hypothesis> found = search(model, {200, 1, penalty, {kEnd}}, 4);
      ASSERT_EQ(found.size(), 1 + 3 + 9 + 27 + 81U);
      for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].score, all[i].score);
      EXPECT_EQ(found[0].tokens, all[0].tokens);
      EXPECT_EQ(found[0].ended, all[0].ended);
    }
  }
}

TEST(BeamSearch, OfOneBeamIsGreedy) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const ToyModel model{seed, 7, 4};
    Text greedy;
    double sum = 0;
    bool ended = false;
    while (greedy.size() < 12 && !ended) {
      const std::vector<float> row = model.after(greedy);
      const auto likeliest = std::max_element(row.begin(), row.end());
      sum += *likeliest;
      ended = likeliest - row.begin() == kEnd;
      if (!ended) greedy.push_back(static_cast<int32_t>(likeliest - row.begin()));
    }
    const std::vector<Hypothesis> found = search(model, {1, 1, {}, {kEnd}}, 12);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].tokens, greedy);
    EXPECT_EQ(found[0].sum_logprob, sum);
    EXPECT_EQ(found[0].ended, ended);
  }
}

TEST(BeamSearch, EqualsGoByBeamThenByToken) {
  BeamSearch beams({3, 1, {}, {kEnd}}, {});
  beams.offer(0, std::vector<float>{-9, -1, -2, -1, -1, -1});
  beams.advance(beams.ranked());
  ASSERT_EQ(beams.live(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(beams.tokens(i)[0], (Text{1, 3, 4})[i]);
  // The last beam's tokens are offered first, and come last all the same.
  for (const size_t beam : {2U, 1U, 0U}) beams.offer(beam, std::vector<float>{-9, -2, -1, -1});
  beams.advance(beams.ranked());
  EXPECT_EQ(std::vector<size_t>(beams.parents().begin(), beams.parents().end()),
            (std::vector<size_t>{0, 0, 1}));
  EXPECT_EQ(beams.tokens(0)[1], 2);
  EXPECT_EQ(beams.tokens(1)[1], 3);
  EXPECT_EQ(beams.tokens(2)[0], 3);
  EXPECT_EQ(beams.length(), 2);
}

TEST(BeamSearch, TakesTheLikeliestTokensForARow) {
  const std::vector<float> row = {-9, -1, -2, kImpossible, -1, -1};
  BeamSearch rows({2, 1, {}, {kEnd}}, {});
  BeamSearch tokens({2, 1, {}, {kEnd}}, {});
  EXPECT_EQ(tokens.offered(), 3);
  rows.offer(0, row);
  tokens.offer(0, std::vector<Candidate>{{1, -1}, {4, -1}, {5, -1}});
  const std::vector<Continuation> expected = rows.ranked();
  const std::vector<Continuation> found = tokens.ranked();
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].token, expected[i].token);
    EXPECT_EQ(found[i].sum_logprob, expected[i].sum_logprob);
  }
  tokens.offer(0, std::vector<Candidate>{{2, -0.5}, {}, {}});
  EXPECT_EQ(tokens.ranked().size(), 1U) << "fewer were possible";
  for (const float none : {kImpossible, std::nanf("")}) {
    tokens.offer(0, std::vector<Candidate>{{-1, none}, {-1, none}, {-1, none}});
    const std::vector<Continuation> last = tokens.ranked();
    ASSERT_EQ(last.size(), 1U);
    EXPECT_TRUE(tokens.ends(last[0]));
  }
}

TEST(BeamSearch, IsOverWhenAllEnd) {
  BeamSearch beams({2, 3, {}, {kEnd, 1}}, {7});
  beams.offer(0, std::vector<float>{-1, -2, kImpossible});
  beams.advance(beams.ranked());
  EXPECT_TRUE(beams.over());
  EXPECT_EQ(beams.live(), 0U);
  const std::vector<Hypothesis> found = beams.best();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].tokens, Text{7});
  EXPECT_EQ(found[0].score, -1) << "nothing was added: one token's worth";
  EXPECT_EQ(found[1].sum_logprob, -2);
}

TEST(BeamSearch, AnEndThatStandsBelowTheBeamsDoesNotCount) {
  BeamSearch beams({2, 1, {}, {kEnd}}, {});
  beams.offer(0, std::vector<float>{-3, -1, -2});
  beams.advance(beams.ranked());
  EXPECT_EQ(beams.live(), 2U);
  for (const Hypothesis& one : beams.best()) EXPECT_FALSE(one.ended);
}

// openai-whisper would take this one: it stands above the last beam that goes on.
TEST(BeamSearch, AnEndCountsAmongTheFirstBeamsAlone) {
  BeamSearch beams({2, 1, {}, {kEnd}}, {});
  beams.offer(0, std::vector<float>{-9, -1, -2, -3});
  beams.advance(beams.ranked());
  beams.offer(0, std::vector<float>{-0.5F, -9, -9, -9});
  beams.offer(1, std::vector<float>{-0.25F, -0.125F, -9, -9});
  beams.advance(beams.ranked());  // sums: -1.5 ends, -2.125 goes on, -2.25 ends, -10 goes on
  EXPECT_FALSE(beams.over());
  EXPECT_EQ(beams.live(), 2U);
}

TEST(BeamSearch, WaitsForAsManyTextsAsPatienceAsks) {
  const auto count = [](int beams, double patience) {
    return awaited({beams, patience, {}, {kEnd}});
  };
  EXPECT_EQ(count(5, 1), 5);
  EXPECT_EQ(count(5, 2), 10);
  EXPECT_EQ(count(5, 0.5), 2) << "halves to even, as Python rounds";
  EXPECT_EQ(count(3, 1.5), 4);
  EXPECT_EQ(count(1, 0.1), 1);
  // The end is always likeliest: one text ends in each step.
  BeamSearch beams({2, 2, {}, {kEnd}}, {});
  for (int step = 0; step < 4; ++step) {
    EXPECT_FALSE(beams.over());
    for (size_t beam = 0; beam < beams.live(); ++beam) {
      const float end = beam == 0 ? -0.25F : -9;
      beams.offer(beam, std::vector<float>{end, -1, -2, -3});
    }
    beams.advance(beams.ranked());
  }
  EXPECT_TRUE(beams.over());
  EXPECT_EQ(beams.best().size(), 4U);
  // Less than one: no live text is taken for want of ended ones.
  BeamSearch hasty({3, 0.4, {}, {kEnd}}, {});
  hasty.offer(0, std::vector<float>{-1, -2, -3, -4});
  hasty.advance(hasty.ranked());
  EXPECT_TRUE(hasty.over());
  EXPECT_EQ(hasty.best().size(), 1U);
}

TEST(BeamSearch, StoppedShortGivesTheLiveTexts) {
  const ToyModel model{3, 5, 100};
  const std::vector<Hypothesis> found = search(model, {4, 1, {}, {}}, 3, {9, 8});
  ASSERT_EQ(found.size(), 4U);
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].tokens.size(), 5U);
    EXPECT_EQ(found[i].tokens[1], 8);
    EXPECT_EQ(found[i].score, found[i].sum_logprob / 3) << "what was begun does not count";
    EXPECT_FALSE(found[i].ended);
    EXPECT_LE(found[i].score, found[i == 0 ? 0 : i - 1].score);
  }
}

TEST(BeamSearch, WithMoreBeamsThanTokensHasFewerAtFirst) {
  const ToyModel model{1, 3, 50};
  BeamSearch beams({8, 1, {}, {kEnd}}, {});
  for (const size_t live : {2U, 4U, 8U, 8U}) {
    for (size_t beam = 0; beam < beams.live(); ++beam) {
      beams.offer(beam, model.after(beams.tokens(beam)));
    }
    beams.advance(beams.ranked());
    EXPECT_EQ(beams.live(), live);
  }
}

TEST(BeamSearch, ATextThatNothingCanFollowEndsLast) {
  const std::vector<float> none(4, kImpossible);
  BeamSearch lost({1, 1, {}, {kEnd}}, {});
  lost.offer(0, std::vector<float>(4, std::nanf("")));
  lost.advance(lost.ranked());
  EXPECT_TRUE(lost.over());
  EXPECT_EQ(lost.best().at(0).sum_logprob, kImpossible);
  EXPECT_EQ(lost.best().at(0).tokens, Text{});
  // One beam of two has no way on: the other goes both ways.
  BeamSearch beams({2, 1, {}, {kEnd}}, {});
  beams.offer(0, std::vector<float>{-9, -1, -2, -3});
  beams.advance(beams.ranked());
  beams.offer(0, none);
  beams.offer(1, std::vector<float>{-9, -1, -2, -3});
  beams.advance(beams.ranked());
  ASSERT_EQ(beams.live(), 2U);
  EXPECT_EQ(beams.parents()[0], 1U);
  EXPECT_EQ(beams.parents()[1], 1U);
  EXPECT_FALSE(beams.over());
}

TEST(BeamSearch, TakesSamplesInTheirOrder) {
  BeamSearch samples({3, 1, {}, {kEnd}}, {});
  samples.advance(std::vector<Continuation>{{0, 2, -5}, {0, 2, -5}, {0, 1, -1}});
  ASSERT_EQ(samples.live(), 3U);
  EXPECT_EQ(samples.tokens(2)[0], 1);
  samples.advance(std::vector<Continuation>{{0, 1, -6}, {1, kEnd, -7}, {2, kEnd, -2}});
  ASSERT_EQ(samples.live(), 1U);
  EXPECT_EQ(samples.parents()[0], 0U);
  samples.advance(std::vector<Continuation>{{0, kEnd, -7}});
  EXPECT_TRUE(samples.over());
  const std::vector<Hypothesis> found = samples.best();
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].tokens, Text{1});
  EXPECT_EQ(found[1].tokens, (Text{2, 1}));
  EXPECT_EQ(found[2].tokens, Text{2});
}

}  // namespace
}  // namespace slim
