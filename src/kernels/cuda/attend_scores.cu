// The first step of attention over pages (attend_parts.cuh): scores, with all that they depend on.
// Two bodies. Where queries are few, four threads have a row each: they decode its octets in turn
// and multiply them from registers, so that rows are read as fast as memory gives them. Where they
// are many, a block decodes 32 columns of a page into shared memory and multiplies 64 queries by 64
// rows, 16 products a thread.
#include "kernels/cuda/attend_parts.cuh"
#include "kernels/cuda/key_rows.cuh"

namespace slim {
namespace {

constexpr unsigned kAll = 0xFFFFFFFFU;
constexpr int kRows = static_cast<int>(kPageRows);
constexpr int kFewColumns = 512;  // of queries that are in shared memory at a time
constexpr int kManyColumns = 32;
constexpr int kPadded = kRows + 4;  // rows of tiles: vectors of four stay aligned

// The score of a query and a row, from their product.
struct Scoring {
  const AttendView& view;
  const AttendTile& tile;

  __device__ float score(float product, int query, int page, int row) const {
    const int64_t at = static_cast<int64_t>(page) * kPageRows + row;
    const int token = tile.token_of(query);
    const longlong2 seen = view.visible(tile.slice, token);
    if (at < seen.x || at >= seen.y) return -CUDART_INF_F;
    // Not fused with what follows, so that all bodies give the same bits.
    float score = __fmul_rn(view.scale, product);
    if (view.factors >= 0) {
      score *= load_at<float>(tile.page(view, page) + view.factors + 4 * row);
    }
    if (view.cap != 0.0F) score = view.cap * tanhf(score / view.cap);
    if (view.slopes != nullptr) {
      const int64_t distance = tile.slice.base + at - tile.slice.position - token;
      score = fmaf(view.slopes[tile.head_of(query)], static_cast<float>(distance), score);
    }
    return score;
  }
};

__device__ const float* query_row(const AttendView& view, const AttendTile& tile, int query) {
  const int64_t token = tile.slice.first + tile.token_of(query);
  return view.queries + token * view.query_stride +
         static_cast<int64_t>(tile.head_of(query)) * view.key_width;
}

// Columns [begin, begin + kFewColumns) of a tile's queries; zeros beyond their width.
template <int kQueries>
__device__ void load_few_queries(const AttendView& view, const AttendTile& tile, int begin,
                                 float (*queries)[kFewColumns]) {
  const int width = min(kFewColumns, (view.key_width - begin + 7) / 8 * 8);
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (q >= tile.count) break;
    const float* from = query_row(view, tile, q) + begin;
    for (int c = static_cast<int>(threadIdx.x); c < width; c += kAttendThreads) {
      queries[q][c] = begin + c < view.key_width ? from[c] : 0.0F;
    }
  }
}

template <int kQueries>
__device__ void multiply_octet(const float (&key)[8], const float (*queries)[kFewColumns],
                               int column, int count, float (&sums)[kQueries]) {
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (q >= count) break;
    const auto* from = reinterpret_cast<const float4*>(&queries[q][column]);
    const float4 low = from[0];
    const float4 high = from[1];
    float sum = sums[q];
    sum = fmaf(key[0], low.x, sum);
    sum = fmaf(key[1], low.y, sum);
    sum = fmaf(key[2], low.z, sum);
    sum = fmaf(key[3], low.w, sum);
    sum = fmaf(key[4], high.x, sum);
    sum = fmaf(key[5], high.y, sum);
    sum = fmaf(key[6], high.z, sum);
    sums[q] = fmaf(key[7], high.w, sum);
  }
}

template <RowCode kCode, int kQueries>
__global__ void __launch_bounds__(kAttendThreads)
    score_few(AttendView view, const AttendItem* items, HeadTiles tiles) {
  __shared__ __align__(16) float queries[kQueries][kFewColumns];
  const AttendTile tile(view, items[blockIdx.x], tiles, static_cast<int>(blockIdx.y));
  const KeyColumns keys(view, tile);
  const Scoring scoring{view, tile};
  const int row = static_cast<int>(threadIdx.x) / 4;
  const int lane = static_cast<int>(threadIdx.x) % 4;
  for (int page = tile.page_begin; page < tile.page_end; ++page) {
    const bool some = static_cast<int64_t>(page) * kPageRows + row < tile.slice.rows;
    const KeyRow key_row = keys.row(view, tile, page, row);
    float sums[kQueries] = {};
    for (int begin = 0; begin < view.key_width; begin += kFewColumns) {
      if (page == tile.page_begin || view.key_width > kFewColumns) {
        __syncthreads();
        load_few_queries<kQueries>(view, tile, begin, queries);
        __syncthreads();
      }
      const int end = some ? min(view.key_width, begin + kFewColumns) : 0;
      for (int column = begin + 8 * lane; column < end; column += 32) {
        float key[8];
        keys.octet<kCode>(view, key_row, column, key);
        multiply_octet<kQueries>(key, queries, column - begin, tile.count, sums);
      }
    }
#pragma unroll
    for (int q = 0; q < kQueries; ++q) {
      if (q >= tile.count) break;
      sums[q] += __shfl_xor_sync(kAll, sums[q], 1);
      sums[q] += __shfl_xor_sync(kAll, sums[q], 2);
      if (q % 4 == lane) {
        tile.scores(view, q, page)[row] = scoring.score(sums[q], q, page, row);
      }
    }
  }
}

// A thread's octet of 64 rows by 32 columns: neighbours have both octets of a 32-byte sector of
// 16-bit numbers.
struct OctetPlace {
  int row, octet;

