// AttendState: a softmax over scores that arrive in parts, on the card. With m the largest score of
// a part and l = sum exp(score - m), the weights of two parts with mixtures a = sum exp(score - m)
// * value join as
//   m = max(m1, m2),   l = l1 exp(m1 - m) + l2 exp(m2 - m),   a = a1 exp(m1 - m) + a2 exp(m2 - m)
// and the result is a / l.
//
// Empty is m = -infinity, l = 0, a = 0, and is neutral on either side. Scores that are all
// -infinity leave l = 0 too, and a / l = NaN, as the plain formula has it: a query that sees no row
// at all is the caller's case. A NaN score, or one of +infinity, makes l NaN for good.
#pragma once

#include <cuda_runtime.h>
#include <math_constants.h>

namespace slim {

// What a row that is seen weighs at least: it must not vanish, since NaN and infinity of its value
// reach whoever sees it. Below 1e-37 of the whole it changes no digit of anything else.
constexpr float kLeastWeight = 1.2e-38F;

// exp(score - origin), but 0 for -infinity only. A NaN stays.
__device__ inline float attend_weight(float score, float origin) {
  float weight = expf(score - origin);
  weight = weight < kLeastWeight ? kLeastWeight : weight;
  return score == -CUDART_INF_F ? 0.0F : weight;  // last: not a branch around all of it
}

struct AttendState {
  float maximum;
  float sum;

  __device__ static AttendState empty() { return {-CUDART_INF_F, 0.0F}; }

  // What scores are to be taken relative to: the maximum, but finite where that is -infinity, so
  // that exp(-infinity - origin) is 0.
  __device__ float origin() const { return maximum == -CUDART_INF_F ? 0.0F : maximum; }

  // What this part's sum and mixture are multiplied with where it joins others whose largest score
  // gives `origin`. A part of -infinity alone, or of NaN alone, has nothing to be scaled: its sum
  // is 0, or NaN.
  __device__ float share(float origin) const {
    return maximum == -CUDART_INF_F ? 0.0F : attend_weight(maximum, origin);
  }

  // log(sum exp(score)) over scores of which there is one at least: NaN if all are -infinity.
  __device__ float logarithm() const { return sum == 0.0F ? CUDART_NAN_F : maximum + logf(sum); }
};

// How the result over these rows and that over others, which is there already, make one.
struct Merging {
  float before = 0.0F;  // the share of what other rows gave
  float now = 1.0F;
  float lse;
  bool merged = false;

  __device__ explicit Merging(float logarithm) : lse(logarithm) {}

  __device__ void with(float other) {
    if (isinf(other)) return;
    const float largest = other < lse ? lse : other;  // a NaN stays
    const float left = expf(other - largest);
    const float right = expf(lse - largest);
    before = left / (left + right);
    now = right / (left + right);
    lse = largest + logf(left + right);
    merged = true;
  }
};

}  // namespace slim
