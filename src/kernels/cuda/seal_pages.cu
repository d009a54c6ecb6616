// Sealing: pages of f32 rows into fixed point with shared scales, to the bits of seal_page; where
// rounding is shaped, to those but for ties, as sums are taken in another order.
//
// Shaped rounding goes through the channels one by one, each waiting for the error of the one
// before. A warp does a row, 32 channels at a time: what the channels before these 32 have left is
// in `a` and reaches all of them at once; among the 32 an error reaches another channel through
// g_j . u_i, which is the same for all rows and computed beforehand. That leaves a rounding, a
// shuffle and a multiply-add between a channel and the next: some 60 cycles instead of the 200 that
// a sum over the warp for every channel would take.
#include <cuda_pipeline.h>

#include <algorithm>
#include <vector>

#include "kernels/cuda/device_kernels.h"
#include "kernels/cuda/earlier_work.cuh"
#include "kernels/cuda/row_codec.cuh"
#include "kernels/cuda/row_rounding.cuh"

namespace slim {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 32;
constexpr int kWarps = kThreads / kLanes;
constexpr int kStrip = 64;  // channels whose scales one block finds
constexpr int kRows = static_cast<int>(kPageRows);
constexpr unsigned kAll = 0xFFFFFFFFU;
// Numbers of shaped rows lie in scratch until they are packed: 64 MiB is 128 pages of 4096 columns.
constexpr int64_t kNumberBytes = int64_t{64} << 20;
constexpr int64_t kMostRank = 128;

struct Sealing {
  const SealPages::Page* pages;
  int64_t from, to;  // offsets of the planes
  PlaneView view;    // of the sealed one
  int width, bits;
  int64_t plane_bytes, used_bytes, page_bytes;

  __device__ const float* rows(int64_t page) const {
    return reinterpret_cast<const float*>(pages[page].from + from);
  }
  __device__ std::byte* plane(int64_t page) const { return pages[page].to + to; }
  __device__ uint16_t* scales(int64_t page) const {
    return reinterpret_cast<uint16_t*>(plane(page) + plane_bytes);
  }
  __device__ bool centred() const { return bits < 16; }  // of channels
};

__device__ void clear_padding(const Sealing& seal, int64_t page) {
  const int64_t at = seal.used_bytes + static_cast<int64_t>(threadIdx.x);
  if (blockIdx.y == 0 && at < seal.page_bytes) seal.plane(page)[at] = std::byte{0};
}

// A block finds the scales of some channels of one page: a quarter of the rows each thread.
__global__ void __launch_bounds__(kThreads) scale_channels(Sealing seal) {
  wait_for_earlier();
  __shared__ ValueRange ranges[kThreads];
  const int64_t page = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const int channel = static_cast<int>(blockIdx.y) * kStrip + thread % kStrip;
  if (channel < seal.width) {
    constexpr int kPart = kRows / (kThreads / kStrip);
    const float* from =
        seal.rows(page) + static_cast<int64_t>(thread / kStrip * kPart) * seal.width + channel;
    ValueRange range = ValueRange::of(*from);
    for (int row = 1; row < kPart; ++row) {
      range.join(ValueRange::of(from[static_cast<int64_t>(row) * seal.width]));
    }
    ranges[thread] = range;
  }
  clear_padding(seal, page);
  __syncthreads();
  if (thread >= kStrip || channel >= seal.width) return;
  ValueRange range = ranges[thread];
  for (int part = kStrip; part < kThreads; part += kStrip) range.join(ranges[thread + part]);
  const ScaleBits shared = channel_scale_bits(range, seal.bits);
  seal.scales(page)[channel] = static_cast<uint16_t>(shared.scale);
  if (seal.centred()) {
    seal.scales(page)[seal.width + channel] = static_cast<uint16_t>(shared.middle);
  }
}

__device__ ScaleBits channel_scale_at(const Sealing& seal, int64_t page, int channel) {
  const uint16_t* scales = seal.scales(page);
  return {scales[channel], seal.centred() ? scales[seal.width + channel] : 0U};
}

// Some numbers of a bit plane as one word.
template <int kBits, int kCount>
__device__ uint32_t gather(const uint32_t* numbers, int shift) {
  constexpr uint32_t kMask = (1U << kBits) - 1U;
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < kCount; ++i) word |= ((numbers[i] >> shift) & kMask) << (i * kBits);
  return word;
}

