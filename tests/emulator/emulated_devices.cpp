// In place of tests/kernels/test_devices.cpp: the only device that tests run on is the emulated
// card.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/staged_kernels.h"

namespace slim::test {

std::vector<std::string> test_device_names() { return {"emulated"}; }

std::unique_ptr<Kernels> device_kernels(std::string_view, int threads) {
  return emulated::make_cuda_kernels("", threads);
}

std::unique_ptr<Kernels> test_kernels(std::string_view name, int threads) {
  return staged(device_kernels(name, threads));
}

}  // namespace slim::test
