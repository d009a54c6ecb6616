// The second step of attention over pages (attend_parts.cuh): the rows of a part, weighted by what
// their scores come to, and the state of their softmax. Two bodies. Where queries are few, a thread
// has eight columns of every so many rows, decodes them once for all queries and adds them up in
// registers. Where they are many, a block decodes 32 rows by 64 columns into shared memory and
// multiplies them by the weights of 64 queries, 16 products a thread.
//
// A row that a query does not see must not touch it, whatever is in it, and 0 * NaN is NaN. Weights
// that are exactly 0 belong to such rows alone (AttendState), and are skipped: always where queries
// are few; where they are many, if a number among those decoded is not finite.
#include "kernels/cuda/attend_parts.cuh"
#include "kernels/cuda/earlier_work.cuh"

namespace slim {
namespace {

constexpr unsigned kAll = 0xFFFFFFFFU;
constexpr int kLanes = 32;
constexpr int kWarps = kAttendThreads / kLanes;
constexpr int kRows = static_cast<int>(kPageRows);
constexpr int kFewRows = kAttendThreads;  // whose weights are in shared memory at a time
constexpr int kManyRows = 32;
constexpr int kPadded = kManyQueries + 4;  // of tiles: vectors of four stay aligned

struct Maximum {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// Joins a value of all threads, in an order that is always the same. All get the result.
template <typename Join>
__device__ float reduce_block(float value, float* memory, Join join) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    value = join(value, __shfl_xor_sync(kAll, value, offset));
  }
  __syncthreads();
  if (threadIdx.x % kLanes == 0) memory[threadIdx.x / kLanes] = value;
  __syncthreads();
  float result = memory[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) result = join(result, memory[i]);
  return result;
}

// Columns of a head's values that a block mixes, and those of a thread.
struct ValueColumns {
  int first;   // of the thread's octet, in the row
  int column;  // the same, in the head
  int count;   // columns of the octet; 0 or less: none

  __device__ ValueColumns(const AttendView& view, const AttendTile& tile, int column_in_head)
      : first(static_cast<int>(view.value_stride) * (tile.head / view.heads_per_key) +
              column_in_head),
        column(column_in_head),
        count(min(8, view.value_width - column_in_head)) {}
};

// What a query's softmax has come to: of a part, or of all.
__device__ void put_state(const AttendView& view, const AttendTile& tile, int query,
                          AttendState state) {
  if (view.whole) {
    WholeResult(view, tile, query, state.sum).write_lse(view, tile, query, state.maximum);
  } else {
    view.states[tile.state(view, query)] = state;
  }
}

template <int kQueries>
struct FewMemory {
  float weights[kQueries][kFewRows];
  float strips[kWarps][kStrip];
  float reduced[kWarps];
};

// Weights of up to kFewRows rows from `row` of the part on; adds them to the thread's sums.
template <int kQueries>
__device__ void weigh_few(const AttendView& view, const AttendTile& tile, int row,
                          const float (&maxima)[kQueries], FewMemory<kQueries>& memory,
                          float (&sums)[kQueries]) {
  const int at = row + static_cast<int>(threadIdx.x);
  const bool some = at < (tile.page_end - tile.page_begin) * kRows;
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    float weight = 0.0F;
    if (some && q < tile.count) {
      const float origin = maxima[q] == -CUDART_INF_F ? 0.0F : maxima[q];
      weight = attend_weight(tile.scores(view, q, tile.page_begin)[at], origin);
    }
    memory.weights[q][threadIdx.x] = weight;
    sums[q] += weight;
  }
}

template <int kQueries>
__device__ void add_row(const float (&values)[8], const float (*weights)[kFewRows], int row,
                        float (&mixed)[kQueries][8]) {
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    const float weight = weights[q][row];
    if (weight == 0.0F) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) mixed[q][i] = fmaf(weight, values[i], mixed[q][i]);
  }
}