// The first plane of eight neighbours, and of 16 bits all there is. `place`: row and first column.
template <int kBits>
__device__ void put_high(std::byte* page, const PlaneView& plane, int2 place,
                         const uint32_t (&numbers)[8]) {
  using Bits = SealedBits<kBits>;
  std::byte* high = page + Bits::high_at(plane, place.x, place.y);
  if constexpr (Bits::kHigh == 16) {
    *reinterpret_cast<uint4*>(high) = {gather<16, 2>(numbers, 0), gather<16, 2>(numbers + 2, 0),
                                       gather<16, 2>(numbers + 4, 0),
                                       gather<16, 2>(numbers + 6, 0)};
  } else if constexpr (Bits::kHigh == 8) {
    *reinterpret_cast<uint2*>(high) = {gather<8, 4>(numbers, Bits::kLow),
                                       gather<8, 4>(numbers + 4, Bits::kLow)};
  } else {
    *reinterpret_cast<uint32_t*>(high) = gather<4, 8>(numbers, Bits::kLow);
  }
}

// The second plane, where it is not in chunks.
template <int kBits>
__device__ void put_low(std::byte* page, const PlaneView& plane, int2 place,
                        const uint32_t (&numbers)[8]) {
  using Bits = SealedBits<kBits>;
  if constexpr (Bits::kLow > 0) {
    using Word = typename Bits::LowWord;
    *reinterpret_cast<Word*>(page + Bits::low_at(plane, place.x, place.y)) =
        static_cast<Word>(gather<Bits::kLow, 8>(numbers, 0));
  }
}

// Row and first column of this thread's octet of a page; the row is past the end if there is none.
__device__ int2 octet_of_thread(int width) {
  const int64_t octet = static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  return {static_cast<int>(octet / (width / 8)), static_cast<int>(octet % (width / 8)) * 8};
}

// The numbers of an octet, as stored. `shaped`: [pages, kRows, width] of shaped rounding, or none.
template <int kBits>
__device__ void round_octet(const Sealing& seal, const int16_t* shaped, int2 place,
                            uint32_t (&numbers)[8]) {
  const int64_t page = blockIdx.x;
  const int64_t at = static_cast<int64_t>(place.x) * seal.width + place.y;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    int number = 0;
    if (shaped != nullptr) {
      number = shaped[page * kRows * seal.width + at + i];
    } else {
      const ScaleBits shared = channel_scale_at(seal, page, place.y + i);
      const float value = __fsub_rn(seal.rows(page)[at + i], shared.middle_value());
      number = round_number(value, shared.scale_value(), (1 << (kBits - 1)) - 1);
    }
    numbers[i] = static_cast<uint32_t>(number + SealedBits<kBits>::kBias);
    if (kBits == 16 && seal.view.chunked) numbers[i] ^= 0x8000U;
  }
}

