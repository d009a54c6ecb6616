// The scoring warps of the one-read kernel (decode_sealed.cuh).
#pragma once

#include "kernels/cuda/decode_sealed.cuh"

namespace slim::cuda {

// What convert() adds to a number, so that it needs no sum for each: w's offsets take it off
// again. Of 16 bits that is the sign; below, numbers stand in the mantissa of 2^15, whose last bit
// is 2^-8, and what the offsets round is 2^-9 of the number's last bit.
template <class Shape>
constexpr float kNumberBias = (Shape::kBits == 16 ? 0.0F : 32768.0F) +
                              static_cast<float>(1 << (Shape::kBits - 1));

// kCount neighbouring numbers of one token, a multiple of 4, as they lie.
template <class Shape, int kCount>
struct RawNumbers {
  static constexpr int kParts = Shape::kLow == 0 ? 1 : 8 / Shape::kLow;
  static constexpr int kFineChunk = 16 * kParts;  // columns
  uint32_t high[kCount * Shape::kHigh / 32];
  uint32_t low[Shape::kLow == 0 ? 1 : kCount / 4];

  // Column `column` of the head that begins at `from`, a multiple of 16 and known when the kernel
  // is compiled, is the first, a multiple of kCount.
  __device__ __forceinline__ void read(const Stage<Shape>& stage, int token, int from,
                                       uint32_t column) {
    constexpr int kChunk = 128 / Shape::kHigh;  // columns
    read_words(stage.high() + from / kChunk * 1024 + token * 16 + column / kChunk * 1024 +
                   column % kChunk * Shape::kHigh / 8,
               high);
    if constexpr (Shape::kLow > 0) {
      read_words(stage.low() + from / kFineChunk * 1024 + token * 16 +
                     (from % kFineChunk + column) / kFineChunk * 1024 + column % 16,
                 low);
    }
  }

  __device__ __forceinline__ void convert(int from, uint32_t column,
                                          float (&numbers)[kCount]) const {
    if constexpr (Shape::kBits == 16) {
#pragma unroll
      for (int i = 0; i < kCount / 2; ++i) {
        numbers[2 * i] = static_cast<float>(high[i] & 0xFFFFU);
        numbers[2 * i + 1] = static_cast<float>(high[i] >> 16);
      }
      return;
    }
    constexpr uint32_t kUnder = 0x47000000U;
    if constexpr (Shape::kLow == 0) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        numbers[i] = __uint_as_float(__byte_perm(high[i / 4], kUnder, 0x7404 + i % 4 * 16));
      }
      return;
    }
    // The eight pairs of each 16 columns lie 2 bytes apart, each in its bits of the 16.
    const uint32_t shift = (from % kFineChunk + column) % kFineChunk / 16 * 2 * Shape::kLow;
    constexpr uint32_t kMask = ((1U << Shape::kLow) - 1U) * 0x00010001U;
#pragma unroll
    for (int i = 0; i < kCount / 4; ++i) {
      // Even columns of two pairs in one word, odd ones in another.
      const uint32_t fine = low[i] >> shift;
      const uint32_t even = (__byte_perm(high[i], 0, 0x4240) << Shape::kLow) | (fine & kMask);
      const uint32_t odd =
          (__byte_perm(high[i], 0, 0x4341) << Shape::kLow) | (fine >> Shape::kLow & kMask);
      numbers[4 * i] = __uint_as_float(__byte_perm(even, kUnder, 0x7104));
      numbers[4 * i + 1] = __uint_as_float(__byte_perm(odd, kUnder, 0x7104));
      numbers[4 * i + 2] = __uint_as_float(__byte_perm(even, kUnder, 0x7324));
      numbers[4 * i + 3] = __uint_as_float(__byte_perm(odd, kUnder, 0x7324));
    }
  }

 private:
  template <int kWords>
  __device__ __forceinline__ static void read_words(const std::byte* at,
                                                    uint32_t (&words)[kWords]) {
    if constexpr (kWords == 4) {
      *reinterpret_cast<uint4*>(words) = *reinterpret_cast<const uint4*>(at);
    } else if constexpr (kWords == 2) {
      *reinterpret_cast<uint2*>(words) = *reinterpret_cast<const uint2*>(at);
    } else {
      words[0] = *reinterpret_cast<const uint32_t*>(at);
    }
  }
};

