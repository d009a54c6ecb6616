// TokenTimes: when each token of a window's text is said, by openai-whisper's method. The weights
// with which a model's alignment heads attend the window, each normalised over the tokens and
// smoothed along time, are averaged; the cheapest path through their negative says which positions
// a token goes with:
//   w = mean_h median_7((p_h - mean_t p_h) / deviation_t p_h),   p_h[t] = softmax_s(scores_h[t])
//   cost[t, s] = -w[t, s] + min(cost[t-1, s-1], cost[t-1, s], cost[t, s-1])   (DTW)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace slim {

struct TokenTimes {
  std::vector<double>
      at;  // [n + 1] seconds from the window's start: token i from at[i] to at[i + 1]
  std::vector<double> probability;  // [n]: of each token after those before it
};

// Which of the scored tokens are wanted, and how much of the window holds sound.
struct AlignmentRange {
  int64_t heads = 0;      // score the tokens one after another
  int64_t first = 0;      // token wanted
  int64_t count = 0;      // tokens wanted
  int64_t positions = 0;  // encoder positions with content; at least 1
};

// w [count, positions]. scores: [heads * T, S] f32 in the host's memory, S at least `positions`;
// they become weights. A position that all tokens attend alike has the weight 0.
std::vector<float> alignment_weights(Matrix scores, const AlignmentRange& range);

// The first position of each of `tokens` tokens on the cheapest path through -weights, which are
// [tokens, positions]. Ascending; 0 for the first token.
std::vector<int64_t> first_positions(std::span<const float> weights, int64_t tokens,
                                     int64_t positions);

}  // namespace slim