// The second plane of an octet in a chunk. Of 4 bits its pairs are every other byte; of 2 bits they
// share their bytes with those of the octet two further on, whose numbers are found once more.
template <int kBits>
__device__ void put_spread(const Sealing& seal, const int16_t* shaped, int2 place,
                           const uint32_t (&numbers)[8]) {
  using Bits = SealedBits<kBits>;
  if constexpr (Bits::kHigh == 8 && Bits::kLow > 0) {
    const int at = Bits::spread_place(place.y);
    auto* to = reinterpret_cast<uint8_t*>(seal.plane(blockIdx.x) +
                                          Bits::low_at(seal.view, place.x, place.y));
    if constexpr (Bits::kLow == 4) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to[2 * i + at] = static_cast<uint8_t>(gather<4, 2>(numbers + 2 * i, 0));
      }
    } else {
      if (at % 2 != 0) return;
      uint32_t others[8];
      round_octet<kBits>(seal, shaped, {place.x, place.y + 16}, others);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to[2 * i + at / 2] = static_cast<uint8_t>(gather<2, 2>(numbers + 2 * i, 0) |
                                                  gather<2, 2>(others + 2 * i, 0) << 4);
      }
    }
  }
}

template <int kBits>
__global__ void __launch_bounds__(kThreads) pack_channels(Sealing seal, const int16_t* shaped) {
  wait_for_earlier();
  const int2 place = octet_of_thread(seal.width);
  if (place.x >= kRows) return;
  std::byte* page = seal.plane(blockIdx.x);
  uint32_t numbers[8];
  round_octet<kBits>(seal, shaped, place, numbers);
  put_high<kBits>(page, seal.view, place, numbers);
  if (SealedBits<kBits>::spread(seal.view, place.y)) {
    put_spread<kBits>(seal, shaped, place, numbers);
  } else {
    put_low<kBits>(page, seal.view, place, numbers);
  }
}

