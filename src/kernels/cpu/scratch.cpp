// Growing, and the free list of sets.
#include "kernels/cpu/scratch.h"

#include <utility>

namespace slim {

float* Scratch::floats(int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  if (!buffer_ || buffer_->size() < bytes) {
    buffer_.reset();  // first, so that both are never held at once
    buffer_ = host_device().allocate(bytes);
  }
  return reinterpret_cast<float*>(buffer_->data());
}

ScratchSets::Lease::Lease(ScratchSets& sets) : sets_(sets) {
  {
    const std::lock_guard lock(sets.mutex_);
    if (!sets.free_.empty()) {
      set_ = std::move(sets.free_.back());
      sets.free_.pop_back();
      return;
    }
  }
  set_ = std::make_unique<Set>(static_cast<size_t>(sets.workers_) + 1);
  const std::lock_guard lock(sets.mutex_);
  sets.free_.reserve(sets.free_.capacity() + 1);  // so that giving back cannot throw
}

ScratchSets::Lease::~Lease() {
  for (Scratch& scratch : *set_) scratch.content = Scratch::kNothing;
  const std::lock_guard lock(sets_.mutex_);
  sets_.free_.push_back(std::move(set_));
}

}  // namespace slim
