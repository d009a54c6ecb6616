// Whether products of bytes outrun those of f32 whatever the rows: where an instruction adds up
// four of them at once (VNNI). Elsewhere they do so for few rows, where the bytes of weights are
// what counts.
#pragma once

#include "kernels/kernels.h"

namespace slim {

bool has_byte_products(const Kernels& kernels);

}  // namespace slim