// Four neighbouring threads have the four octets of a group.
template <int kBits>
__global__ void __launch_bounds__(kThreads) seal_groups(Sealing seal) {
  wait_for_earlier();
  constexpr int kMost = (1 << (kBits - 1)) - 1;
  const int64_t page = blockIdx.x;
  const int2 place = octet_of_thread(seal.width);
  clear_padding(seal, page);
  const bool some = place.x < kRows;
  const float* from =
      seal.rows(page) + (some ? static_cast<int64_t>(place.x) * seal.width + place.y : 0);
  float values[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = from[i];
  ValueRange range = ValueRange::of(values[0]);
#pragma unroll
  for (int i = 1; i < 8; ++i) range.join(ValueRange::of(values[i]));
  for (int offset = 1; offset < 4; offset *= 2) {
    range.join({__shfl_xor_sync(kAll, range.lowest, offset),
                __shfl_xor_sync(kAll, range.highest, offset),
                __shfl_xor_sync(kAll, static_cast<int>(range.nan), offset) != 0});
  }
  if (!some) return;
  const ScaleBits shared = group_scale_bits(range, kMost);
  uint32_t numbers[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float value = __fsub_rn(values[i], shared.middle_value());
    numbers[i] = static_cast<uint32_t>(round_number(value, shared.scale_value(), kMost) +
                                       SealedBits<kBits>::kBias);
  }
  put_high<kBits>(seal.plane(page), seal.view, place, numbers);
  put_low<kBits>(seal.plane(page), seal.view, place, numbers);
  if (place.y % static_cast<int>(kGroupSize) != 0) return;
  const int groups = seal.width / static_cast<int>(kGroupSize);
  uint16_t* scales = seal.scales(page) + static_cast<int64_t>(place.x) * 2 * groups +
                     place.y / static_cast<int>(kGroupSize);
  scales[0] = static_cast<uint16_t>(shared.scale);
  scales[groups] = static_cast<uint16_t>(shared.middle);
}

// Shaping, with channels in the order in which they are rounded.
struct Shape {
  const Half* u;
  const Half* g;
  const int32_t* order;
  int width, rank;

  __device__ int channel(int place) const {
    const int at = width - 1 - place;
    return order == nullptr ? at : order[at];
  }
};

__device__ float direction(const Half* from, const Shape& shape, int channel, int q) {
  return f16_value(from[static_cast<int64_t>(channel) * shape.rank + q].bits);
}

// What a warp needs for 32 channels; ranks are filled up with zeros.
template <int kRank>
struct ShapeTile {
  float g[kRank][kLanes];          // of channel j
  float u[kLanes][kRank];          // of channel i
  float coupling[kLanes][kLanes];  // g_j . u_i for j after i, else 0
};

template <int kRank>
__global__ void __launch_bounds__(kThreads) make_tiles(Shape shape, ShapeTile<kRank>* tiles) {
  wait_for_earlier();
  ShapeTile<kRank>& tile = tiles[blockIdx.x];
  const int first = static_cast<int>(blockIdx.x) * kLanes;
  for (int at = static_cast<int>(threadIdx.x); at < kRank * kLanes; at += kThreads) {
    const int q = at / kLanes;
    const int j = at % kLanes;
    const bool some = q < shape.rank && first + j < shape.width;
    const int channel = some ? shape.channel(first + j) : 0;
    tile.g[q][j] = some ? direction(shape.g, shape, channel, q) : 0.0F;
    tile.u[j][q] = some ? direction(shape.u, shape, channel, q) : 0.0F;
  }
  for (int at = static_cast<int>(threadIdx.x); at < kLanes * kLanes; at += kThreads) {
    const int i = at / kLanes;
    const int j = at % kLanes;
    float sum = 0.0F;
    if (i < j && first + j < shape.width) {
      const int from = shape.channel(first + i);
      const int to = shape.channel(first + j);
      for (int q = 0; q < shape.rank; ++q) {
        sum += direction(shape.g, shape, to, q) * direction(shape.u, shape, from, q);
      }
    }
    tile.coupling[i][j] = sum;
  }
}

// One channel of one row, to be rounded to a multiple of its scale.
struct Rounding {
  float centred, scale, inverse;
  float limit;
  bool scaled;  // it has a scale; else its number is 0
  bool small;   // 1 / scale is no float

  __device__ float number(float shift) const {
    const float value = centred - shift;
    if (small) return static_cast<float>(round_number(value, scale, static_cast<int>(limit)));
    // The quotient is right to the last bit nearly always, at a third of a division's latency.
    const float near = value * inverse;
    const float quotient = fmaf(fmaf(-near, scale, value), inverse, near);
    return scaled ? fminf(fmaxf(rintf(quotient), -limit), limit) : 0.0F;
  }
  // The error that others mend; none of a channel without a finite scale.
  __device__ float error(float number) const {
    const float left = fmaf(number, scale, -centred);
    return isfinite(left) ? left : 0.0F;
  }
};

__device__ Rounding rounding_of(const Sealing& seal, int64_t page, int row, int channel) {
  const ScaleBits shared = channel_scale_at(seal, page, channel);
  const float value = seal.rows(page)[static_cast<int64_t>(row) * seal.width + channel];
  Rounding rounding;
  rounding.scale = shared.scale_value();
  rounding.centred = value - shared.middle_value();
  rounding.scaled = rounding.scale > 0.0F && isfinite(rounding.scale);
  rounding.small = rounding.scaled && rounding.scale < 1e-37F;
  rounding.inverse = rounding.scaled ? 1.0F / rounding.scale : 0.0F;
  rounding.limit = static_cast<float>((1 << (seal.bits - 1)) - 1);
  return rounding;
}

template <int kRank>
__device__ void fetch_tile(ShapeTile<kRank>* to, const ShapeTile<kRank>* from) {
  constexpr int kPieces = static_cast<int>(sizeof(ShapeTile<kRank>) / 16);
  for (int i = static_cast<int>(threadIdx.x); i < kPieces; i += kThreads) {
    __pipeline_memcpy_async(reinterpret_cast<std::byte*>(to) + 16 * i,
                            reinterpret_cast<const std::byte*>(from) + 16 * i, 16);
  }
  __pipeline_commit();
}

// Rounds 32 channels, one a lane. `state`: a, [kRank], in shared memory. Returns the lane's number.
template <int kRank>
__device__ float shape_channels(const ShapeTile<kRank>& tile, const Rounding& rounding,
                                float* state) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float shift = 0.0F;
#pragma unroll 16
  for (int q = 0; q < kRank; ++q) shift += tile.g[q][lane] * state[q];
#pragma unroll
  for (int i = 0; i < kLanes; ++i) {
    const float mine = rounding.error(rounding.number(shift));
    shift += tile.coupling[i][lane] * __shfl_sync(kAll, mine, i);
  }
  const float number = rounding.number(shift);
  const float error = rounding.error(number);
  float sums[kRank / kLanes] = {};
#pragma unroll
  for (int i = 0; i < kLanes; ++i) {
    const float other = __shfl_sync(kAll, error, i);
#pragma unroll
    for (int k = 0; k < kRank / kLanes; ++k) sums[k] += tile.u[i][lane + k * kLanes] * other;
  }
  __syncwarp();  // all have read the state
#pragma unroll
  for (int k = 0; k < kRank / kLanes; ++k) state[lane + k * kLanes] += sums[k];
  __syncwarp();
  return number;
}

