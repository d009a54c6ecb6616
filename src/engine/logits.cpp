// Rows of 50,000 to 260,000 logits, once a token.
#include "engine/logits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "slim/error.h"

namespace slim {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

[[noreturn]] void refuse() {
  throw Error(ErrorCode::bad_file,
              "The model's logits are not finite: its weights are damaged, or its numbers outgrow "
              "the arithmetic.",
              "logits");
}

// -infinity if there is none. NaN is never largest.
float maximum(std::span<const float> values) {
  // Eight independent maxima, so that the compiler can keep them in one vector register.
  constexpr size_t kLanes = 8;
  std::array<float, kLanes> best;
  best.fill(kLowest);
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      best[j] = values[i + j] > best[j] ? values[i + j] : best[j];
    }
  }
  float largest = kLowest;
  for (const float value : best) largest = std::max(largest, value);
  for (; i < values.size(); ++i) largest = values[i] > largest ? values[i] : largest;
  return largest;
}

}  // namespace

int64_t argmax(std::span<const float> values) {
  const float largest = maximum(values);
  if (largest == kLowest) return -1;
  return std::find(values.begin(), values.end(), largest) - values.begin();
}

std::vector<int64_t> largest(std::span<const float> values, size_t count) {
  constexpr size_t kBlock = 256;
  std::vector<int64_t> best;
  if (count == 0) return best;
  const auto value_of = [&](int64_t index) { return values[static_cast<size_t>(index)]; };
  float least = kLowest;  // what a value must exceed
  const auto insert = [&](int64_t index) {
    const auto place = std::upper_bound(best.begin(), best.end(), value_of(index),
                                        [&](float a, int64_t b) { return a > value_of(b); });
    best.insert(place, index);
    if (best.size() > count) best.pop_back();
    if (best.size() == count) least = value_of(best.back());
  };
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, values.size());
    if (!(maximum(values.subspan(begin, end - begin)) > least)) continue;
    for (size_t i = begin; i < end; ++i) {
      if (values[i] > least) insert(static_cast<int64_t>(i));
    }
  }
  return best;
}

double log_sum_exp(std::span<const float> logits) {
  const int64_t best = argmax(logits);
  const double largest = best < 0 ? 0 : logits[static_cast<size_t>(best)];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

double probability_of(std::span<const float> logits, int64_t index) {
  return std::exp(logits[static_cast<size_t>(index)] - log_sum_exp(logits));
}

void check_logits(std::span<const float> logits) {
  bool sound = argmax(logits) >= 0;
  // False for NaN and +infinity alike.
  for (const float logit : logits) sound &= logit < std::numeric_limits<float>::infinity();
  if (!sound) refuse();
}

void check_candidates(std::span<const Candidate> candidates) {
  if (!(candidates.front().log_probability > kLowest)) refuse();
}

}  // namespace slim
