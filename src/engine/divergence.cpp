// KL(p || q) = sum p (log p - log q). Summed as p * (expm1(-t) + t), t = log p - log q: the terms
// are the same up to sum(q - p) = 0, but each is >= 0 and of second order in t, so nothing cancels
// and divergences far below 1e-16 / V stay meaningful.
#include "engine/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/logits.h"

namespace slim {

void Divergence::add(std::span<const float> reference, std::span<const float> logits) {
  const double p_norm = log_sum_exp(reference);
  const double q_norm = log_sum_exp(logits);
  double kl = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double p = reference[i] - p_norm;
    const double t = p - (logits[i] - q_norm);
    kl += std::exp(p) * (std::expm1(-t) + t);
    const double difference = std::fabs(static_cast<double>(reference[i]) - logits[i]);
    // A NaN must show and stay: max() would drop it.
    if (std::isnan(difference) || difference > largest_difference_)
      largest_difference_ = difference;
    largest_logit_ = std::max(largest_logit_, std::fabs(static_cast<double>(reference[i])));
  }
  kl_.push_back(std::isnan(kl) ? std::numeric_limits<double>::infinity() : kl);
  const int64_t best = argmax(reference);
  if (best >= 0 && best == argmax(logits)) ++agreements_;
}

double Divergence::kl_mean() const {
  double sum = 0;
  for (const double kl : kl_) sum += kl;
  return kl_.empty() ? 0 : sum / static_cast<double>(kl_.size());
}

double Divergence::kl_quantile(double share) const {
  if (kl_.empty()) return 0;
  std::vector<double> sorted = kl_;
  std::sort(sorted.begin(), sorted.end());
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  const auto index = static_cast<size_t>(std::max(1.0, rank)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

double Divergence::logit_max() const {
  return std::isnan(largest_difference_) ? std::numeric_limits<double>::infinity()
                                         : largest_difference_;
}

double Divergence::logit_rel() const {
  return largest_logit_ > 0 ? logit_max() / largest_logit_ : logit_max();
}

double Divergence::top1() const {
  return kl_.empty() ? 1 : static_cast<double>(agreements_) / static_cast<double>(kl_.size());
}

}  // namespace slim
