// Scratch: working memory of kernels that outlives the call, so that in steady state no kernel
// allocates. It belongs to a (call, worker) pair: two calls at the same time, from two threads,
// never share any. Counted by host_device(), like every large allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "tensor/device.h"

namespace slim {

// One worker's memory. It only grows.
class Scratch {
 public:
  // At least `count` floats, 64-byte aligned, uninitialised; valid until the next request.
  float* floats(int64_t count);

  // For the borrower's use: what its floats hold at present. kNothing at the start of a call.
  static constexpr int64_t kNothing = -1;
  int64_t content = kNothing;

 private:
  std::shared_ptr<Buffer> buffer_;
};

// Hands out sets of one Scratch per worker. As many sets exist as calls have ever run at once.
class ScratchSets {
  using Set = std::vector<Scratch>;

 public:
  // One call's set; it returns on destruction. Also what the workers of this call share.
  class Lease {
   public:
    explicit Lease(ScratchSets& sets);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    Scratch& of(int worker) { return (*set_)[static_cast<size_t>(worker)]; }
    Scratch& shared() { return set_->back(); }

   private:
    ScratchSets& sets_;
    std::unique_ptr<Set> set_;
  };

  explicit ScratchSets(int workers) : workers_(workers) {}

 private:
  const int workers_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Set>> free_;
};

}  // namespace slim