// A warp a row. Two tiles are in shared memory: while one is used the next is fetched.
template <int kRank>
__global__ void __launch_bounds__(kThreads)
    shape_rows(Sealing seal, Shape shape, const ShapeTile<kRank>* tiles, int16_t* numbers) {
  wait_for_earlier();
  extern __shared__ float4 memory[];
  auto* buffers = reinterpret_cast<ShapeTile<kRank>*>(memory);
  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float* state = reinterpret_cast<float*>(buffers + 2) + warp * kRank;
  const int64_t line = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
  const int64_t page = line / kRows;
  const int row = static_cast<int>(line % kRows);
  for (int q = lane; q < kRank; q += kLanes) state[q] = 0.0F;
  const int count = (shape.width + kLanes - 1) / kLanes;
  fetch_tile(&buffers[0], tiles);
  for (int t = 0; t < count; ++t) {
    const int place = t * kLanes + lane;
    const bool some = place < shape.width;
    const int channel = some ? shape.channel(place) : 0;
    Rounding rounding = rounding_of(seal, page, row, channel);
    if (!some) rounding = {};
    if (t + 1 < count) {
      fetch_tile(&buffers[(t + 1) % 2], tiles + t + 1);
      __pipeline_wait_prior(1);
    } else {
      __pipeline_wait_prior(0);
    }
    __syncthreads();
    const float number = shape_channels<kRank>(buffers[t % 2], rounding, state);
    if (some) numbers[line * seal.width + channel] = static_cast<int16_t>(number);
    __syncthreads();  // the tile is overwritten next
  }
}

