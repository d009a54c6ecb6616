// The CUDA kernels of a build without the toolkit: there are none.
#include "kernels/cuda/cuda_kernels.h"
#include "slim/error.h"

namespace slim {

std::vector<std::string> cuda_kernel_names() { return {}; }

std::unique_ptr<Kernels> make_cuda_kernels(std::string_view, int) {
  throw Error(ErrorCode::bad_request, "This build has no CUDA kernels.", "device");
}

}  // namespace slim
