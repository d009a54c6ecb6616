// The sampling chain against plain second formulas, and the properties that must hold whatever the
// logits.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "error_matchers.h"

namespace slim {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingOptions hot(uint64_t seed = 1) {
  SamplingOptions options;
  options.temperature = 1;
  options.seed = seed;
  return options;
}

std::vector<float> made_up(size_t size, uint64_t seed, double spread = 3) {
  RandomNumbers random(seed);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = static_cast<float>(spread * (2 * random.uniform() - 1));
  return logits;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature = 1) {
  std::vector<double> p(logits.size());
  for (size_t i = 0; i < p.size(); ++i) p[i] = std::exp(logits[i] / temperature);
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= sum;
  return p;
}

// How often each token is drawn.
std::map<int32_t, int> drawn(const SamplingOptions& options, const std::vector<float>& logits,
                             int times) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < times; ++i) {
    Sampler sampler(options, static_cast<uint64_t>(i), -1);
    std::vector<float> row = logits;
    ++counts[sampler.sample(row).token];
  }
  return counts;
}

std::set<int32_t> support(const SamplingOptions& options, const std::vector<float>& logits,
                          int times = 4000) {
  std::set<int32_t> tokens;
  for (const auto& [token, count] : drawn(options, logits, times)) tokens.insert(token);
  return tokens;
}

TEST(RandomNumbers, AreThoseOfSplitMix64) {
  // The published generator's first outputs from state 1234567.
  RandomNumbers random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317U);
  EXPECT_EQ(random.next(), 3203168211198807973U);
  EXPECT_EQ(random.next(), 9817491932198370423U);
}

TEST(RandomNumbers, StreamsDifferAndAreUniform) {
  std::set<uint64_t> first;
  double sum = 0;
  for (uint64_t stream = 0; stream < 10000; ++stream) {
    RandomNumbers random(42, stream);
    first.insert(random.next());
    const double u = random.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
  }
  EXPECT_EQ(first.size(), 10000U);
  EXPECT_NEAR(sum / 10000, 0.5, 5 * std::sqrt(1.0 / 12 / 10000));
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestOfEquals) {
  Sampler sampler({}, 0, -1);
  std::vector<float> logits = {1, 3, 3, 2};
  EXPECT_EQ(sampler.sample(logits).token, 1);
}

TEST(Sampler, EqualSeedsGiveEqualTokensAndStreamsOthers) {
  std::vector<int32_t> once, again, other;
  Sampler a(hot(7), 0, -1), b(hot(7), 0, -1), c(hot(7), 1, -1);
  for (uint64_t i = 0; i < 50; ++i) {
    for (auto& [sampler, tokens] : {std::pair{&a, &once}, {&b, &again}, {&c, &other}}) {
      std::vector<float> row = made_up(1000, i);
      tokens->push_back(sampler->sample(row).token);
    }
  }
  EXPECT_EQ(once, again);
  EXPECT_NE(once, other);
  // Pinned: what this seed means must not change.
  once.resize(4);
  EXPECT_EQ(once, (std::vector<int32_t>{404, 16, 901, 594}));
}

TEST(Sampler, DrawsByTheProbabilities) {
  const std::vector<float> logits = {0, 1, -1, 2, -kInfinity, 0.5F};
  constexpr int kTimes = 40000;
  for (const double temperature : {0.5, 1.0, 3.0}) {
    SamplingOptions options = hot();
    options.temperature = temperature;
    const std::vector<double> p = softmax(logits, temperature);
    auto counts = drawn(options, logits, kTimes);
    for (size_t i = 0; i < p.size(); ++i) {
      // Five standard deviations of a binomial share.
      EXPECT_NEAR(counts[static_cast<int32_t>(i)] / double{kTimes}, p[i],
                  5 * std::sqrt(p[i] * (1 - p[i]) / kTimes))
          << temperature << ' ' << i;
    }
    EXPECT_EQ(counts[4], 0);
  }
}