// Adds the thread's rows of a page: rows.x, then every rows.y. kOctets: values are read by octets
// alone; some are on their way at a time.
template <RowCode kCode, int kQueries, bool kOctets>
__device__ void mix_page(const AttendView& view, const std::byte* page, const ValueColumns& columns,
                         int2 rows, const float (*weights)[kFewRows], float (&mixed)[kQueries][8]) {
  using Reader = RowReader<kCode>;
  constexpr int kAhead = kQueries > 4 ? 2 : 4;
  if constexpr (!kOctets) {
    for (int row = rows.x; row < kRows; row += rows.y) {
      float values[8];
      read_columns<kCode>(view.values, page, row, {columns.first, columns.count}, values);
      add_row<kQueries>(values, weights, row, mixed);
    }
    return;
  }
  const typename Reader::Shared shared = Reader::share(view.values, page, columns.first);
  for (int begin = rows.x; begin < kRows; begin += kAhead * rows.y) {
    typename Reader::Raw raw[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int row = min(begin + i * rows.y, kRows - 1);
      raw[i] = Reader::fetch(view.values, page, row, columns.first);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (begin + i * rows.y >= kRows) break;
      float values[8];
      Reader::expand(view.values, raw[i], shared, values);
      add_row<kQueries>(values, weights, begin + i * rows.y, mixed);
    }
  }
}

// Adds up what threads with the same columns have, and writes it. `octets`: threads side by side.
template <int kQueries>
__device__ void write_few(const AttendView& view, const AttendTile& tile, int octets,
                          const float (&totals)[kQueries], FewMemory<kQueries>& memory,
                          float (&mixed)[kQueries][8]) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kLanes;
  const int strip = static_cast<int>(blockIdx.z) * kStrip;
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (q >= tile.count) break;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      for (int offset = octets; offset < kLanes; offset *= 2) {
        mixed[q][i] += __shfl_xor_sync(kAll, mixed[q][i], offset);
      }
    }
    __syncthreads();  // what was there is read
    if (lane < octets) {
#pragma unroll
      for (int i = 0; i < 8; ++i) memory.strips[thread / kLanes][8 * lane + i] = mixed[q][i];
    }
    __syncthreads();
    if (thread >= 8 * octets || strip + thread >= view.value_width) continue;
    float sum = memory.strips[0][thread];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) sum += memory.strips[w][thread];
    if (view.whole) {
      const WholeResult result(view, tile, q, totals[q]);
      result.mixed[strip + thread] = result.value(sum);
    } else {
      view.mixtures[tile.state(view, q) * view.value_width + strip + thread] = sum;
    }
  }
}

template <RowCode kCode, int kQueries, bool kOctets>
__global__ void __launch_bounds__(kAttendThreads, kQueries == 1 ? 4 : 2)
    mix_few(const __grid_constant__ AttendView view, const AttendItem* items, HeadTiles tiles,
            int octets) {
  wait_for_earlier();
  __shared__ FewMemory<kQueries> memory;
  const AttendTile tile(view, items[blockIdx.x], tiles, static_cast<int>(blockIdx.y));
  const int thread = static_cast<int>(threadIdx.x);
  const int strip = static_cast<int>(blockIdx.z) * kStrip;
  const ValueColumns columns(view, tile, strip + 8 * (thread % octets));
  const int rows = (tile.page_end - tile.page_begin) * kRows;
  float maxima[kQueries];
  float sums[kQueries] = {};
  float mixed[kQueries][8] = {};
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    maxima[q] = -CUDART_INF_F;
    if (q >= tile.count) continue;
    const float* scores = tile.scores(view, q, tile.page_begin);
    for (int row = thread; row < rows; row += kAttendThreads) {
      maxima[q] = fmaxf(maxima[q], scores[row]);
    }
    maxima[q] = reduce_block(maxima[q], memory.reduced, Maximum{});
  }
  for (int row = 0; row < rows; row += kFewRows) {
    __syncthreads();  // the last weights are done with
    weigh_few<kQueries>(view, tile, row, maxima, memory, sums);
    __syncthreads();
    if (columns.count <= 0) continue;
    for (int begin = 0; begin < min(kFewRows, rows - row); begin += kRows) {
      const std::byte* page =
          tile.page(view, tile.page_begin + (row + begin) / kRows) + view.values.offset;
      float(*const weights)[kFewRows] =
          reinterpret_cast<float(*)[kFewRows]>(&memory.weights[0][begin]);
      mix_page<kCode, kQueries, kOctets>(
          view, page, columns, {thread / octets, kAttendThreads / octets}, weights, mixed);
    }
  }
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (q >= tile.count) break;
    sums[q] = reduce_block(sums[q], memory.reduced, Sum{});
    if (thread == 0 && blockIdx.z == 0) put_state(view, tile, q, {maxima[q], sums[q]});
  }
  write_few<kQueries>(view, tile, octets, sums, memory, mixed);
}

struct ManyMemory {
  float weights[kManyRows][kPadded];  // row by row
  float values[kManyRows][kPadded];
  float maxima[kManyQueries];
  float sums[4][kManyQueries];
};

