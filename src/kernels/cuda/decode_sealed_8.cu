// The one-read kernel over keys of 8 bits.
#include "kernels/cuda/decode_kernel.cuh"

namespace slim::cuda {

const DecodeEntry* find_decode_8(const DecodeLaunch& launch) { return find_decode<8>(launch); }

}  // namespace slim::cuda
