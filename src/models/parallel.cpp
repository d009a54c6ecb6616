// Threads that live as long as the call: it is made a few times a model.
#include "models/parallel.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <vector>

#include "base/processors.h"

namespace slim {

void in_parallel(size_t count, FunctionRef<void(size_t)> body) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < count; i = next++) body(i);
  };
  std::vector<std::future<void>> others;
  const size_t threads = std::min(count, std::max<size_t>(1, allowed_processors().size()));
  for (size_t i = 1; i < threads; ++i) others.push_back(std::async(std::launch::async, work));
  work();
  for (std::future<void>& other : others) other.get();
}

}  // namespace slim
