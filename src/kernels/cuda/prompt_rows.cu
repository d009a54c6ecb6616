// Keys and values of prompts taken apart for tensor cores (prompt_rows.cuh), and the rare values
// that are not finite.
#include "kernels/cuda/prompt_rows.cuh"

#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/key_rows.cuh"
#include "kernels/cuda/prompt_softmax.cuh"
#include "kernels/cuda/reductions.cuh"

namespace slim {
namespace {

constexpr int kMostOctets = 4;  // of a row, for each of the four threads that have it

// A thread's octets of row threadIdx.x / 4 of one tile.
struct TileRow {
  PromptRun run;
  int page, row, head;
  bool some;  // there is such a row

  __device__ explicit TileRow(const PromptView& view)
      : run(view.runs[view.pages[blockIdx.x].run]),
        page(view.pages[blockIdx.x].page),
        row(static_cast<int>(threadIdx.x) / 4),
        head(static_cast<int>(blockIdx.y)),
        some(page * static_cast<int>(kPageRows) + row < run.rows) {}

  __device__ static int column(int octet) {
    return 8 * (static_cast<int>(threadIdx.x) % 4) + 32 * octet;
  }
};

template <RowCode kCode>
__device__ void read_values(const PromptView& view, const TileRow& place,
                            float (&values)[kMostOctets][8]) {
  const AttendView& call = view.call;
  const std::byte* const plane = view.page(place.run, place.page) + call.values.offset;
  const int first = static_cast<int>(call.value_stride) * place.head;
#pragma unroll
  for (int i = 0; i < kMostOctets; ++i) {
    const int column = TileRow::column(i);
    if (!place.some || column >= call.value_width) continue;
    read_columns<kCode>(call.values, plane, place.row,
                        {first + column, min(8, call.value_width - column)}, values[i]);
  }
}

__device__ float largest_finite(const float (&values)[kMostOctets][8]) {
  float largest = 0.0F;
#pragma unroll
  for (int i = 0; i < kMostOctets; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (isfinite(values[i][j])) largest = fmaxf(largest, fabsf(values[i][j]));
    }
  }
  return largest;
}

// Whether a thread of the block has a number that is not finite.
__device__ bool any_odd(const float (&values)[kMostOctets][8], float* scratch) {
  bool odd = false;
#pragma unroll
  for (int i = 0; i < kMostOctets; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) odd = odd || !isfinite(values[i][j]);
  }
  return reduce_block<kPromptThreads>(odd ? 1.0F : 0.0F, scratch, Largest()) > 0.0F;
}

__device__ void store_halves(const PromptView& view, const TileRow& place, uint16_t* tiles,
                             float factor, const float (&values)[kMostOctets][8]) {
  uint16_t* const to =
      tiles + view.tile(static_cast<int>(blockIdx.x), place.head) * view.tile_numbers();
#pragma unroll
  for (int i = 0; i < kMostOctets; ++i) {
    const int column = TileRow::column(i);
    if (column >= view.columns) continue;
    uint32_t words[2][4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint16_t high[2];
      uint16_t low[2];
      take_halves(values[i][2 * j] * factor, high[0], low[0]);
      take_halves(values[i][2 * j + 1] * factor, high[1], low[1]);
      words[0][j] = high[0] | static_cast<uint32_t>(high[1]) << 16;
      words[1][j] = low[0] | static_cast<uint32_t>(low[1]) << 16;
    }
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      if (part == view.parts) break;
      *reinterpret_cast<uint4*>(to + part * kPageRows * view.columns +
                                view.octet(place.row, column)) = {words[part][0], words[part][1],
                                                                  words[part][2], words[part][3]};
    }
  }
}

template <RowCode kCode, bool kOctets>
__global__ void __launch_bounds__(kPromptThreads)
    take_keys(const __grid_constant__ PromptView view) {
  wait_for_earlier();
  __shared__ float scratch[kPromptThreads / 32];
  const TileRow place(view);
  const AttendView& call = view.call;
  const KeyColumns<kCode, kOctets> keys(call, place.head, place.run.regime);
  const KeyRow row = keys.at(view.page(place.run, place.page) + call.keys.offset,
                             place.run.base / kPageRows + place.page, place.row);
  float values[kMostOctets][8] = {};
#pragma unroll
  for (int i = 0; i < kMostOctets; ++i) {
    const int column = TileRow::column(i);
    if (place.some && column < call.key_width) keys.octet(call, row, column, values[i]);
  }
  const int exponent =
      pair_exponent(reduce_block<kPromptThreads>(largest_finite(values), scratch, Largest()));
  store_halves(view, place, view.keys, ldexpf(1.0F, exponent), values);
  const bool odd = any_odd(values, scratch);
  if (threadIdx.x != 0) return;
  const int64_t tile = view.tile(static_cast<int>(blockIdx.x), place.head);
  view.key_units[tile] = ldexpf(1.0F, -exponent);
  view.odd_keys[tile] = odd ? 1 : 0;
}

