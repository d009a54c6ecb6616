// Decoding of cached rows on the card, to the bits of decode_row and decode_sealed_row: single
// elements of any row, and *octets*, eight neighbours of one row whose first column is a multiple
// of eight. An octet is read in three steps, so that a thread can have several on their way:
//   share()   what the octets of a page in the same columns have in common (scales of channels)
//   fetch()   the bits of one octet, in as few loads as there are bit planes
//   expand()  eight floats
// The formats are tensor/row_format.h's.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/check.h"
#include "kernels/kernels.h"

namespace slim {

// What kernels are compiled for. Scaling by group or by channel is a branch at run time: all
// threads take the same.
enum class RowCode : uint8_t {
  f32,
  f16,
  bf16,
  i8,
  sealed16,
  sealed12,
  sealed10,
  sealed8,
  sealed6,
  sealed5,
  sealed4
};

template <RowCode kCode>
using RowCodeTag = std::integral_constant<RowCode, kCode>;

constexpr bool is_sealed(RowCode code) { return code >= RowCode::sealed16; }

// Bits of sealed numbers.
constexpr int bits_of(RowCode code) {
  constexpr int kBits[] = {16, 12, 10, 8, 6, 5, 4};
  return is_sealed(code) ? kBits[static_cast<int>(code) - static_cast<int>(RowCode::sealed16)] : 0;
}

// Calls f(RowCodeTag<code>{}) with the code of a format whose rows stand alone.
template <typename Function>
void visit_standing_code(const RowFormat& format, Function&& f) {
  check(!format.sealed(), "rows stand alone");
  switch (format.type) {
    case DType::f32:
      return f(RowCodeTag<RowCode::f32>{});
    case DType::f16:
      return f(RowCodeTag<RowCode::f16>{});
    case DType::bf16:
      return f(RowCodeTag<RowCode::bf16>{});
    case DType::i8:
      return f(RowCodeTag<RowCode::i8>{});
    default:
      check(false, "a plane's format can hold its rows");
  }
}

// Calls f(RowCodeTag<code>{}) with the code of any format.
template <typename Function>
void visit_row_code(const RowFormat& format, Function&& f) {
  if (!format.sealed()) return visit_standing_code(format, f);
  switch (format.bits) {
    case 16:
      return f(RowCodeTag<RowCode::sealed16>{});
    case 12:
      return f(RowCodeTag<RowCode::sealed12>{});
    case 10:
      return f(RowCodeTag<RowCode::sealed10>{});
    case 8:
      return f(RowCodeTag<RowCode::sealed8>{});
    case 6:
      return f(RowCodeTag<RowCode::sealed6>{});
    case 5:
      return f(RowCodeTag<RowCode::sealed5>{});
    case 4:
      return f(RowCodeTag<RowCode::sealed4>{});
    default:
      check(false, "a plane's format can hold its rows");
  }
}

// A plane as kernels need it.
struct PlaneView {
  int64_t offset = 0;     // of the plane in a page
  int64_t row_bytes = 0;  // of rows that stand alone
  int32_t width = 0;
  bool grouped = false;  // sealed rows: scales by group
  bool chunked = false;  // sealed rows: bit planes lie in chunks
  bool octets = false;   // every octet that will be read is whole, and lies where fetch() can load
};

// `columns`: what the first columns and numbers of columns that will be read are multiples of.
// `aligned`: pages start at multiples of 16 bytes.
inline PlaneView plane_view(const Plane& plane, int64_t columns, bool aligned) {
  const RowFormat& format = plane.format;
  check(format.valid(), "a plane's format can hold its rows");
  PlaneView view;
  view.offset = plane.offset;
  view.row_bytes = format.bytes();
  view.width = static_cast<int32_t>(format.width);
  view.grouped = format.sealed() && format.scaling == Scaling::group;
  view.chunked = format.chunked;
  // Bytes of i8 rows are read four at a time, and their rows are multiples of 36 bytes.
  const bool rows = format.sealed() || format.type == DType::i8 || view.row_bytes % 16 == 0;
  const bool whole = aligned && plane.offset % 16 == 0;
  check(whole || !format.sealed(), "sealed planes start at multiples of 16 bytes");
  view.octets = whole && rows && columns % 8 == 0;
  return view;
}

__device__ inline float bf16_value(uint32_t bits) { return __uint_as_float(bits << 16); }

__device__ inline float f16_value(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

template <typename T>
__device__ T load_at(const std::byte* address) {
  return *reinterpret_cast<const T*>(address);
}

__device__ inline float load_bf16(const std::byte* address) {
  return bf16_value(load_at<unsigned short>(address));
}

// The product and the sum are rounded apart, as on the host: where they overflow, too.
__device__ inline float scaled(float number, float scale, float middle) {
  return __fadd_rn(__fmul_rn(number, scale), middle);
}

// Members of RowReader: `page` is where the plane begins in its page; `row` is within the page.
template <RowCode kCode, typename = void>
struct RowReader;

template <>
struct RowReader<RowCode::f32> {
  struct Shared {};
  struct Raw {
    float4 low, high;
  };

  __device__ static Shared share(const PlaneView&, const std::byte*, int) { return {}; }

  __device__ static Raw fetch(const PlaneView& plane, const std::byte* page, int row, int column) {
    const std::byte* from = page + row * plane.row_bytes + 4 * static_cast<int64_t>(column);
    return {load_at<float4>(from), load_at<float4>(from + 16)};
  }

  __device__ static void expand(const PlaneView&, const Raw& raw, const Shared&,
                                float (&values)[8]) {
    values[0] = raw.low.x;
    values[1] = raw.low.y;
    values[2] = raw.low.z;
    values[3] = raw.low.w;
    values[4] = raw.high.x;
    values[5] = raw.high.y;
    values[6] = raw.high.z;
    values[7] = raw.high.w;
  }

  __device__ static float element(const PlaneView& plane, const std::byte* page, int row,
                                  int column) {
    return load_at<float>(page + row * plane.row_bytes + 4 * static_cast<int64_t>(column));
  }
};

// f16 and bf16.
template <RowCode kCode>
struct RowReader<kCode, std::enable_if_t<kCode == RowCode::f16 || kCode == RowCode::bf16>> {
  struct Shared {};
  struct Raw {
    uint4 words;
  };

  __device__ static float value(uint32_t bits) {
    return kCode == RowCode::f16 ? f16_value(bits) : bf16_value(bits);
  }

  __device__ static Shared share(const PlaneView&, const std::byte*, int) { return {}; }

  __device__ static Raw fetch(const PlaneView& plane, const std::byte* page, int row, int column) {
    return {load_at<uint4>(page + row * plane.row_bytes + 2 * static_cast<int64_t>(column))};
  }

  __device__ static void expand(const PlaneView&, const Raw& raw, const Shared&,
                                float (&values)[8]) {
    const uint32_t words[4] = {raw.words.x, raw.words.y, raw.words.z, raw.words.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[2 * i] = value(words[i] & 0xFFFFU);
      values[2 * i + 1] = value(words[i] >> 16);
    }
  }

  __device__ static float element(const PlaneView& plane, const std::byte* page, int row,
                                  int column) {
    return value(
        load_at<unsigned short>(page + row * plane.row_bytes + 2 * static_cast<int64_t>(column)));
  }
};

template <>
struct RowReader<RowCode::i8> {
  struct Shared {};
  struct Raw {
    uint32_t words[2];
    float scale, middle;
  };

  __device__ static Shared share(const PlaneView&, const std::byte*, int) { return {}; }

  __device__ static Raw fetch(const PlaneView& plane, const std::byte* page, int row, int column) {
    const std::byte* from = page + row * plane.row_bytes;
    const std::byte* scales = from + plane.width + 2 * (column / static_cast<int>(kGroupSize));
    return {{load_at<uint32_t>(from + column), load_at<uint32_t>(from + column + 4)},
            load_bf16(scales),
            load_bf16(scales + plane.width / static_cast<int>(kGroupSize) * 2)};
  }

  __device__ static void expand(const PlaneView&, const Raw& raw, const Shared&,
                                float (&values)[8]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const auto number = static_cast<int8_t>(raw.words[i / 4] >> (i % 4 * 8));
      values[i] = scaled(static_cast<float>(number), raw.scale, raw.middle);
    }
  }

  __device__ static float element(const PlaneView& plane, const std::byte* page, int row,
                                  int column) {
    const std::byte* from = page + row * plane.row_bytes;
    const std::byte* scales = from + plane.width + 2 * (column / static_cast<int>(kGroupSize));
    return scaled(static_cast<float>(load_at<signed char>(from + column)), load_bf16(scales),
                  load_bf16(scales + plane.width / static_cast<int>(kGroupSize) * 2));
  }
};

// How the numbers of sealed rows are cut: the bits of the first plane, and of the second.
template <int kBits>
struct SealedBits {
  static constexpr int kHigh = kBits == 16 ? 16 : kBits >= 8 ? 8 : 4;
  static constexpr int kLow = kBits - kHigh;
  static constexpr int kBias = kBits == 16 ? 0 : 1 << (kBits - 1);
  using LowWord = std::conditional_t<kLow == 4, uint32_t,
                                     std::conditional_t<kLow == 2, unsigned short, unsigned char>>;

