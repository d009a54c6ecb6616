// The one-read kernel over sealed keys: its arguments, and its entries by format. Every cluster of
// blocks walks a run of pages; a sequence may be cut into several segments, each of which leaves an
// unnormalised sum for merge_segments() to add up.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/cuda_rotation.h"

namespace slim {
class CudaDevice;
}

namespace slim::cuda {

constexpr int kMostSpill = 32;  // columns beside the keys
constexpr int kMostStages = 8;  // pages that a block holds
constexpr int kScoreWarps = 8;
constexpr int kMixWarps = 8;
constexpr int kSoftmaxWarps = 4;
constexpr int kSpillWarps = 3;
constexpr int kLoadWarps = 1;
constexpr int kColumnWarps = kMixWarps + kSpillWarps;  // that read probabilities
constexpr int kDecodeThreads =
    (kScoreWarps + kMixWarps + kSoftmaxWarps + kSpillWarps + kLoadWarps) * 32;
// A probability is sent as 2^12 at the maximum that it is taken from, and that is renewed when a
// score exceeds it by more than 3: f16 holds 2^15, and sums are rarely rescaled.
constexpr float kLift = 12.0F;
constexpr float kLag = 3.0F;
constexpr float kLogTwo = 0.69314718055994531F;

// Neighbouring pages of one sequence, for one query.
struct DecodeSegment {
  const std::byte* const* pages = nullptr;  // on the card; the first of the segment
  int32_t page_count = 0;
  int32_t turn = 0;      // position of its first row / kPageRows
  int32_t token = 0;     // row of the queries
  int32_t position = 0;  // of the query
  int32_t regime = 0;
  int32_t slot = 0;  // of the results: segments of one token are neighbours
};

struct DecodeArguments {
  const float* queries = nullptr;  // [T, H*C], not turned
  int64_t query_stride = 0;
  const DecodeSegment* segments = nullptr;
  const int32_t* cluster_segments = nullptr;  // [clusters + 1]: where each cluster's begin
  float* sums = nullptr;                      // [slots, H, e + spill]
  float2* states = nullptr;                   // [slots, H]: maximum (of log2) and sum
  int64_t plane = 0;                          // bytes from the start of a page
  int64_t factors = -1;                       // the same of the plane of factors, or none
  int32_t width = 0;                          // e + spill
  int32_t spill = 0;
  CudaRotation rotations[2];  // by regime; no pairs: keys are not turned
  float scale = 1.0F;
  const float* key_gain = nullptr;  // [e] or none
  const float* key_bias = nullptr;  // [e] or none
  const float* slopes = nullptr;
  float cap = 0.0F;
  int32_t window = 0;
};

struct DecodeLaunch {
  int bits = 0;  // 16, 12, 10, 8
  int head_width = 0;
  int heads = 0;
  bool partial = false;  // rotations turn a part of a head's columns
  int clusters = 0;
};

// Heads of a block: up to 512 columns.
constexpr int block_heads(int head_width) {
  return head_width == 64 ? 8 : head_width == 256 ? 2 : 4;
}
// Blocks in a cluster.
constexpr int cluster_of(int head_width, int heads) { return heads / block_heads(head_width); }
// Whether heads of this width can be turned by so many pairs: what lanes read together, up to eight
// pairs, is turned or not as one.
constexpr bool turns_in_eights(int head_width, int64_t pairs) {
  return pairs % 8 == 0 && 2 * pairs <= head_width && (head_width / 2 - pairs) % 8 == 0;
}
bool has_decode(const DecodeLaunch& launch);
// How many clusters of this shape the card runs at once (CudaDevice: the current one).
int resident_clusters(const DecodeLaunch& launch, int spill);
void decode_sealed(CudaDevice& device, const DecodeLaunch& launch,
                   const DecodeArguments& arguments);

// A shape's kernel and what it needs of shared memory.
struct DecodeEntry {
  int head_width = 0;
  int heads = 0;
  bool partial = false;
  const void* kernel = nullptr;
  int (*stage_bytes)(int spill) = nullptr;
  int fixed_bytes = 0;
};
// By bits: decode_sealed_16.cu and its like. Null if there is no such shape.
const DecodeEntry* find_decode_16(const DecodeLaunch& launch);
const DecodeEntry* find_decode_12(const DecodeLaunch& launch);
const DecodeEntry* find_decode_10(const DecodeLaunch& launch);
const DecodeEntry* find_decode_8(const DecodeLaunch& launch);

}  // namespace slim::cuda
