// The table of kernel implementations, and the questions that are asked of it. A new device is one
// line here.
#include "kernels/kernels.h"

#include <algorithm>
#include <array>

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/reference/reference_kernels.h"
#include "slim/error.h"

namespace slim {
namespace {

struct Implementation {
  std::vector<std::string> (*names)();  // each "<device>" or "<device>:<target>"
  std::unique_ptr<Kernels> (*make)(std::string_view target, int threads);
};

// Listed by hand: a static library drops objects that only register themselves.
constexpr std::array kImplementations{
    Implementation{[] { return std::vector<std::string>{"reference"}; }, make_reference_kernels},
    Implementation{cpu_kernel_names, make_cpu_kernels},
    Implementation{cuda_kernel_names, make_cuda_kernels},
};

std::string_view target_of(std::string_view name) {
  const size_t colon = name.find(':');
  return colon == std::string_view::npos ? std::string_view{} : name.substr(colon + 1);
}

}  // namespace

std::vector<std::string> kernel_names() {
  std::vector<std::string> all;
  for (const Implementation& implementation : kImplementations) {
    for (std::string& name : implementation.names()) all.push_back(std::move(name));
  }
  return all;
}

std::unique_ptr<Kernels> make_kernels(std::string_view name, int threads) {
  for (const Implementation& implementation : kImplementations) {
    const std::vector<std::string> names = implementation.names();
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return implementation.make(target_of(name), threads);
    }
  }
  std::string known;
  for (const std::string& other : kernel_names()) known += (known.empty() ? "" : ", ") + other;
  throw Error(ErrorCode::bad_request,
              "There is no device '" + std::string(name) + "'; this machine has " + known + ".",
              "device");
}

}  // namespace slim
