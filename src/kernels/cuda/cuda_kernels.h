// What the factory (kernels/kernels.cpp) needs to know of the CUDA kernels: their names and how to
// make one. Where the toolkit was not found at configure time, absent.cpp answers: there are none.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"

namespace slim {

// "cuda" if this machine has a card that the build has code for, then "cuda:<number>" for each.
std::vector<std::string> cuda_kernel_names();

// `target` is what follows the colon in one of the names above; "" stands for the first card.
// `threads` is for the processor's part of the work (none: the cards do it all).
std::unique_ptr<Kernels> make_cuda_kernels(std::string_view target, int threads);

}  // namespace slim
