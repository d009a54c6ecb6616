// Beam search under BeamEnding::best against Transformers' _beam_search, written down as it stands
// there: a fixed number of running and finished places, and penalties of -1e9 for what may not be.
// On made-up models whose sums are exact, so that ties are ties.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/beam_search.h"
#include "engine/random_numbers.h"
#include "engine/token_rules.h"

namespace slim {
namespace {

using Text = std::vector<int32_t>;

constexpr int32_t kEnd = 0;
constexpr int kVocabulary = 6;

std::vector<float> row_after(uint64_t seed, std::span<const int32_t> text) {
  uint64_t stream = 1;
  for (const int32_t token : text) stream = stream * 31 + static_cast<uint64_t>(token) + 1;
  RandomNumbers random(seed, stream);
  std::vector<float> row(kVocabulary);
  for (float& value : row) value = -static_cast<float>(1 + std::floor(random.uniform() * 40)) / 8;
  return row;
}

struct Entry {
  Text tokens;
  double score = -1e9;
  bool finished = false;
};

void sort(std::vector<Entry>& entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.score > b.score; });
}

// Transformers, with max_length = `steps` and no prompt.
std::vector<Entry> expected(uint64_t seed, int beams, double penalty, bool early, int steps) {
  const auto size = static_cast<size_t>(beams);
  std::vector<Entry> running(size);
  running[0].score = 0;
  std::vector<Entry> finished(size);
  for (int length = 0; length < steps; ++length) {
    std::vector<Entry> candidates;
    for (const Entry& beam : running) {
      const std::vector<float> row = row_after(seed, beam.tokens);
      for (int32_t token = 0; token < kVocabulary; ++token) {
        Entry one = beam;
        one.tokens.push_back(token);
        one.score += row[static_cast<size_t>(token)];
        one.finished = token == kEnd || length + 1 == steps;
        candidates.push_back(one);
      }
    }
    sort(candidates);
    candidates.resize(2 * size);
    std::vector<Entry> next = candidates;
    for (Entry& one : next) one.score += one.finished ? -1e9 : 0;
    sort(next);
    next.resize(size);
    std::vector<Entry> merged = finished;
    for (size_t i = 0; i < candidates.size(); ++i) {
      Entry one = candidates[i];
      one.score /= std::pow(length + 1, penalty);
      const bool full = early && std::all_of(finished.begin(), finished.end(),
                                             [](const Entry& e) { return e.finished; });
      one.finished = one.finished && i < size;
      if (full || !one.finished) one.score += -1e9;
      merged.push_back(one);
    }
    sort(merged);
    merged.resize(size);
    finished = merged;
    running = next;
    const bool all =
        std::all_of(finished.begin(), finished.end(), [](const Entry& e) { return e.finished; });
    const double best = running.front().score / std::pow(length + 1, penalty);
    if (all && (early || !(best > finished.back().score))) break;
  }
  return finished;
}

std::vector<Hypothesis> found(uint64_t seed, int beams, double penalty, bool early, int steps) {
  BeamSearch search({.beams = beams,
                     .length_penalty = penalty,
                     .ends = {kEnd},
                     .ending = BeamEnding::best,
                     .early = early},
                    {});
  for (int step = 0; step < steps && !search.over(); ++step) {
    for (size_t i = 0; i < search.live(); ++i) {
      search.offer(i, row_after(seed, search.tokens(i)));
    }
    const auto ranked = search.ranked();
    step + 1 == steps ? search.finish(ranked) : search.advance(ranked);
  }
  return search.best();
}

TEST(BestBeams, AreTransformers) {
  int ended = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    for (const int beams : {1, 2, 4}) {
      for (const double penalty : {0.0, 0.5, 1.0, 2.0, -1.0}) {
        for (const bool early : {false, true}) {
          const auto theirs = expected(seed, beams, penalty, early, 9);
          const auto ours = found(seed, beams, penalty, early, 9);
          for (size_t i = 0; i < ours.size(); ++i) {
            ASSERT_TRUE(theirs[i].finished);
            Text text = theirs[i].tokens;
            const bool ends = text.back() == kEnd;
            if (ends) text.pop_back();
            ASSERT_EQ(ours[i].score, theirs[i].score) << seed << " " << beams << " " << penalty;
            ASSERT_EQ(ours[i].tokens, text) << seed << " " << beams << " " << penalty;
            ASSERT_EQ(ours[i].ended, ends);
            ended += ends ? 1 : 0;
          }
          ASSERT_FALSE(ours.empty());
        }
      }
    }
  }
  EXPECT_GT(ended, 500);
}

// What is begun and counts makes lengths longer.
TEST(BestBeams, CountWhatIsBegunWhereTheyAreTold) {
  BeamSearch search({.beams = 1,
                     .length_penalty = 1,
                     .ends = {kEnd},
                     .ending = BeamEnding::best,
                     .early = true,
                     .counted = 1},
                    {5, 3});
  search.offer(0, std::vector<float>{-6, -9, -9});
  search.advance(search.ranked());
  EXPECT_TRUE(search.over());
  EXPECT_EQ(search.best().front().score, -3);  // one that was begun, and the end
}

using Row = std::vector<float>;
constexpr float kNever = -std::numeric_limits<float>::infinity();

Row after_rules(const TokenRules& rules, const Text& tokens, int64_t written, Row row) {
  rules.apply(tokens, written, row);
  return row;
}

TEST(TokenRules, PenaliseWhatIsThere) {
  TokenRules rules;
  rules.repetition_penalty = 2;
  EXPECT_EQ(after_rules(rules, {1, 2, 2}, 2, {1, 1, -1}), (Row{1, 0.5F, -2}));
}

TEST(TokenRules, BanWhatWouldRepeat) {
  TokenRules rules;
  rules.no_repeat_ngram = 2;
  EXPECT_EQ(after_rules(rules, {0, 1, 2, 0}, 3, {0, 0, 0}), (Row{0, kNever, 0}));
  EXPECT_EQ(after_rules(rules, {0}, 0, {0, 0, 0}), (Row{0, 0, 0}));
  rules.no_repeat_ngram = 1;
  EXPECT_EQ(after_rules(rules, {0, 1}, 1, {0, 0, 0}), (Row{kNever, kNever, 0}));
}

TEST(TokenRules, BanSequencesAndEarlyEnds) {
  TokenRules rules;
  rules.banned = {{2}, {0, 1}};
  rules.ends = {0};
  rules.least = 2;
  EXPECT_EQ(after_rules(rules, {1, 0}, 1, {0, 0, 0}), (Row{kNever, kNever, kNever}));
  EXPECT_EQ(after_rules(rules, {1, 1}, 2, {0, 0, 0}), (Row{0, 0, kNever}));
}

}  // namespace
}  // namespace slim
