// Blocks: a step cut into runs of a few tokens. Kinds that mix whole rows need H * D numbers of
// scratch a token; a prompt of thousands of tokens must not turn that into gigabytes.
#pragma once

#include <cstdint>
#include <span>

#include "base/function_ref.h"
#include "kernels/kernels.h"

namespace slim {

// Calls body(first, count, slices) for tokens [first, first + count) of the step, in order, count
// at most `limit`. The slices are those of the step, cut to the block and counted from its start.
// Cutting changes no result: a causal slice sees as many rows fewer as tokens were cut off its end.
// The rows of all tokens are already stored. Allocates only if there is more than one block.
void for_blocks(std::span<const Slice> slices, int64_t tokens, int64_t limit, bool causal,
                FunctionRef<void(int64_t first, int64_t count, std::span<const Slice>)> body);

}  // namespace slim