// The largest score of each query: four neighbouring threads have one.
__device__ void find_maxima(const AttendView& view, const AttendTile& tile, ManyMemory& memory) {
  const int query = static_cast<int>(threadIdx.x) / 4;
  const int lane = static_cast<int>(threadIdx.x) % 4;
  const int rows = (tile.page_end - tile.page_begin) * kRows;
  float largest = -CUDART_INF_F;
  if (query < tile.count) {
    const float* scores = tile.scores(view, query, tile.page_begin);
    for (int row = 4 * lane; row < rows; row += 16) {
      const float4 four = *reinterpret_cast<const float4*>(scores + row);
      largest = fmaxf(largest, fmaxf(fmaxf(four.x, four.y), fmaxf(four.z, four.w)));
    }
  }
  largest = fmaxf(largest, __shfl_xor_sync(kAll, largest, 1));
  largest = fmaxf(largest, __shfl_xor_sync(kAll, largest, 2));
  if (lane == 0) memory.maxima[query] = largest;
  __syncthreads();
}

// A thread's eight weights: of one query, of neighbouring rows.
struct WeightPlace {
  int query, octet;

  __device__ static WeightPlace of_thread() {
    const int thread = static_cast<int>(threadIdx.x);
    return {thread / 2 % kManyQueries, thread % 2 + thread / (2 * kManyQueries) * 2};
  }
};

// Returns their sum.
__device__ float weigh_many(const float* scores, const WeightPlace& place, float maximum,
                            ManyMemory& memory) {
  float weights[8] = {};
  if (scores != nullptr) {
    const float origin = maximum == -CUDART_INF_F ? 0.0F : maximum;
    const auto* from = reinterpret_cast<const float4*>(scores);
    const float4 low = from[0];
    const float4 high = from[1];
    const float all[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) weights[i] = attend_weight(all[i], origin);
  }
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    memory.weights[8 * place.octet + i][place.query] = weights[i];
    sum += weights[i];
  }
  return sum;
}

// Sixteen sums a thread: queries 4 * y + a by columns 4 * x + b.
template <bool kCareful>
__device__ void multiply_rows(const ManyMemory& memory, float (&mixed)[4][4]) {
  const int x = 4 * (static_cast<int>(threadIdx.x) % 16);
  const int y = 4 * (static_cast<int>(threadIdx.x) / 16);
#pragma unroll 8
  for (int row = 0; row < kManyRows; ++row) {
    const float4 w = *reinterpret_cast<const float4*>(&memory.weights[row][y]);
    const float4 v = *reinterpret_cast<const float4*>(&memory.values[row][x]);
    const float left[4] = {w.x, w.y, w.z, w.w};
    const float right[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int a = 0; a < 4; ++a) {
      if (kCareful && left[a] == 0.0F) continue;
#pragma unroll
      for (int b = 0; b < 4; ++b) mixed[a][b] = fmaf(left[a], right[b], mixed[a][b]);
    }
  }
}

// Decodes the thread's octet of 32 rows by 64 columns. Returns whether a number is not finite.
template <RowCode kCode, bool kOctets>
__device__ bool put_values(const AttendView& view, const AttendTile& tile, int row,
                           const ValueColumns& columns, ManyMemory& memory) {
  const int place = static_cast<int>(threadIdx.x) / 8;
  const int page = tile.page_begin + row / kRows;
  const int within = row % kRows + place;
  float values[8] = {};
  if (columns.count > 0 && static_cast<int64_t>(page) * kRows + within < tile.slice.rows) {
    using Reader = RowReader<kCode>;
    const std::byte* from = tile.page(view, page) + view.values.offset;
    if constexpr (kOctets) {
      Reader::expand(view.values, Reader::fetch(view.values, from, within, columns.first),
                     Reader::share(view.values, from, columns.first), values);
    } else {
      read_columns<kCode>(view.values, from, within, {columns.first, columns.count}, values);
    }
  }
  bool bad = false;
#pragma unroll
  for (int i = 0; i < 8; ++i) bad = bad || !isfinite(values[i]);
  auto* to = reinterpret_cast<float4*>(&memory.values[place][8 * (threadIdx.x % 8)]);
  to[0] = {values[0], values[1], values[2], values[3]};
  to[1] = {values[4], values[5], values[6], values[7]};
  return bad;
}

__device__ float sum_of(const ManyMemory& memory, int query) {
  return (memory.sums[0][query] + memory.sums[1][query]) +
         (memory.sums[2][query] + memory.sums[3][query]);
}