template <int kRank>
void shape_pages(CudaDevice& device, const Sealing& seal, const Shape& shape, int64_t pages,
                 int16_t* numbers) {
  using Tile = ShapeTile<kRank>;
  const int64_t count = (shape.width + kLanes - 1) / kLanes;
  const auto memory = device.allocate(static_cast<size_t>(count) * sizeof(Tile));
  auto* tiles = reinterpret_cast<Tile*>(memory->data());
  device.launch("prepare shaped rounding", make_tiles<kRank>,
                {static_cast<unsigned>(count), kThreads}, shape, tiles);
  constexpr auto kShared = static_cast<int>(2 * sizeof(Tile) + kWarps * kRank * sizeof(float));
  check_cuda(
      cudaFuncSetAttribute(shape_rows<kRank>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
      "give a block its memory");
  const auto blocks = static_cast<unsigned>(pages * kRows / kWarps);
  device.launch("shape the rounding of rows", shape_rows<kRank>, {blocks, kThreads, kShared}, seal,
                shape, tiles, numbers);
}

void shape_by_rank(CudaDevice& device, const Sealing& seal, const Shape& shape, int64_t pages,
                   int16_t* numbers) {
  if (shape.rank <= 32) return shape_pages<32>(device, seal, shape, pages, numbers);
  if (shape.rank <= 64) return shape_pages<64>(device, seal, shape, pages, numbers);
  shape_pages<128>(device, seal, shape, pages, numbers);
}

void seal_channels(CudaDevice& device, const Sealing& seal, const SealPages& call, int64_t pages) {
  const auto count = static_cast<unsigned>(pages);
  const dim3 strips(count, static_cast<unsigned>((seal.width + kStrip - 1) / kStrip));
  device.launch("find the scales of channels", scale_channels, {strips, kThreads}, seal);
  std::shared_ptr<Buffer> scratch;
  int16_t* numbers = nullptr;
  if (call.shaping != nullptr) {
    const Shaping& shaping = *call.shaping;
    scratch = device.allocate(static_cast<size_t>(pages * kRows * seal.width) * sizeof(int16_t));
    numbers = reinterpret_cast<int16_t*>(scratch->data());
    const Shape shape{shaping.u, shaping.g, shaping.order, seal.width,
                      static_cast<int>(shaping.rank)};
    shape_by_rank(device, seal, shape, pages, numbers);
  }
  const dim3 octets(count,
                    static_cast<unsigned>((kPageRows * seal.width / 8 + kThreads - 1) / kThreads));
  visit_row_code(call.to.format, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    if constexpr (is_sealed(kCode)) {
      device.launch("pack sealed rows", pack_channels<bits_of(kCode)>, {octets, kThreads}, seal,
                    numbers);
    }
  });
}

void seal_grouped(CudaDevice& device, const Sealing& seal, const SealPages& call, int64_t pages) {
  const dim3 octets(static_cast<unsigned>(pages),
                    static_cast<unsigned>((kPageRows * seal.width / 8 + kThreads - 1) / kThreads));
  visit_row_code(call.to.format, [&](auto tag) {
    constexpr RowCode kCode = decltype(tag)::value;
    if constexpr (is_sealed(kCode)) {
      device.launch("seal rows in groups", seal_groups<bits_of(kCode)>, {octets, kThreads}, seal);
    }
  });
}

}  // namespace

void CudaKernels::seal_pages(const SealPages& arguments) {
  const auto& [from, to, shaping, pages] = arguments;
  const RowFormat& format = to.format;
  check(format.valid() && format.sealed(), "only sealed rows are made a page at a time");
  check(from.format == format.hot(), "pages are sealed from f32 rows of their width");
  const bool grouped = format.scaling == Scaling::group;
  check(shaping == nullptr || !grouped, "rounding is shaped where channels have scales");
  check(shaping == nullptr || shaping->width == format.width, "rounding is shaped over whole rows");
  check(shaping == nullptr || shaping->rank <= kMostRank,
        "shaped rounding has a rank of 128 at most");
  device_.select();
  const int64_t most = shaping == nullptr
                           ? int64_t{1} << 20
                           : std::max<int64_t>(1, kNumberBytes / (2 * kPageRows * format.width));
  for (int64_t begin = 0; begin < std::ssize(pages); begin += most) {
    const int64_t count = std::min(most, std::ssize(pages) - begin);
    const auto part = pages.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
    const bool aligned = std::all_of(part.begin(), part.end(), [](const SealPages::Page& page) {
      return reinterpret_cast<uintptr_t>(page.to) % 16 == 0;
    });
    const Sealing seal{.pages = device_.upload(part),
                       .from = from.offset,
                       .to = to.offset,
                       .view = plane_view(to, format.width, aligned),
                       .width = static_cast<int>(format.width),
                       .bits = format.bits,
                       .plane_bytes = format.plane_bytes(),
                       .used_bytes = format.plane_bytes() + 2 * format.scale_count(),
                       .page_bytes = format.page_bytes()};
    if (grouped) {
      seal_grouped(device_, seal, arguments, count);
    } else {
      seal_channels(device_, seal, arguments, count);
    }
  }
}

}  // namespace slim