  // Where an octet of the first plane, or of the second, begins. Planes are multiples of 64 bytes.
  __device__ static int64_t high_at(const PlaneView& plane, int row, int column) {
    if (!plane.chunked) return octet_at(plane.width, row, column) * kHigh;
    const int whole = chunked_columns(plane);
    if (column >= whole) return after_chunks(plane, row, column) * kHigh;
    return chunk_at(row, column, kHigh) + column % (128 / kHigh) * kHigh / 8;
  }
  // In chunks, an octet of the second plane is spread over the 8 bytes from here on.
  __device__ static int64_t low_at(const PlaneView& plane, int row, int column) {
    const int64_t begin = kPageRows / 8 * kHigh * static_cast<int64_t>(plane.width);
    if (!plane.chunked) return begin + octet_at(plane.width, row, column) * kLow;
    const int whole = chunked_columns(plane);
    if (column >= whole) return begin + after_chunks(plane, row, column) * kLow;
    return begin + chunk_at(row, column, kLow) + column % 16;
  }

  // Whether the second plane of these columns is in chunks.
  __device__ static bool spread(const PlaneView& plane, int column) {
    return kLow > 0 && plane.chunked && column < chunked_columns(plane);
  }
  // Of an octet in a chunk, which bits of those 8 bytes are its own: the pairs of neighbours are
  // every other byte (4 bits), or every fourth half of a byte (2 bits).
  __device__ static int spread_place(int column) { return column % (128 / kLow) / 16; }

