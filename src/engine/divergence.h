// Divergence: how far a distribution over tokens is from the reference, token by token, in double
// precision: what `verify` reports.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace slim {

class Divergence {
 public:
  // One position's logits under the reference and under the cache in question.
  void add(std::span<const float> reference, std::span<const float> logits);

  int64_t tokens() const { return static_cast<int64_t>(kl_.size()); }
  double kl_mean() const;
  // The smallest value that at least `share` of the tokens do not exceed.
  double kl_quantile(double share) const;
  // max |difference| / max |reference logit|
  double logit_rel() const;
  double logit_max() const;  // max |difference|
  double top1() const;       // share of tokens whose most likely successor is the same

 private:
  std::vector<double> kl_;  // KL(reference || other) in nats, each >= 0 up to rounding
  double largest_logit_ = 0;
  double largest_difference_ = 0;
  int64_t agreements_ = 0;
};

}  // namespace slim
