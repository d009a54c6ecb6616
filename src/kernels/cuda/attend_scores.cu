// The first step of attention over pages (attend_parts.cuh): scores, with all that they depend on.
// Two bodies. Where queries are few, four threads have a row each: they decode its octets in turn
// and multiply them from registers, so that rows are read as fast as memory gives them. Where they
// are many, a block decodes 32 columns of a page into shared memory and multiplies 64 queries by 64
// rows, 16 products a thread.
#include "kernels/cuda/attend_parts.cuh"
#include "kernels/cuda/distance_bias.cuh"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/key_rows.cuh"
#include "kernels/cuda/turned_queries.cuh"

namespace slim {
namespace {

constexpr unsigned kAll = 0xFFFFFFFFU;
constexpr int kRows = static_cast<int>(kPageRows);
constexpr int kFewColumns = 512;  // of queries that are in shared memory at a time
constexpr int kManyColumns = 32;
constexpr int kPadded = kRows + 4;  // rows of tiles: vectors of four stay aligned

// What turns products of one query into scores.
struct QueryScoring {
  int begin, end;  // the rows that it sees
  int distance;    // from its position to that of row 0
  float slope;
  const float* bias;  // of distance 0, or null
  float* scores;      // by rows of page 0

  __device__ QueryScoring(const AttendView& view, const AttendTile& tile, int query)
      : begin(0), end(0), distance(0), slope(0.0F), bias(nullptr), scores(nullptr) {
    if (query >= tile.count) return;
    const int token = tile.token_of(query);
    const longlong2 seen = view.visible(tile.slice, token);
    begin = static_cast<int>(seen.x);
    end = static_cast<int>(seen.y);
    distance = static_cast<int>(tile.slice.base - tile.slice.position - token);
    if (view.slopes != nullptr) slope = view.slopes[tile.head_of(query)];
    if (view.bias.values != nullptr) bias = biases_of(view.bias, tile.head_of(query));
    scores = tile.scores(view, query, 0);
  }

