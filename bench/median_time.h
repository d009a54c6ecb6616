// How the timings of a card's kernels are taken.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <vector>

namespace slim {

// Median over rounds of ten calls that follow one another, in microseconds a call, after a tenth of
// a second of them: a card that was idle takes as long to reach its clock. `wait` returns when all
// work is done.
inline double median_us(const std::function<void()>& wait, const std::function<void()>& call) {
  using Clock = std::chrono::steady_clock;
  for (const auto end = Clock::now() + std::chrono::milliseconds(100); Clock::now() < end; wait()) {
    call();
  }
  std::vector<double> times;
  for (int round = 0; round < 7; ++round) {
    const auto begin = Clock::now();
    for (int i = 0; i < 10; ++i) call();
    wait();
    const std::chrono::duration<double, std::micro> time = Clock::now() - begin;
    times.push_back(time.count() / 10.0);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace slim