TEST(Sampler, ALowTemperatureIsGreedy) {
  SamplingOptions options = hot();
  options.temperature = 1e-6;
  EXPECT_EQ(support(options, {0, 1, 1.01F, -3}, 200), (std::set<int32_t>{2}));
}

TEST(Sampler, TopKKeepsTheLikeliest) {
  const std::vector<float> logits = {0, 2, 1, 2, 1.5F};
  SamplingOptions options = hot();
  const std::vector<std::set<int32_t>> kept = {{1}, {1, 3}, {1, 3, 4}, {1, 2, 3, 4}};
  for (size_t k = 1; k <= kept.size(); ++k) {
    options.top_k = static_cast<int>(k);
    EXPECT_EQ(support(options, logits), kept[k - 1]) << k;
  }
  options.top_k = 100;
  EXPECT_EQ(support(options, logits).size(), 5U);
}

// The kept sets by a full sort, from the definition.
std::set<int32_t> by_definition(const SamplingOptions& options, const std::vector<float>& logits) {
  std::vector<double> p = softmax(logits, options.temperature);
  std::vector<int32_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return p[static_cast<size_t>(a)] > p[static_cast<size_t>(b)];
  });
  if (options.top_k > 0) order.resize(std::min(order.size(), static_cast<size_t>(options.top_k)));
  double mass = 0;
  for (const int32_t i : order) mass += p[static_cast<size_t>(i)];
  std::set<int32_t> kept;
  double sum = 0;
  for (const int32_t i : order) {
    if (!kept.empty() && sum >= options.top_p * mass && options.top_p < 1) break;
    if (p[static_cast<size_t>(i)] >= options.min_p * p[static_cast<size_t>(order[0])])
      kept.insert(i);
    sum += p[static_cast<size_t>(i)];
  }
  return kept;
}

TEST(Sampler, KeepsWhatTheDefinitionsSay) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const std::vector<float> logits = made_up(12, seed, 1.5);
    SamplingOptions options = hot();
    options.temperature = seed % 2 == 0 ? 1 : 1.7;
    options.top_k = std::array{0, 3, 7, 20}[seed % 4];
    options.top_p = std::array{1.0, 0.9, 0.5, 0.0, 0.75}[seed % 5];
    options.min_p = std::array{0.0, 0.2, 0.6}[seed % 3];
    EXPECT_EQ(support(options, logits, 3000), by_definition(options, logits)) << seed;
  }
}

TEST(Sampler, RepetitionPenaltyIsThatOfTransformers) {
  SamplingOptions options;
  options.repeat_penalty = 2;
  Sampler sampler(options, 0, -1);
  sampler.observe(std::vector<int32_t>{0, 1});
  std::vector<float> logits = {4, -4, 3, -5};
  EXPECT_EQ(sampler.sample(logits).token, 2);
  EXPECT_EQ(logits, (std::vector<float>{2, -8, 3, -5}));
  // What was chosen counts from then on.
  logits = {4, -4, 3, -5};
  EXPECT_EQ(sampler.sample(logits).token, 0);
  EXPECT_EQ(logits, (std::vector<float>{2, -8, 1.5F, -5}));
}

TEST(Sampler, PresenceAndFrequencyCountTheTextAlone) {
  SamplingOptions options;
  options.presence_penalty = 0.5;
  options.frequency_penalty = 1;
  Sampler sampler(options, 0, -1);
  sampler.observe(std::vector<int32_t>{0, 0, 0});
  std::vector<int32_t> tokens;
  for (int i = 0; i < 4; ++i) {
    std::vector<float> logits = {10, 9, 0};
    tokens.push_back(sampler.sample(logits).token);
  }
  // 10 > 9;  9 > 8.5;  8.5 > 7.5;  7.5 = 7.5: the lowest id.
  EXPECT_EQ(tokens, (std::vector<int32_t>{0, 1, 0, 0}));
}

