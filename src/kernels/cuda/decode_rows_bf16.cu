// The one-read kernel over rows of bf16.
#include "kernels/cuda/decode_rows_mix.cuh"

namespace slim::cuda {

const RowEntry* find_rows_bf16(int64_t width) { return find_rows<__nv_bfloat16>(width); }

}  // namespace slim::cuda
