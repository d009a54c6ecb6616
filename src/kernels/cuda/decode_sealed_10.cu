// The one-read kernel over keys of 10 bits.
#include "kernels/cuda/decode_kernel.cuh"

namespace slim::cuda {

const DecodeEntry* find_decode_10(const DecodeLaunch& launch) { return find_decode<10>(launch); }

}  // namespace slim::cuda