TEST(Sampler, LogProbabilitiesAreTheModelsOwn) {
  const std::vector<float> logits = made_up(100, 3);
  SamplingOptions options = hot();
  options.temperature = 5;
  options.repeat_penalty = 3;
  Sampler sampler(options, 0, 4);
  sampler.observe(std::vector<int32_t>{1, 2, 3});
  std::vector<float> row = logits;
  const SampledToken sampled = sampler.sample(row);
  const std::vector<double> p = softmax(logits);
  EXPECT_NEAR(sampled.logprob, std::log(p[static_cast<size_t>(sampled.token)]), 1e-12);
  ASSERT_EQ(sampled.top.size(), 4U);
  std::vector<double> sorted = p;
  std::sort(sorted.rbegin(), sorted.rend());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(sampled.top[i].value, std::log(sorted[i]), 1e-12);
    EXPECT_EQ(p[static_cast<size_t>(sampled.top[i].token)], sorted[i]);
  }
  EXPECT_EQ(log_probabilities(logits, 0, 1000).top.size(), logits.size());
}

// The likeliest tokens of a row, by the reference.
std::vector<Candidate> likeliest(std::vector<float> row, int64_t count) {
  std::vector<Candidate> candidates(static_cast<size_t>(count));
  const auto columns = std::ssize(row);
  make_kernels("reference", 1)
      ->find_candidates(
          {.x = {reinterpret_cast<const std::byte*>(row.data()), DType::f32, 1, columns, columns},
           .count = count,
           .candidates = candidates});
  return candidates;
}

// What a device finds out is what sample() would have made of the whole row.
TEST(Sampler, TheLikeliestGiveWhatRowsGive) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SamplingOptions options;
    options.seed = seed;
    options.temperature = std::array{0.0, 0.7, 1.5}[seed % 3];
    options.top_k = std::array{1, 5, 40, 64}[seed % 4];
    options.top_p = std::array{1.0, 0.9, 0.0, 0.4}[seed / 4 % 4];
    options.min_p = std::array{0.0, 0.05}[seed / 2 % 2];
    const int logprobs = std::array{-1, 0, 4, 50}[seed / 3 % 4];
    Sampler of_rows(options, 3, logprobs);
    Sampler of_likeliest(options, 3, logprobs);
    const int64_t drawn_from = options.temperature > 0 ? options.top_k : 1;
    EXPECT_EQ(of_likeliest.needed(), std::max<int64_t>(drawn_from, logprobs));
    for (uint64_t i = 0; i < 50; ++i) {
      std::vector<float> row = made_up(1000, 100 * seed + i, 3);
      // Others of the batch may need more.
      const auto count = std::min(kMostCandidates, of_likeliest.needed() + static_cast<int64_t>(i));
      const SampledToken chosen = of_likeliest.choose(likeliest(row, count));
      const SampledToken sampled = of_rows.sample(row);
      ASSERT_EQ(chosen.token, sampled.token) << seed;
      EXPECT_NEAR(chosen.logprob, sampled.logprob, 4e-6);
      ASSERT_EQ(chosen.top.size(), sampled.top.size());
      for (size_t j = 0; j < chosen.top.size(); ++j) {
        EXPECT_EQ(chosen.top[j].token, sampled.top[j].token);
        EXPECT_NEAR(chosen.top[j].value, sampled.top[j].value, 4e-6);
      }
    }
  }
}

TEST(Sampler, FewerMayBePossibleThanAreLookedAt) {
  std::vector<float> row = {-kInfinity, 2, -kInfinity, 1};
  SamplingOptions options = hot();
  options.top_k = 10;
  Sampler sampler(options, 0, 5);
  std::array<int, 4> times{};
  for (int i = 0; i < 200; ++i) {
    const SampledToken chosen = sampler.choose(likeliest(row, 10));
    EXPECT_EQ(chosen.top.size(), 2U);
    ++times[static_cast<size_t>(chosen.token)];
  }
  EXPECT_EQ(times[0] + times[2], 0);
  EXPECT_GT(times[1], times[3]);
  EXPECT_GT(times[3], 0);
}

