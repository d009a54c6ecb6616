// The one-read kernel over keys of 8 bits.
#include "kernels/cuda/decode_kernel.cuh"

namespace slim::cuda {

const DecodeEntry* find_decode_8(int head_width, int head_tiles) {
  return find_decode<8>(head_width, head_tiles);
}

}  // namespace slim::cuda
