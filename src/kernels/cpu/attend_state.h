// SoftmaxState: a softmax over scores that arrive in parts. With m the largest score so far and
// l = sum exp(score - m), the weights of two parts with mixtures a = sum exp(score - m) * value
// join as
//   m = max(m1, m2),   l = l1 exp(m1 - m) + l2 exp(m2 - m),   a = a1 exp(m1 - m) + a2 exp(m2 - m)
// and the result is a / l. It joins tiles of rows within a part and the parts of a sequence alike.
//
// Empty is m = -infinity, l = 0, a = 0, and is neutral on either side. Scores that are all
// -infinity leave l = 0 too, and a / l = NaN, as the plain formula has it: a query that sees no row
// at all is the caller's case. A NaN score, or one of +infinity, makes l NaN for good.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace slim {

struct SoftmaxState {
  static constexpr float kEmpty = -std::numeric_limits<float>::infinity();

  float maximum = kEmpty;
  float sum = 0.0F;

  // What scores are to be taken relative to: the maximum, but finite where that is -infinity, so
  // that exp(-infinity - origin) is 0.
  float origin() const { return maximum == kEmpty ? 0.0F : maximum; }

  // log(sum exp(score)) over scores of which there is one at least: NaN if all are -infinity.
  float logarithm() const {
    return sum == 0.0F ? std::numeric_limits<float>::quiet_NaN() : maximum + std::log(sum);
  }

  // Raises the maximum to `score` if that is larger. Returns what the mixture so far is to be
  // multiplied with: 1 if nothing changed.
  float raise(float score) {
    if (!(score > maximum)) return 1.0F;
    const float factor = std::exp(maximum - score);
    maximum = score;
    sum *= factor;
    return factor;
  }
};

// Joins another part, its state and its unnormalised mixture of `width` values, into this one.
inline void merge_softmax(SoftmaxState& state, float* mixed, const SoftmaxState& other,
                          const float* other_mixed, int64_t width) {
  const float factor = state.raise(other.maximum);
  const float other_factor = std::exp(other.maximum - state.origin());
  state.sum += other.sum * other_factor;
  for (int64_t c = 0; c < width; ++c) {
    mixed[c] = mixed[c] * factor + other_mixed[c] * other_factor;
  }
}

// out = mixed / sum. `out` may be `mixed`.
inline void normalise_softmax(const SoftmaxState& state, const float* mixed, int64_t width,
                              float* out) {
  for (int64_t c = 0; c < width; ++c) out[c] = mixed[c] / state.sum;
}

}  // namespace slim