// Pairs in a row of a rotation's tables.
template <class Shape>
__device__ __forceinline__ int table_pairs(const CudaRotation& rotation) {
  return Shape::kPartial ? rotation.pairs : Shape::kPairs;
}
template <class Shape>
__device__ __forceinline__ bool is_turned(const CudaRotation& rotation, int pair) {
  return Shape::kPartial ? pair < rotation.pairs : rotation.pairs > 0;
}

// Which columns of a head are its pair `pair`. A rotation turns its columns in halves, (pair, pair
// + pairs of the rotation); what it leaves is paired in halves as well.
template <class Shape>
struct PairColumns {
  int first, second;

  __device__ __forceinline__ PairColumns(const CudaRotation& rotation, int pair) {
    first = pair;
    second = pair + Shape::kPairs;
    if constexpr (Shape::kPartial) {
      if (pair < rotation.pairs) {
        second = pair + rotation.pairs;
      } else {
        first += rotation.pairs;
      }
    }
  }
};

// What one lane prepares of each page for its warp: one pair of columns of one head.
template <class Shape>
struct PairOfPage {
  int head, pair;       // of the block
  float2 turned{0, 0};  // the query's, at its position, scaled to log2
  float2 turn;

  __device__ __forceinline__ PairOfPage(int warp, int lane)
      : head(lane / Shape::kWarpPairs), pair(warp * Shape::kWarpPairs + lane % Shape::kWarpPairs) {}

  __device__ __forceinline__ void turn_query(const DecodeArguments& a, const DecodeSegment& segment,
                                             int rank) {
    const float* query = a.queries + segment.token * a.query_stride +
                         (rank * Shape::kHeads + head) * Shape::kHeadWidth;
    const CudaRotation& rotation = a.rotations[segment.regime];
    const int pairs = table_pairs<Shape>(rotation);
    float factor = a.scale * 1.44269504088896341F;
    const PairColumns<Shape> columns(rotation, pair);
    turned = {query[columns.first], query[columns.second]};
    if (is_turned<Shape>(rotation, pair)) {
      const float* page = rotation.pages + segment.position / kRows * 2 * pairs + pair;
      const float* row = rotation.rows + segment.position % kRows * 2 * pairs + pair;
      const float c = page[0] * row[0] - page[pairs] * row[pairs];
      const float s = page[pairs] * row[0] + page[0] * row[pairs];
      turned = {turned.x * c - turned.y * s, turned.x * s + turned.y * c};
      factor *= rotation.magnitude * rotation.magnitude;
    }
    turned.x *= factor;
    turned.y *= factor;
  }

  // cos and sin of a page's start: asked for long before write() needs it.
  __device__ __forceinline__ void fetch(const DecodeArguments& a, int regime, int page) {
    const CudaRotation& rotation = a.rotations[regime];
    turn = {1.0F, 0.0F};
    if (!is_turned<Shape>(rotation, pair)) return;
    const int pairs = table_pairs<Shape>(rotation);
    const float* from = rotation.pages + page * 2 * pairs + pair;
    turn = {from[0], from[pairs]};
  }

