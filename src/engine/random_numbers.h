// RandomNumbers: the random numbers of sampling. Slim's own, so that a seed means the same tokens
// on every machine: SplitMix64, a counter in steps of the golden ratio through a mixing function.
// Each (seed, stream) is a sequence of its own; stream 0 of a seed is what a single sample gets.
#pragma once

#include <cstdint>
#include <random>

namespace slim {

class RandomNumbers {
 public:
  explicit RandomNumbers(uint64_t seed, uint64_t stream = 0) : state_(seed ^ mix(stream)) {}

  uint64_t next() {
    state_ += 0x9E3779B97F4A7C15U;
    return mix(state_);
  }
  // In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  // A bijection with mix(0) = 0.
  static constexpr uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

// For who asked for none.
inline uint64_t random_seed() {
  std::random_device device;
  return (uint64_t{device()} << 32) | device();
}

}  // namespace slim
