// Stopwatch: seconds since its start, by the monotonic clock. For the figures that are reported,
// never for decisions.
#pragma once

#include <chrono>

namespace slim {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  // The seconds so far; starts again.
  double lap() {
    const double elapsed = seconds();
    start_ = std::chrono::steady_clock::now();
    return elapsed;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace slim
