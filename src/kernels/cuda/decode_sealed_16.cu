// The one-read kernel over keys of 16 bits.
#include "kernels/cuda/decode_kernel.cuh"

namespace slim::cuda {

const DecodeEntry* find_decode_16(const DecodeLaunch& launch) { return find_decode<16>(launch); }

}  // namespace slim::cuda