  __device__ __forceinline__ void write(const DecodeBlock<Shape>& block) const {
    const DecodeArguments& a = block.arguments;
    DecodeShared<Shape>& shared = block.shared;
    const PairColumns<Shape> columns(a.rotations[0], pair);
    const __nv_bfloat16* all = block.stage().scales() + head * Shape::kHeadWidth;
    float2 scales = {__bfloat162float(all[columns.first]), __bfloat162float(all[columns.second])};
    // Turned back to the page's start.
    const float x = turned.x * turn.x + turned.y * turn.y;
    const float y = turned.y * turn.x - turned.x * turn.y;
    const int at = head * Shape::kPairs + pair;
    float2 middles = {-kNumberBias<Shape> * scales.x, -kNumberBias<Shape> * scales.y};
    if constexpr (Shape::kCentred) {
      all += Shape::kColumns;
      middles.x += __bfloat162float(all[columns.first]);
      middles.y += __bfloat162float(all[columns.second]);
    }
    const int of_all = (block.rank * Shape::kHeads + head) * Shape::kHeadWidth;
    if (a.key_gain != nullptr) {
      const float2 gain = {a.key_gain[of_all + columns.first], a.key_gain[of_all + columns.second]};
      scales = {scales.x * gain.x, scales.y * gain.y};
      middles = {middles.x * gain.x, middles.y * gain.y};
    }
    if (a.key_bias != nullptr) {
      middles.x += a.key_bias[of_all + columns.first];
      middles.y += a.key_bias[of_all + columns.second];
    }
    shared.products[at] = {x * scales.x, y * scales.y, y * scales.x, -x * scales.y};
    shared.offsets[at] = {x * middles.x + y * middles.y, y * middles.x - x * middles.y};
  }
};

// What a lane scores of every head: its warp's pairs of two tokens, or half of them of four, which
// reads less: w is most of what is read, once for all tokens of a lane. Two tokens where a warp has
// four pairs, and of 16 bits, whose numbers take more registers (measured: 450 us, not 472); four
// where it has sixteen, since a lane reads up to eight neighbours.
template <class Shape>
struct LaneShare {
  static constexpr int kTokens =
      Shape::kWarpPairs == 4 || (Shape::kBits == 16 && Shape::kWarpPairs == 8) ? 2 : 4;
  static constexpr int kTokenLanes = kRows / kTokens;
  static constexpr int kNeighbours = 32 / kTokenLanes;  // lanes that share tokens
  static constexpr int kPairs = Shape::kWarpPairs / kNeighbours;
  int token;       // the first; the others follow kTokenLanes apart
  int first_pair;  // of a head

  // Lanes that share tokens are neighbours, so that a half warp reads 128 bytes without gaps.
  __device__ __forceinline__ LaneShare(int warp, int lane)
      : token(lane / kNeighbours),
        first_pair(warp * Shape::kWarpPairs + lane % kNeighbours * kPairs) {}
};

// cos and sin of those tokens' rows.
template <class Shape>
struct RowTurns {
  static constexpr int kTokens = LaneShare<Shape>::kTokens;
  static constexpr int kPairs = LaneShare<Shape>::kPairs;
  float2 turn[kTokens][kPairs];

  __device__ __forceinline__ void fetch(const CudaRotation& rotation,
                                        const LaneShare<Shape>& share) {
    const int pairs = table_pairs<Shape>(rotation);
    const bool turned = is_turned<Shape>(rotation, share.first_pair);
#pragma unroll
    for (int i = 0; i < kTokens * kPairs; ++i) {
      const int row = share.token + i / kPairs * LaneShare<Shape>::kTokenLanes;
      const float* from = rotation.rows + row * 2 * pairs + share.first_pair + i % kPairs;
      turn[i / kPairs][i % kPairs] = turned ? float2{from[0], from[pairs]} : float2{1.0F, 0.0F};
    }
  }
};

// What a lane reads of one head: both columns of its pairs.
template <class Shape>
struct HeadNumbers {
  static constexpr int kTokens = LaneShare<Shape>::kTokens;
  static constexpr int kPairs = LaneShare<Shape>::kPairs;
  using Numbers = float[kTokens][kPairs];
  RawNumbers<Shape, kPairs> raw[2][kTokens];