  // `row` of the slice. Fused by hand, so that all bodies give the same bits.
  __device__ float score(const AttendView& view, float product, float factor, int row) const {
    if (row < begin || row >= end) return -CUDART_INF_F;
    float score = __fmul_rn(__fmul_rn(view.scale, product), factor);
    if (view.cap != 0.0F) score = __fmul_rn(view.cap, tanhf(score / view.cap));
    if (view.slopes != nullptr) score = fmaf(slope, static_cast<float>(distance + row), score);
    return bias == nullptr ? score : score + bias_at(view.bias, bias, distance + row);
  }
};

__device__ float key_factor(const AttendView& view, const AttendTile& tile, int page, int row) {
  if (view.factors < 0) return 1.0F;
  return load_at<float>(tile.page(view, page) + view.factors + 4 * row);
}

__device__ const float* query_row(const AttendView& view, const AttendTile& tile, int query) {
  const int64_t token = tile.slice.first + tile.token_of(query);
  return view.queries + token * view.query_stride +
         static_cast<int64_t>(tile.head_of(query)) * view.key_width;
}

// Columns [begin, begin + kFewColumns) of a tile's queries, turned to their positions; zeros beyond
// their width.
template <int kQueries>
__device__ void load_few_queries(const AttendView& view, const AttendTile& tile,
                                 const CudaRotation& rotation, int begin,
                                 float (*queries)[kFewColumns]) {
  const int width = min(kFewColumns, (view.key_width - begin + 7) / 8 * 8);
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (q >= tile.count) break;
    const float* from = query_row(view, tile, q);
    const int64_t position = tile.slice.position + tile.token_of(q);
    for (int c = static_cast<int>(threadIdx.x); c < width; c += kAttendThreads) {
      const int column = begin + c;
      float value = 0.0F;
      if (column < view.key_width) {
        value = view.turns ? turned_element(rotation, position, from, column) : from[column];
      }
      queries[q][c] = value;
    }
  }
}

// The queries of a tile, in shared memory.
struct FewQueries {
  const float (*columns)[kFewColumns];
  int count;
};

template <int kQueries>
__device__ void multiply_octet(const float (&key)[8], const FewQueries& queries, int column,
                               float (&sums)[kQueries]) {
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (q >= queries.count) break;
    const auto* from = reinterpret_cast<const float4*>(&queries.columns[q][column]);
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

// Octets of a row that are multiplied as they are stored: several are on their way at a time.
template <RowCode kCode, int kQueries>
__device__ void multiply_stored(const PlaneView& plane, const KeyRow& row, int first, int width,
                                const FewQueries& queries, float (&sums)[kQueries]) {
  using Reader = RowReader<kCode>;
  constexpr int kAhead = 4;
  for (int begin = 8 * (static_cast<int>(threadIdx.x) % 4); begin < width; begin += 32 * kAhead) {
    typename Reader::Raw raw[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int column = begin + 32 * i < width ? begin + 32 * i : begin;
      raw[i] = Reader::fetch(plane, row.page, row.row, first + column);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int column = begin + 32 * i;
      if (column >= width) break;
      float key[8];
      Reader::expand(plane, raw[i], Reader::share(plane, row.page, first + column), key);
      multiply_octet<kQueries>(key, queries, column, sums);
    }
  }
}

// Columns [x, x + y) of a head's key, by the queries in shared memory.
template <RowCode kCode, int kQueries, bool kOctets>
__device__ void multiply_key(const AttendView& view, const KeyColumns<kCode, kOctets>& keys,
                             const KeyRow& row, int2 columns, const FewQueries& queries,
                             float (&sums)[kQueries]) {
  const int lane = static_cast<int>(threadIdx.x) % 4;
  const int pairs = keys.rotation.pairs;
  if (kOctets && pairs == 0) {
    multiply_stored<kCode, kQueries>(view.keys, row, keys.first + columns.x, columns.y, queries,
                                     sums);
    return;
  }
  int begin = 0;
  if (kOctets && columns.y == view.key_width) {
    begin = 2 * pairs;
    for (int column = 8 * lane; column < pairs; column += 32) {
      float left[8];
      float right[8];
      keys.pair(view, row, column, left, right);
      multiply_octet<kQueries>(left, queries, column, sums);
      multiply_octet<kQueries>(right, queries, column + pairs, sums);
    }
  }
  for (int column = begin + 8 * lane; column < columns.y; column += 32) {
    float key[8];
    keys.octet(view, row, columns.x + column, key);
    multiply_octet<kQueries>(key, queries, column, sums);
  }
}

template <RowCode kCode, int kQueries, bool kOctets>
__global__ void __launch_bounds__(kAttendThreads)
    score_few(const __grid_constant__ AttendView view, const AttendItem* items, HeadTiles tiles) {
  wait_for_earlier();
  __shared__ __align__(16) float queries[kQueries][kFewColumns];
  const AttendTile tile(view, items[blockIdx.x], tiles, static_cast<int>(blockIdx.y));
  const KeyColumns<kCode, kOctets> keys(view, tile);
  const int row = static_cast<int>(threadIdx.x) / 4;
  const int lane = static_cast<int>(threadIdx.x) % 4;
  // Each of a row's four threads writes a quarter of its scores.
  const QueryScoring scorings[2] = {{view, tile, lane}, {view, tile, lane + 4}};
  for (int page = tile.page_begin; page < tile.page_end; ++page) {
    const int at = page * kRows + row;
    const KeyRow key_row = keys.row(view, tile, page, row);
    float sums[kQueries] = {};
    for (int begin = 0; begin < view.key_width; begin += kFewColumns) {
      if (page == tile.page_begin || view.key_width > kFewColumns) {
        __syncthreads();
        load_few_queries<kQueries>(view, tile, keys.rotation, begin, queries);
        __syncthreads();
      }
      if (at >= tile.slice.rows) continue;
      multiply_key<kCode, kQueries, kOctets>(view, keys, key_row,
                                             {begin, min(kFewColumns, view.key_width - begin)},
                                             {queries, tile.count}, sums);
    }
    const float factor = key_factor(view, tile, page, row);
#pragma unroll
    for (int q = 0; q < kQueries; ++q) {
      if (q >= tile.count) break;
      sums[q] += __shfl_xor_sync(kAll, sums[q], 1);
      sums[q] += __shfl_xor_sync(kAll, sums[q], 2);
      const QueryScoring& scoring = scorings[q / 4];
      if (q % 4 == lane) scoring.scores[at] = scoring.score(view, sums[q], factor, at);
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

// The scores of a page, by four queries and four rows a thread.
__device__ void put_scores(const AttendView& view, const AttendTile& tile, int page,
                           const QueryScoring (&scorings)[4], const float (&sums)[4][4]) {
  const int x = 4 * (static_cast<int>(threadIdx.x) % 16);
  const int at = page * kRows + x;
  float factors[4];
#pragma unroll
  for (int b = 0; b < 4; ++b) factors[b] = key_factor(view, tile, page, x + b);
#pragma unroll
  for (int a = 0; a < 4; ++a) {
    const QueryScoring& scoring = scorings[a];
    if (scoring.scores == nullptr) continue;
    float4 scores;
    scores.x = scoring.score(view, sums[a][0], factors[0], at);
    scores.y = scoring.score(view, sums[a][1], factors[1], at + 1);
    scores.z = scoring.score(view, sums[a][2], factors[2], at + 2);
    scores.w = scoring.score(view, sums[a][3], factors[3], at + 3);
    *reinterpret_cast<float4*>(scoring.scores + at) = scores;
  }
}

template <RowCode kCode, bool kOctets>
__global__ void __launch_bounds__(kAttendThreads)
    score_many(const __grid_constant__ AttendView view, const AttendItem* items, HeadTiles tiles) {
  wait_for_earlier();
  __shared__ __align__(16) Tile queries;
  __shared__ __align__(16) Tile key_tile;
  const AttendTile tile(view, items[blockIdx.x], tiles, static_cast<int>(blockIdx.y));
  const KeyColumns<kCode, kOctets> keys(view, tile);
  const OctetPlace place = OctetPlace::of_thread();
  const bool asked = place.row < tile.count;
  const float* query = asked ? query_row(view, tile, place.row) : nullptr;
  const int y = 4 * (static_cast<int>(threadIdx.x) / 16);
  const QueryScoring scorings[4] = {
      {view, tile, y}, {view, tile, y + 1}, {view, tile, y + 2}, {view, tile, y + 3}};
  for (int page = tile.page_begin; page < tile.page_end; ++page) {
    const bool some = static_cast<int64_t>(page) * kPageRows + place.row < tile.slice.rows;
    const KeyRow key_row = keys.row(view, tile, page, place.row);
    float sums[4][4] = {};
    for (int begin = 0; begin < view.key_width; begin += kManyColumns) {
      const int column = begin + 8 * place.octet;
      float key[8] = {};
      float values[8] = {};
      if (some && column < view.key_width) keys.octet(view, key_row, column, key);
      if (asked && column < view.key_width) query_octet(view, query, column, values);
      __syncthreads();  // the last columns are done with
      put_octet(key_tile, place, key);
      put_octet(queries, place, values);
      __syncthreads();
      multiply_tiles(queries, key_tile, sums);
    }
    put_scores(view, tile, page, scorings, sums);
  }
}

dim3 grid_of(const AttendView& view, const AttendList& list) {
  return {static_cast<unsigned>(list.count),
          static_cast<unsigned>(view.heads / list.tiles.group * list.tiles.per_group())};
}

}  // namespace

void launch_few_scores(const AttendView& view, const RowFormat& format, const AttendList& list,
                       int few, CudaDevice& device) {
  if (list.count == 0) return;
  const dim3 grid = grid_of(view, list);
  visit_row_code(format, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    const auto launch = [&](auto kernel) {
      device.launch("score rows", kernel, {grid, kAttendThreads}, view, list.items, list.tiles);
    };
    if (!view.key_octets) return launch(score_few<kCode, 8, false>);
    if (few <= 1) return launch(score_few<kCode, 1, true>);
    if (few <= 4) return launch(score_few<kCode, 4, true>);
    launch(score_few<kCode, 8, true>);
  });
}

void launch_many_scores(const AttendView& view, const RowFormat& format, const AttendList& list,
                        CudaDevice& device) {
  if (list.count == 0) return;
  const dim3 grid = grid_of(view, list);
  visit_row_code(format, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    const auto launch = [&](auto kernel) {
      device.launch("score rows", kernel, {grid, kAttendThreads}, view, list.items, list.tiles);
    };
    if (view.key_octets) return launch(score_many<kCode, true>);
    launch(score_many<kCode, false>);
  });
}

}  // namespace slim
