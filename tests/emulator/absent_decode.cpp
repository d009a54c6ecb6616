// In place of the one-read kernels (decode_sealed.cu, decode_rows.cu), which are written in
// instructions of one card: there are none, so that attend_shared() takes the kernels for every
// card.
#include "base/check.h"
#include "kernels/cuda/decode_rows.h"
#include "kernels/cuda/decode_sealed.h"
#include "kernels/cuda/prompt_rows.cuh"

namespace slim::emulated::cuda {

bool has_decode(const DecodeLaunch&) { return false; }

int resident_clusters(const DecodeLaunch&, int) { return 0; }

void decode_sealed(CudaDevice&, const DecodeLaunch&, const DecodeArguments&) {
  check(false, "the one-read kernel is not emulated");
}

bool has_rows(DType, int64_t, int64_t) { return false; }

int64_t resident_row_clusters(const RowLaunch&) { return 0; }

RowPlaces::RowPlaces(std::span<const std::byte* const>) {}

bool RowPlaces::fit() const { return false; }

void decode_rows(CudaDevice&, const RowLaunch&, const RowPlaces&, int64_t, const RowArguments&) {
  check(false, "the one-read kernel over rows is not emulated");
}

}  // namespace slim::emulated::cuda

namespace slim::emulated {

bool has_prompt_groups(const CudaDevice&) { return false; }

void attend_prompt_groups(CudaDevice&, const PromptView&, const PromptItem*, int64_t) {
  check(false, "products of warpgroups are not emulated");
}

}  // namespace slim::emulated
