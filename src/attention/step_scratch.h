// StepScratch: the matrices between the kernels of one call (queries, mixed rows). They come from
// memory that the calling thread keeps from call to call, so that a token costs no allocation and
// threads never meet. It is no context memory: it belongs to no sequence and does not grow with
// one.
#pragma once

#include <cstdint>

#include "tensor/device.h"
#include "tensor/tensor.h"

namespace slim {

// Matrices live until the StepScratch they came from dies; they nest.
class StepScratch {
 public:
  explicit StepScratch(Device& device);
  ~StepScratch();
  StepScratch(const StepScratch&) = delete;
  StepScratch& operator=(const StepScratch&) = delete;

  // f32, uninitialised. Allocates only where no earlier call needed as much in this place. Throws
  // Error{out_of_memory}.
  Matrix matrix(int64_t rows, int64_t columns);

 private:
  Device& device_;
  size_t first_;  // of the thread's buffers: those that enclosing ones do not use
};

}  // namespace slim
