// Queries turned to their positions. The keys' magnitude is in them too (key_rows.cuh).
#pragma once

#include "kernels/cuda/cuda_rotation.h"
#include "kernels/kernels.h"

namespace slim {

// Cosine and sine of a pair's angle at a position.
__device__ inline float2 query_angle(const CudaRotation& rotation, int64_t position, int pair) {
  const float* page = rotation.pages + position / kPageRows * 2 * rotation.pairs;
  const float* row = rotation.rows + position % kPageRows * 2 * rotation.pairs;
  const float page_cos = page[pair];
  const float page_sin = page[pair + rotation.pairs];
  const float row_cos = row[pair];
  const float row_sin = row[pair + rotation.pairs];
  return {page_cos * row_cos - page_sin * row_sin, page_sin * row_cos + page_cos * row_sin};
}

// Column `column` of a head's query that lies at `query`.
__device__ inline float turned_element(const CudaRotation& rotation, int64_t position,
                                       const float* query, int column) {
  const int pairs = rotation.pairs;
  if (column >= 2 * pairs) return query[column];
  const bool left = rotation.interleaved ? column % 2 == 0 : column < pairs;
  const int step = rotation.interleaved ? 1 : pairs;
  const int pair = rotation.interleaved ? column / 2 : column % pairs;
  const float2 turn = query_angle(rotation, position, pair);
  const float turned = left ? query[column] * turn.x - query[column + step] * turn.y
                            : query[column - step] * turn.y + query[column] * turn.x;
  return rotation.magnitude * rotation.magnitude * turned;
}

}  // namespace slim
