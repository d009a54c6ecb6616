// Decoding of GGUF's blocks, as weight_blocks.h lays them out.
#include "tensor/weight_blocks.h"

#include "base/check.h"

namespace slim {

void decode_blocks(DType type, const std::byte* /*blocks*/, int64_t /*elements*/,
                   float* /*values*/) {
  fail_visit(type);
}

}  // namespace slim
