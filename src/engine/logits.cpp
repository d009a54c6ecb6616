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

}  // namespace

int64_t argmax(std::span<const float> values) {
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
  if (largest == kLowest) return -1;
  return std::find(values.begin(), values.end(), largest) - values.begin();
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

void check_peak(const Peak& peak) {
  if (std::isnan(peak.log_probability)) refuse();
}

}  // namespace slim
