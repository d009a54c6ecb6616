// Adding biases by distance (DistanceBias) to scores of consecutive rows: within reach they lie one
// after the other, and beyond it they are one number on either side.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

namespace slim {

// One head's biases, as added: `bias[0]` is that of distance 0.
struct HeadBias {
  const float* bias = nullptr;  // none: nothing is added
  int64_t reach = 0;
};

// scores[s] += factor * bias[distance + s, held within reach], for s < rows.
inline void add_distance_bias(float* scores, int64_t rows, const HeadBias& head, float factor,
                              int64_t distance) {
  if (head.bias == nullptr) return;
  const int64_t begin = std::clamp<int64_t>(-head.reach - distance, 0, rows);
  const int64_t end = std::clamp<int64_t>(head.reach - distance, begin, rows);
  const float before = factor * head.bias[-head.reach];
  const float after = factor * head.bias[head.reach];
  for (int64_t s = 0; s < begin; ++s) scores[s] += before;
  for (int64_t s = begin; s < end; ++s) scores[s] += factor * head.bias[distance + s];
  for (int64_t s = end; s < rows; ++s) scores[s] += after;
}

// The same where rows stand at `places`: scores[s] += factor * bias[places[s] - place, held within
// reach].
inline void add_distance_bias(float* scores, std::span<const int32_t> places, const HeadBias& head,
                              float factor, int64_t place) {
  if (head.bias == nullptr) return;
  for (size_t s = 0; s < places.size(); ++s) {
    scores[s] += factor * head.bias[std::clamp(places[s] - place, -head.reach, head.reach)];
  }
}

}  // namespace slim
