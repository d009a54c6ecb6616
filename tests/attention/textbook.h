// Attention as the textbook has it, in double: one sequence of causal self-attention, every feature
// of AttentionSpec, no kernels, pages or slices. What all kinds are compared with in the end.
#pragma once

#include "attention/scheme.h"

namespace slim::testing {

// x [T, D] to [T, D], without the residual.
Tensor textbook(const AttentionSpec& spec, const AttentionWeights& weights, const Tensor& x);

}  // namespace slim::testing
