// How the timings of a card's kernels are taken.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace slim {

// Median over rounds of ten calls that follow one another, in microseconds a call. `wait` returns
// when all work is done.
inline double median_us(const std::function<void()>& wait, const std::function<void()>& call) {
  std::vector<double> times;
  for (int round = 0; round < 9; ++round) {
    wait();
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 10; ++i) call();
    wait();
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
    if (round >= 2) times.push_back(time.count() / 10.0);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace slim