  __device__ __forceinline__ void read(const Stage<Shape>& stage, int token,
                                       const PairColumns<Shape>& at, int head) {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      const int row = token + i * LaneShare<Shape>::kTokenLanes;
      raw[0][i].read(stage, row, head * Shape::kHeadWidth, at.first);
      raw[1][i].read(stage, row, head * Shape::kHeadWidth, at.second);
    }
  }

  __device__ __forceinline__ void convert(const PairColumns<Shape>& at, int head, Numbers& a,
                                          Numbers& b) const {
#pragma unroll
    for (int i = 0; i < kTokens; ++i) {
      raw[0][i].convert(head * Shape::kHeadWidth, at.first, a[i]);
      raw[1][i].convert(head * Shape::kHeadWidth, at.second, b[i]);
    }
  }
};

// This warp's share of all tokens' scores, for every head of the block. The next head's numbers are
// asked for before those of one are used.
template <class Shape>
__device__ __forceinline__ void score_parts(const DecodeBlock<Shape>& block,
                                            const RowTurns<Shape>& rows,
                                            const LaneShare<Shape>& share, int warp) {
  constexpr int kTokens = LaneShare<Shape>::kTokens;
  const Stage<Shape> stage = block.stage();
  const PairColumns<Shape> columns(block.arguments.rotations[0], share.first_pair);
  HeadNumbers<Shape> next;
  next.read(stage, share.token, columns, 0);
#pragma unroll
  for (int head = 0; head < Shape::kHeads; ++head) {
    const HeadNumbers<Shape> now = next;
    if (head + 1 < Shape::kHeads) next.read(stage, share.token, columns, head + 1);
    typename HeadNumbers<Shape>::Numbers a;
    typename HeadNumbers<Shape>::Numbers b;
    now.convert(columns, head, a, b);
    float sums[kTokens] = {};
#pragma unroll
    for (int i = 0; i < LaneShare<Shape>::kPairs; ++i) {
      const int at = head * Shape::kPairs + share.first_pair + i;
      const float4 w = block.shared.products[at];
      const float2 offset = block.shared.offsets[at];
#pragma unroll
      for (int token = 0; token < kTokens; ++token) {
        const float real = fmaf(a[token][i], w.x, fmaf(b[token][i], w.y, offset.x));
        const float imaginary = fmaf(a[token][i], w.z, fmaf(b[token][i], w.w, offset.y));
        sums[token] = fmaf(real, rows.turn[token][i].x, sums[token]);
        sums[token] = fmaf(imaginary, rows.turn[token][i].y, sums[token]);
      }
    }
    // The softmax warps have long read the last page's parts.
    if (head == 0 && block.tile > 0) {
      wait_barrier(&block.shared.parts_free, (block.tile - 1) & 1);
    }
    float* const parts = block.shared.parts[warp][head] + share.token;
    if constexpr (kTokens == 2) {
      parts[0] = sums[0];
      parts[32] = sums[1];
    } else {
      // Two lanes have half of the pairs each of the same tokens: each adds up two tokens.
      const bool second = block.lane % 2 == 1;
#pragma unroll
      for (int i = 0; i < kTokens; i += 2) {
        const float other = __shfl_xor_sync(~0U, second ? sums[i] : sums[i + 1], 1);
        parts[16 * i + (second ? 16 : 0)] = (second ? sums[i + 1] : sums[i]) + other;
      }
    }
  }
}

template <class Shape>
__device__ __forceinline__ void score_pages(DecodeBlock<Shape> block, PageWalk walk) {
  const int warp = threadIdx.x / 32;
  const int lane = block.lane;
  const DecodeArguments& a = block.arguments;
  PairOfPage<Shape> mine(warp, lane);
  const LaneShare<Shape> share(warp, lane);
  RowTurns<Shape> rows;
  bool begins = true;
  for (; !walk.done(); block.advance()) {
    if (begins) {
      rows.fetch(a.rotations[walk.regime()], share);
      mine.turn_query(a, walk.now, block.rank);
      mine.fetch(a, walk.regime(), walk.turn());
    }
    block.wait_full();
    mine.write(block);
    __syncwarp();
    begins = walk.last();
    walk.advance();
    if (!begins) mine.fetch(a, walk.regime(), walk.turn());
    score_parts(block, rows, share, warp);
    __syncwarp();
    arrive(&block.shared.parts_full);
  }
}

}  // namespace slim::cuda
