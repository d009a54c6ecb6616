// The one-read kernel over keys of 12 bits.
#include "kernels/cuda/decode_kernel.cuh"

namespace slim::cuda {

const DecodeEntry* find_decode_12(const DecodeLaunch& launch) { return find_decode<12>(launch); }

}  // namespace slim::cuda
