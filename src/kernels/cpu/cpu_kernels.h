// What the factory (kernels/kernels.cpp) needs to know of the CPU kernels: their names and how to
// make one. All else of kernels/cpu is its own business.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace slim {

// "cpu", then "cpu:<target>" for each instruction set that this machine has ("cpu:scalar", ...).
std::vector<std::string> cpu_kernel_names();

// `target` is what follows the colon in one of the names above; "" stands for the best there is.
// `threads` as for ThreadPool. Throws Error{bad_request} if `threads` is out of range.
std::unique_ptr<Kernels> make_cpu_kernels(std::string_view target, int threads);

}  // namespace slim