  // The second plane's bits of an octet, as they lie where nothing is spread.
  __device__ static uint32_t collect(uint2 words, int column) {
    const int place = spread_place(column);
    if constexpr (kLow == 4) return __byte_perm(words.x, words.y, place == 0 ? 0x6420 : 0x7531);
    const uint32_t low = (words.x >> (4 * place)) & 0x000F000FU;
    const uint32_t high = (words.y >> (4 * place)) & 0x000F000FU;
    return ((low | low >> 12) & 0xFFU) | ((high | high >> 12) & 0xFFU) << 8;
  }

 private:
  __device__ static int chunked_columns(const PlaneView& plane) { return plane.width / 64 * 64; }
  __device__ static int64_t octet_at(int64_t width, int row, int column) {
    return (row * width + column) / 8;
  }
  __device__ static int64_t after_chunks(const PlaneView& plane, int row, int column) {
    const int64_t whole = chunked_columns(plane);
    return kPageRows / 8 * whole +
           octet_at(plane.width - whole, row, column - static_cast<int>(whole));
  }
  __device__ static int64_t chunk_at(int row, int column, int bits) {
    return (static_cast<int64_t>(column / (128 / bits)) * kPageRows + row) * 16;
  }
};

template <RowCode kCode>
struct RowReader<kCode, std::enable_if_t<is_sealed(kCode)>> {
  static constexpr int kBits = bits_of(kCode);
  using Bits = SealedBits<kBits>;
  // 2^23 plus a number has it as its last bits: a conversion at the speed of an addition.
  static constexpr float kMagic = 8388608.0F;

  struct Shared {
    float scale[8], offset[8];
  };
  struct Raw {
    uint32_t high[Bits::kHigh / 4];
    uint32_t low;
    float scale, middle;
  };

  __device__ static const std::byte* scales_of(const PlaneView& plane, const std::byte* page) {
    return page + kPageRows / 8 * kBits * static_cast<int64_t>(plane.width);
  }

  __device__ static float offset_of(float middle, float scale) {
    return __fsub_rn(middle, __fmul_rn(static_cast<float>(Bits::kBias), scale));
  }

  __device__ static Shared share(const PlaneView& plane, const std::byte* page, int column) {
    Shared shared{};
    if (plane.grouped) return shared;
    const std::byte* from = scales_of(plane, page) + 2 * static_cast<int64_t>(column);
    const uint4 scales = load_at<uint4>(from);
    uint4 middles{};
    if (kBits < 16) middles = load_at<uint4>(from + 2 * static_cast<int64_t>(plane.width));
    const uint32_t scale_words[4] = {scales.x, scales.y, scales.z, scales.w};
    const uint32_t middle_words[4] = {middles.x, middles.y, middles.z, middles.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int shift = i % 2 * 16;
      shared.scale[i] = bf16_value((scale_words[i / 2] >> shift) & 0xFFFFU);
      shared.offset[i] =
          offset_of(bf16_value((middle_words[i / 2] >> shift) & 0xFFFFU), shared.scale[i]);
    }
    return shared;
  }

