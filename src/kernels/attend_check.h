// What every Attend must fulfil, wherever it runs.
#pragma once

#include "kernels/kernels.h"

namespace slim {

// The tokens of a slice lie within a step of `tokens`, its rows are not negative.
void check_slice(const Slice& slice, int64_t tokens);
// Shapes of an Attend and of its slices.
void check_attend(const Attend& attend);

}  // namespace slim
