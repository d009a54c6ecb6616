// The one-read kernel over keys of 16 bits.
#include "kernels/cuda/decode_kernel.cuh"

namespace slim::cuda {

const DecodeEntry* find_decode_16(int head_width, int head_tiles) {
  return find_decode<16>(head_width, head_tiles);
}

}  // namespace slim::cuda
