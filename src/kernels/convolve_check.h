// What every Convolve must fulfil, wherever it runs.
#pragma once

#include "kernels/kernels.h"

namespace slim {

void check_convolve(const Convolve& convolve);

}  // namespace slim
