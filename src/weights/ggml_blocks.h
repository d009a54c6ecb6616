// Block types that ggml files have and kernels have not, as numbers. Blocks of 32 neighbours along
// a row (d, m: binary16; h: u32; n: 16 bytes, byte j of which has element j low and j + 16 high):
//   q4_1  d, m, n:     d * nibble + m
//   q5_0  d, h, n:     d * (nibble + 16 * bit i of h - 16)
//   q5_1  d, m, h, n:  d * (nibble + 16 * bit i of h) + m
// Products are exact in f32, so q5_0 loses nothing; sums with m are rounded once, to f32, as ggml
// rounds them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "weights/builder.h"

namespace slim {

enum class GgmlBlocks : uint8_t { q4_1, q5_0, q5_1 };

// As checked_bytes(), of a tensor in such blocks.
int64_t checked_block_bytes(const WeightsFile& file, const std::string& name, GgmlBlocks type,
                            const std::vector<int64_t>& shape);
// `bytes` are as many as checked_block_bytes() says.
Tensor unpack_blocks(GgmlBlocks type, std::span<const std::byte> bytes,
                     const std::vector<int64_t>& shape);

}  // namespace slim
