// Prefetch: the next tile's bytes, one run a plane, fetched into the second-level cache in step
// with the work on this tile: memory is then busy all the time, and no burst fills the queue of
// pending loads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace slim {

constexpr int64_t kCacheLine = 64;

struct Prefetch {
  struct Run {
    const std::byte* next = nullptr;
    int64_t lines = 0;  // cache lines left
  };
  Run runs[2];
  // In fixed point, 32 bits behind the point: conversions from and to f32 are slower than all else.
  int64_t lines_per_product = 0;  // of a run, for one multiply-add
  int64_t due = 0;                // lines

  static int64_t rate(int64_t lines, int64_t products) { return (lines << 32) / products; }

  void advance(int64_t products) {
    due += products * lines_per_product;
    const int64_t lines = due >> 32;
    due -= lines << 32;
    for (Run& run : runs) {
      const int64_t now = std::min(lines, run.lines);
      run.lines -= now;
      for (int64_t i = 0; i < now; ++i, run.next += kCacheLine) {
        __builtin_prefetch(run.next, 0, 2);
      }
    }
  }
};

}  // namespace slim
