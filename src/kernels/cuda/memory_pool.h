// MemoryPool: freed stretches of a card's memory by size. What was freed last goes first, so that a
// call like the one before gets the same addresses (launch_list.h says what that is good for).
#pragma once

#include <cstddef>
#include <map>

namespace slim {

class MemoryPool {
 public:
  struct Stretch {
    std::byte* data = nullptr;
    size_t bytes = 0;
  };

  bool empty() const { return free_.empty(); }
  void put(const Stretch& stretch) {
    free_.emplace_hint(free_.lower_bound(stretch.bytes), stretch.bytes, stretch.data);
  }
  // Anything less than a quarter too large will do; no data if there is none.
  Stretch take(size_t bytes) {
    const auto found = free_.lower_bound(bytes);
    if (found == free_.end() || found->first > bytes + bytes / 4) return {};
    const Stretch stretch{found->second, found->first};
    free_.erase(found);
    return stretch;
  }
  // All of it, one after the other: last in first out holds for those of one size.
  template <typename Function>
  void drain(Function use) {
    for (auto it = free_.rbegin(); it != free_.rend(); ++it) use(Stretch{it->second, it->first});
    free_.clear();
  }

 private:
  std::multimap<size_t, std::byte*> free_;
};

}  // namespace slim
