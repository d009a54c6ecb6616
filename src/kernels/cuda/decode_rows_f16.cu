// The one-read kernel over rows of f16.
#include "kernels/cuda/decode_rows_mix.cuh"

namespace slim::cuda {

const RowEntry* find_rows_f16(int64_t width) { return find_rows<__half>(width); }

}  // namespace slim::cuda
