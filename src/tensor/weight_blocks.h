// The block types of GGUF weights as numbers: the specification that every device reproduces.
// Layouts (d, m: binary16; all little-endian; element i of a block is):
//   q8_0  d, 32 signed bytes: d * byte[i]
//   q4_0  d, 16 bytes: d * (nibble - 8); byte j holds element j (low) and j + 16 (high)
//   q4_k  d, m, 12 bytes of eight 6-bit scales and minima, 128 bytes of nibbles; 8 runs of 32
//   q5_k  as q4_k, with 32 bytes of fifth bits before the nibbles
//   q6_k  128 bytes of low nibbles, 64 of upper bit pairs, 16 signed scales, d; 16 runs of 16
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace slim {

// `elements` (whole blocks) from `blocks` to floats. `type` is a block type.
void decode_blocks(DType type, const std::byte* blocks, int64_t elements, float* values);

}  // namespace slim
