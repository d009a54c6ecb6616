// StepScratch as a stack of buffers per thread: the n-th matrix in use gets the n-th buffer.
#include "attention/step_scratch.h"

#include <memory>
#include <vector>

namespace slim {
namespace {

struct Buffers {
  Device* device = nullptr;
  std::vector<std::shared_ptr<Buffer>> all;
  size_t used = 0;
};

Buffers& buffers() {
  thread_local Buffers of_this_thread;
  return of_this_thread;
}

}  // namespace

StepScratch::StepScratch(Device& device) : device_(device), first_(buffers().used) {}

StepScratch::~StepScratch() { buffers().used = first_; }

Matrix StepScratch::matrix(int64_t rows, int64_t columns) {
  Buffers& mine = buffers();
  if (mine.used == 0 && mine.device != &device_) {
    mine.all.clear();
    mine.device = &device_;
  }
  check(mine.device == &device_, "the scratch matrices of nested calls are on one device");
  if (mine.used == mine.all.size()) mine.all.emplace_back();
  std::shared_ptr<Buffer>& buffer = mine.all[mine.used];
  const auto bytes = static_cast<size_t>(rows * columns) * sizeof(float);
  if (buffer == nullptr || buffer->size() < bytes) {
    buffer.reset();  // first, so that both are never held
    buffer = device_.allocate(bytes);
  }
  ++mine.used;
  return {buffer->data(), DType::f32, rows, columns, columns};
}

}  // namespace slim