template <RowCode kCode>
__global__ void __launch_bounds__(kPromptThreads)
    measure_values(const __grid_constant__ PromptView view) {
  wait_for_earlier();
  __shared__ float scratch[kPromptThreads / 32];
  const TileRow place(view);
  float values[kMostOctets][8] = {};
  read_values<kCode>(view, place, values);
  const float largest = reduce_block<kPromptThreads>(largest_finite(values), scratch, Largest());
  const bool odd = any_odd(values, scratch);
  if (threadIdx.x != 0) return;
  const int64_t tile = view.tile(static_cast<int>(blockIdx.x), place.head);
  view.value_tops[tile] = largest;
  view.odd[tile] = odd ? 1 : 0;
}

// All values of a head have one exponent, that of its largest in the run: they are added up.
template <RowCode kCode>
__global__ void __launch_bounds__(kPromptThreads)
    take_values(const __grid_constant__ PromptView view) {
  wait_for_earlier();
  __shared__ float scratch[kPromptThreads / 32];
  const TileRow place(view);
  float values[kMostOctets][8] = {};
  read_values<kCode>(view, place, values);
  float largest = 0.0F;
  const int pages = place.run.page_end - place.run.page_begin;
  for (int i = static_cast<int>(threadIdx.x); i < pages; i += kPromptThreads) {
    largest = fmaxf(largest, view.value_tops[view.tile(place.run.place + i, place.head)]);
  }
  largest = reduce_block<kPromptThreads>(largest, scratch, Largest());
#pragma unroll
  for (int i = 0; i < kMostOctets; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (!isfinite(values[i][j])) values[i][j] = 0.0F;
    }
  }
  store_halves(view, place, view.values, ldexpf(1.0F, pair_exponent(largest)), values);
}

// A block adds to one head of the queries of an item.
template <RowCode kCode>
__global__ void __launch_bounds__(kPromptThreads)
    add_odd(const __grid_constant__ PromptView view, const PromptItem* items) {
  wait_for_earlier();
  const AttendView& call = view.call;
  const PromptItem item = items[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y);
  const int key_head = head / call.heads_per_key;
  const PromptRun run = view.runs[item.run];
  for (int page = item.page_begin; page < item.page_end; ++page) {
    if (view.odd[view.tile(run.place + page - run.page_begin, key_head)] == 0) continue;
    const std::byte* const plane = view.page(run, page) + call.values.offset;
    for (int i = static_cast<int>(threadIdx.x); i < item.count() * call.value_width;
         i += kPromptThreads) {
      const PromptQuery query(call, item, i / call.value_width);
      const int column = i % call.value_width;
      const longlong2 seen = call.visible(*query.slice, query.token);
      float* const to = call.mixed + query.step_row() * call.mixed_stride +
                        static_cast<int64_t>(head) * call.value_width + column;
      for (int row = 0; row < kPageRows; ++row) {
        const int64_t at = static_cast<int64_t>(page) * kPageRows + row;
        if (at < seen.x || at >= seen.y || at >= run.rows) continue;
        const float value = read_element<kCode>(
            call.values, plane, row, static_cast<int>(call.value_stride) * key_head + column);
        if (!isfinite(value)) *to += value;
      }
    }
  }
}

}  // namespace

void take_rows_apart(CudaDevice& device, const PromptView& view, const RowFormat& keys,
                     const RowFormat& values) {
  const Grid grid{dim3(static_cast<unsigned>(view.count), static_cast<unsigned>(view.key_heads)),
                  kPromptThreads};
  visit_standing_code(keys, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    if (view.call.key_octets) {
      device.launch("take keys apart", take_keys<kCode, true>, grid, view);
    } else {
      device.launch("take keys apart", take_keys<kCode, false>, grid, view);
    }
  });
  visit_standing_code(values, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    device.launch("measure values", measure_values<kCode>, grid, view);
    device.launch("take values apart", take_values<kCode>, grid, view);
  });
}

void add_odd_values(CudaDevice& device, const PromptView& view, const RowFormat& values,
                    const PromptItem* items, int64_t count) {
  const Grid grid{dim3(static_cast<unsigned>(count), static_cast<unsigned>(view.call.heads)),
                  kPromptThreads};
  visit_standing_code(values, [&](auto tag) {
    device.launch("add odd values", add_odd<decltype(tag)::value>, grid, view, items);
  });
}

}  // namespace slim
