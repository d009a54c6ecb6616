// What works row by row.
#include "kernels/cuda/device_kernels.h"

namespace slim {

void CudaKernels::norm(const Norm& /*arguments*/) {}

void CudaKernels::gate(const Gate& /*arguments*/) {}

void CudaKernels::clamp(const Clamp& /*arguments*/) {}

void CudaKernels::rotate(const Rotate& /*arguments*/) {}

void CudaKernels::embed(const Embed& /*arguments*/) {}

void CudaKernels::log_softmax(const LogSoftmax& /*arguments*/) {}

}  // namespace slim
