// The value map of slim attention: with K = X W_K and V = X W_V (rows on the left), M = W_K^-1 W_V
// gives V = K M (arXiv 2503.05840, section 2). Files store W^T ([outputs, inputs]), and so does
// what is returned here.
#pragma once

#include "tensor/tensor.h"

namespace slim {

// Largest over smallest singular value of a weight matrix [outputs, inputs], in double precision
// (LAPACK dgesdd). Infinity if singular. Cost O(d^3): about 0.2 s at d = 512, 3 s at d = 1280.
double condition_number(const Tensor& weight);

// M^T as [e, e] f32 from W_K^T and W_V^T, both [e, d] with e = d; solved in double, then rounded.
// Throws Error{unsupported_model} if W_K is not square or is singular to double precision.
Tensor value_map(const Tensor& key_weight, const Tensor& value_weight);

// W_K^T cut into heads and transposed: [H*C, D] -> [H*D, C], so that GroupedLinear turns queries
// into queries over x rows: (q_i W_K,i^T) . x = q_i . (x W_K,i). Keeps the type.
Tensor absorb_key(const Tensor& key_weight, int64_t heads);

}  // namespace slim
