// In place of the one-read kernel (decode_sealed.cu), which is written in instructions of one card:
// there is none, so that attend_shared() takes the kernels for every card.
#include "base/check.h"
#include "kernels/cuda/decode_sealed.h"

namespace slim::emulated::cuda {

bool has_decode(int, int, int) { return false; }

int resident_clusters(const DecodeLaunch&, int) { return 0; }

void decode_sealed(CudaDevice&, const DecodeLaunch&, const DecodeArguments&) {
  check(false, "the one-read kernel is not emulated");
}

}  // namespace slim::emulated::cuda