  __device__ static Raw fetch(const PlaneView& plane, const std::byte* page, int row, int column) {
    Raw raw{};
    const std::byte* high = page + Bits::high_at(plane, row, column);
    if constexpr (Bits::kHigh == 16) {
      const uint4 words = load_at<uint4>(high);
      raw.high[0] = words.x;
      raw.high[1] = words.y;
      raw.high[2] = words.z;
      raw.high[3] = words.w;
      // In chunks numbers of 16 bits are stored without sign, too.
      if (plane.chunked) {
        for (uint32_t& word : raw.high) word ^= 0x80008000U;
      }
    } else if constexpr (Bits::kHigh == 8) {
      const uint2 words = load_at<uint2>(high);
      raw.high[0] = words.x;
      raw.high[1] = words.y;
    } else {
      raw.high[0] = load_at<uint32_t>(high);
    }
    if constexpr (Bits::kLow > 0) {
      const std::byte* low = page + Bits::low_at(plane, row, column);
      if (Bits::kHigh == 8 && Bits::spread(plane, column)) {
        raw.low = Bits::collect(load_at<uint2>(low), column);
      } else {
        raw.low = load_at<typename Bits::LowWord>(low);
      }
    }
    if (plane.grouped) {
      const int groups = plane.width / static_cast<int>(kGroupSize);
      const std::byte* scales =
          scales_of(plane, page) +
          2 * (static_cast<int64_t>(row) * 2 * groups + column / static_cast<int>(kGroupSize));
      raw.scale = load_bf16(scales);
      raw.middle = load_bf16(scales + 2 * groups);
    }
    return raw;
  }

  // Less `bias`, which is exact.
  __device__ static float number(const Raw& raw, int i, int bias) {
    if constexpr (kBits == 16) {
      return static_cast<float>(static_cast<int16_t>(raw.high[i / 2] >> (i % 2 * 16)));
    } else {
      constexpr uint32_t kHighMask = (1U << Bits::kHigh) - 1U;
      constexpr int kPerWord = 32 / Bits::kHigh;
      uint32_t bits = (raw.high[i / kPerWord] >> (i % kPerWord * Bits::kHigh)) & kHighMask;
      if constexpr (Bits::kLow > 0) {
        constexpr uint32_t kLowMask = (1U << Bits::kLow) - 1U;
        bits = (bits << Bits::kLow) | ((raw.low >> (i * Bits::kLow)) & kLowMask);
      }
      return __uint_as_float(0x4B000000U | bits) - (kMagic + static_cast<float>(bias));
    }
  }

  __device__ static void expand(const PlaneView& plane, const Raw& raw, const Shared& shared,
                                float (&values)[8]) {
    if (plane.grouped) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        values[i] = scaled(number(raw, i, Bits::kBias), raw.scale, raw.middle);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i] = scaled(number(raw, i, 0), shared.scale[i], shared.offset[i]);
    }
  }

  __device__ static float element(const PlaneView& plane, const std::byte* page, int row,
                                  int column) {
    const int first = column / 8 * 8;
    float values[8];
    // Planes of sealed rows can always be read by octets.
    expand(plane, fetch(plane, page, row, first), share(plane, page, first), values);
    float value = values[0];
#pragma unroll
    for (int i = 1; i < 8; ++i) value = column - first == i ? values[i] : value;
    return value;
  }
};

// A single element. Not inlined: it serves what does not lie in octets, which is rare.
template <RowCode kCode>
__device__ __noinline__ float read_element(PlaneView plane, const std::byte* page, int row,
                                           int column) {
  return RowReader<kCode>::element(plane, page, row, column);
}

// columns.y (at most 8) neighbours from column columns.x on, and zeros behind them.
template <RowCode kCode>
__device__ void read_columns(const PlaneView& plane, const std::byte* page, int row, int2 columns,
                             float (&values)[8]) {
  using Reader = RowReader<kCode>;
  const int column = columns.x;
  if (plane.octets) {
    Reader::expand(plane, Reader::fetch(plane, page, row, column),
                   Reader::share(plane, page, column), values);
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    values[i] = i < columns.y ? read_element<kCode>(plane, page, row, column + i) : 0.0F;
  }
}

}  // namespace slim
