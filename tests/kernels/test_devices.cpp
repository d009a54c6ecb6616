// The devices that tests run on. A file of its own, so that a test can have others
// (tests/emulator/emulated_devices.cpp).
#include <algorithm>

#include "kernels/island_kernels.h"
#include "kernels/staged_kernels.h"

namespace slim::test {

std::vector<std::string> test_device_names() {
  std::vector<std::string> names = kernel_names();
  std::erase_if(names, [](const std::string& name) { return name.starts_with("cuda"); });
  names.emplace_back("island");
  names.emplace_back("cuda");
  return names;
}

std::unique_ptr<Kernels> device_kernels(std::string_view name, int threads) {
  if (name == "island") return std::make_unique<IslandKernels>("cpu", threads);
  const std::vector<std::string> names = kernel_names();
  const bool there = std::find(names.begin(), names.end(), name) != names.end();
  if (!there && name == "cuda") return nullptr;
  return make_kernels(name, threads);
}

std::unique_ptr<Kernels> test_kernels(std::string_view name, int threads) {
  std::unique_ptr<Kernels> kernels = device_kernels(name, threads);
  return kernels == nullptr ? nullptr : staged(std::move(kernels));
}

}  // namespace slim::test