__device__ void write_many(const AttendView& view, const AttendTile& tile, const ManyMemory& memory,
                           float (&mixed)[4][4]) {
  const int thread = static_cast<int>(threadIdx.x);
  const int strip = static_cast<int>(blockIdx.z) * kManyStrip;
#pragma unroll
  for (int a = 0; a < 4; ++a) {
    const int query = 4 * (thread / 16) + a;
    if (query >= tile.count) break;
    float* to = nullptr;
    if (view.whole) {
      const WholeResult result(view, tile, query, sum_of(memory, query));
      to = result.mixed;
#pragma unroll
      for (float& value : mixed[a]) value = result.value(value);
    } else {
      to = view.mixtures + tile.state(view, query) * view.value_width;
    }
#pragma unroll
    for (int b = 0; b < 4; ++b) {
      const int column = strip + 4 * (thread % 16) + b;
      if (column < view.value_width) to[column] = mixed[a][b];
    }
  }
  if (blockIdx.z != 0 || thread >= tile.count) return;
  put_state(view, tile, thread, {memory.maxima[thread], sum_of(memory, thread)});
}

template <RowCode kCode, bool kOctets>
__global__ void __launch_bounds__(kAttendThreads)
    mix_many(const __grid_constant__ AttendView view, const AttendItem* items, HeadTiles tiles) {
  wait_for_earlier();
  __shared__ __align__(16) ManyMemory memory;
  const AttendTile tile(view, items[blockIdx.x], tiles, static_cast<int>(blockIdx.y));
  const int thread = static_cast<int>(threadIdx.x);
  const int strip = static_cast<int>(blockIdx.z) * kManyStrip;
  const ValueColumns columns(view, tile, strip + 8 * (thread % 8));
  const WeightPlace place = WeightPlace::of_thread();
  find_maxima(view, tile, memory);
  const float maximum = memory.maxima[place.query];
  const float* scores = place.query < tile.count
                            ? tile.scores(view, place.query, tile.page_begin) + 8 * place.octet
                            : nullptr;
  float mixed[4][4] = {};
  float sum = 0.0F;
  const int rows = (tile.page_end - tile.page_begin) * kRows;
  for (int row = 0; row < rows; row += kManyRows) {
    sum += weigh_many(scores == nullptr ? nullptr : scores + row, place, maximum, memory);
    const bool bad = put_values<kCode, kOctets>(view, tile, row, columns, memory);
    if (__syncthreads_or(static_cast<int>(bad)) != 0) {
      multiply_rows<true>(memory, mixed);
    } else {
      multiply_rows<false>(memory, mixed);
    }
    __syncthreads();
  }
  memory.sums[place.octet][place.query] = sum;
  __syncthreads();
  write_many(view, tile, memory, mixed);
}

dim3 grid_of(const AttendView& view, const AttendList& list, int strip) {
  return {static_cast<unsigned>(list.count),
          static_cast<unsigned>(view.heads / list.tiles.group * list.tiles.per_group()),
          static_cast<unsigned>((view.value_width + strip - 1) / strip)};
}

}  // namespace

void launch_few_mixtures(const AttendView& view, const RowFormat& format, const AttendList& list,
                         int few, CudaDevice& device) {
  if (list.count == 0) return;
  const dim3 grid = grid_of(view, list, kStrip);
  int octets = 1;  // a power of two, so that shuffles find what has the same columns
  while (octets < kStrip / 8 && 8 * octets < view.value_width) octets *= 2;
  visit_row_code(format, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    const auto launch = [&](auto kernel) {
      device.launch("mix rows", kernel, {grid, kAttendThreads}, view, list.items, list.tiles,
                    octets);
    };
    if (!view.values.octets) return launch(mix_few<kCode, 8, false>);
    if (few <= 1) return launch(mix_few<kCode, 1, true>);
    if (few <= 4) return launch(mix_few<kCode, 4, true>);
    launch(mix_few<kCode, 8, true>);
  });
}

void launch_many_mixtures(const AttendView& view, const RowFormat& format, const AttendList& list,
                          CudaDevice& device) {
  if (list.count == 0) return;
  const dim3 grid = grid_of(view, list, kManyStrip);
  visit_row_code(format, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    const auto launch = [&](auto kernel) {
      device.launch("mix rows", kernel, {grid, kAttendThreads}, view, list.items, list.tiles);
    };
    if (view.values.octets) return launch(mix_many<kCode, true>);
    launch(mix_many<kCode, false>);
  });
}

}  // namespace slim
