// Attention over one plane.
#include "kernels/cuda/device_kernels.h"

namespace slim {

void CudaKernels::attend_shared(const Attend& arguments) { attend_pair(arguments); }

}  // namespace slim