  __device__ static OctetPlace of_thread() {
    const int thread = static_cast<int>(threadIdx.x);
    return {thread / 2 % kRows, thread % 2 + thread / (2 * kRows) * 2};
  }
};

using Tile = float[kManyColumns][kPadded];  // column by column

__device__ void put_octet(Tile& tile, const OctetPlace& place, const float (&values)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) tile[8 * place.octet + i][place.row] = values[i];
}

__device__ void query_octet(const AttendView& view, const float* query, int column,
                            float (&values)[8]) {
  if (view.wide_queries) {
    const auto* from = reinterpret_cast<const float4*>(query + column);
    const float4 low = from[0];
    const float4 high = from[1];
    values[0] = low.x;
    values[1] = low.y;
    values[2] = low.z;
    values[3] = low.w;
    values[4] = high.x;
    values[5] = high.y;
    values[6] = high.z;
    values[7] = high.w;
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = column + i < view.key_width ? query[column + i] : 0.0F;
}

// Sixteen sums a thread: queries 4 * y + a by rows 4 * x + b.
__device__ void multiply_tiles(const Tile& queries, const Tile& keys, float (&sums)[4][4]) {
  const int x = 4 * (static_cast<int>(threadIdx.x) % 16);
  const int y = 4 * (static_cast<int>(threadIdx.x) / 16);
#pragma unroll 8
  for (int c = 0; c < kManyColumns; ++c) {
    const float4 q = *reinterpret_cast<const float4*>(&queries[c][y]);
    const float4 k = *reinterpret_cast<const float4*>(&keys[c][x]);
    const float left[4] = {q.x, q.y, q.z, q.w};
    const float right[4] = {k.x, k.y, k.z, k.w};
#pragma unroll
    for (int a = 0; a < 4; ++a) {
#pragma unroll
      for (int b = 0; b < 4; ++b) sums[a][b] = fmaf(left[a], right[b], sums[a][b]);
    }
  }
}

__device__ void put_scores(const Scoring& scoring, int page, const float (&sums)[4][4]) {
  const int x = 4 * (static_cast<int>(threadIdx.x) % 16);
  const int y = 4 * (static_cast<int>(threadIdx.x) / 16);
#pragma unroll
  for (int a = 0; a < 4; ++a) {
    const int query = y + a;
    if (query >= scoring.tile.count) continue;
    float4 scores;
    scores.x = scoring.score(sums[a][0], query, page, x);
    scores.y = scoring.score(sums[a][1], query, page, x + 1);
    scores.z = scoring.score(sums[a][2], query, page, x + 2);
    scores.w = scoring.score(sums[a][3], query, page, x + 3);
    *reinterpret_cast<float4*>(scoring.tile.scores(scoring.view, query, page) + x) = scores;
  }
}

template <RowCode kCode>
__global__ void __launch_bounds__(kAttendThreads)
    score_many(AttendView view, const AttendItem* items, HeadTiles tiles) {
  __shared__ __align__(16) Tile queries;
  __shared__ __align__(16) Tile key_tile;
  const AttendTile tile(view, items[blockIdx.x], tiles, static_cast<int>(blockIdx.y));
  const KeyColumns keys(view, tile);
  const OctetPlace place = OctetPlace::of_thread();
  const bool asked = place.row < tile.count;
  const float* query = asked ? query_row(view, tile, place.row) : nullptr;
  for (int page = tile.page_begin; page < tile.page_end; ++page) {
    const bool some = static_cast<int64_t>(page) * kPageRows + place.row < tile.slice.rows;
    const KeyRow key_row = keys.row(view, tile, page, place.row);
    float sums[4][4] = {};
    for (int begin = 0; begin < view.key_width; begin += kManyColumns) {
      const int column = begin + 8 * place.octet;
      float key[8] = {};
      float values[8] = {};
      if (some && column < view.key_width) keys.octet<kCode>(view, key_row, column, key);
      if (asked && column < view.key_width) query_octet(view, query, column, values);
      __syncthreads();  // the last columns are done with
      put_octet(key_tile, place, key);
      put_octet(queries, place, values);
      __syncthreads();
      multiply_tiles(queries, key_tile, sums);
    }
    put_scores({view, tile}, page, sums);
  }
}

dim3 grid_of(const AttendView& view, const AttendList& list) {
  return {static_cast<unsigned>(list.count),
          static_cast<unsigned>(view.heads / list.tiles.group * list.tiles.per_group())};
}

}  // namespace

void launch_few_scores(const AttendView& view, const RowFormat& format, const AttendList& list,
                       int few, cudaStream_t stream) {
  if (list.count == 0) return;
  const dim3 grid = grid_of(view, list);
  visit_row_code(format, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    if (few <= 1) {
      score_few<kCode, 1><<<grid, kAttendThreads, 0, stream>>>(view, list.items, list.tiles);
    } else if (few <= 4) {
      score_few<kCode, 4><<<grid, kAttendThreads, 0, stream>>>(view, list.items, list.tiles);
    } else {
      score_few<kCode, 8><<<grid, kAttendThreads, 0, stream>>>(view, list.items, list.tiles);
    }
  });
  check_cuda(cudaGetLastError(), "score rows");
}

void launch_many_scores(const AttendView& view, const RowFormat& format, const AttendList& list,
                        cudaStream_t stream) {
  if (list.count == 0) return;
  visit_row_code(format, [&](auto tag) {
    score_many<decltype(tag)::value>
        <<<grid_of(view, list), kAttendThreads, 0, stream>>>(view, list.items, list.tiles);
  });
  check_cuda(cudaGetLastError(), "score rows");
}

}  // namespace slim