TEST(Sampler, SaysWhenItNeedsRows) {
  const auto needed = [](auto change, int logprobs = 0) {
    SamplingOptions options;
    options.temperature = 0;
    options.seed = 1;
    change(options);
    return Sampler(options, 0, logprobs).needed();
  };
  EXPECT_EQ(needed([](SamplingOptions&) {}, -1), 1);
  EXPECT_EQ(needed([](SamplingOptions&) {}, 7), 7);
  EXPECT_EQ(needed([](SamplingOptions&) {}, kMostCandidates), kMostCandidates);
  EXPECT_EQ(needed([](SamplingOptions&) {}, kMostCandidates + 1), 0);
  EXPECT_EQ(needed([](SamplingOptions& o) { o.temperature = 0.5; }), 0);
  EXPECT_EQ(needed([](SamplingOptions& o) { o.temperature = 0.5, o.top_k = 40; }), 40);
  EXPECT_EQ(needed([](SamplingOptions& o) { o.temperature = 0.5, o.top_k = 1000; }), 0);
  EXPECT_EQ(needed([](SamplingOptions& o) { o.repeat_penalty = 1.1; }), 0);
  EXPECT_EQ(needed([](SamplingOptions& o) { o.presence_penalty = 0.1; }), 0);
  EXPECT_EQ(needed([](SamplingOptions& o) { o.frequency_penalty = 0.1; }), 0);
  for (const float bad : {std::nanf(""), -kInfinity}) {
    Sampler sampler({.temperature = 0, .seed = 1}, 0, 0);
    EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"logits"}, [&] {
      sampler.choose(std::vector<Candidate>{{-1, bad}});
    }));
  }
}

TEST(Sampler, LogitsThatAreNotFiniteAreAnError) {
  const float nan = std::nanf("");
  const std::vector<std::vector<float>> bad = {
      {1, nan, 2}, {nan, nan}, {1, kInfinity}, {-kInfinity, -kInfinity}, {}};
  for (const std::vector<float>& logits : bad) {
    for (const double temperature : {0.0, 1.0}) {
      SamplingOptions options = hot();
      options.temperature = temperature;
      Sampler sampler(options, 0, -1);
      std::vector<float> row = logits;
      EXPECT_TRUE(fails_with(ErrorCode::bad_file, {"logits"}, [&] { sampler.sample(row); }));
    }
  }
  Sampler sampler(hot(), 0, -1);
  std::vector<float> masked = {-kInfinity, 1, -kInfinity};
  EXPECT_EQ(sampler.sample(masked).token, 1);
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  const auto refused = [](const char* name, auto&& set) {
    SamplingOptions options;
    set(options);
    return fails_with(ErrorCode::bad_request, {name}, [&] { check_sampling(options); });
  };
  const double nan = std::nan("");
  EXPECT_TRUE(refused("temperature", [&](auto& o) { o.temperature = nan; }));
  EXPECT_TRUE(refused("temperature", [&](auto& o) { o.temperature = -1; }));
  EXPECT_TRUE(refused("top_k", [&](auto& o) { o.top_k = -1; }));
  EXPECT_TRUE(refused("top_p", [&](auto& o) { o.top_p = 1.01; }));
  EXPECT_TRUE(refused("min_p", [&](auto& o) { o.min_p = -0.1; }));
  EXPECT_TRUE(refused("repeat_penalty", [&](auto& o) { o.repeat_penalty = 0; }));
  EXPECT_TRUE(refused("presence_penalty", [&](auto& o) { o.presence_penalty = nan; }));
  EXPECT_TRUE(refused("frequency_penalty", [&](auto& o) { o.frequency_penalty = -1e9; }));
  check_sampling({});
}

}  // namespace
}  // namespace slim
