// Sealed pages to floats in vectors: decode_sealed_row of tensor/row_format.h, bit for bit (but for
// the payload of a NaN), for any columns of any rows. Included once per target, inside
// foreach_target.
//
// An element u = n + 2^(bits-1) is its upper bit plane, shifted, or its lower one. Then
//   channel  value = u * scale + offset,  offset = middle - 2^(bits-1) * scale: bias and middle
//            together cost nothing
//   group    value = (u - 2^(bits-1)) * scale + middle
// Scales and offsets of channels stay in registers over the rows; an element of 8 bits then costs a
// load, a conversion, a multiply-add and a store.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_SEALED_CODEC_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_SEALED_CODEC_INL_H
#undef SLIM_KERNELS_CPU_SEALED_CODEC_INL_H
#else
#define SLIM_KERNELS_CPU_SEALED_CODEC_INL_H
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/cpu/lanes_inl.h"
#include "kernels/cpu/vector_math_inl.h"
#include "tensor/row_format.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

// Rows [first, last) and columns [begin, end) of a page.
struct Region {
  int64_t first = 0;
  int64_t last = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// Where a region's floats go: those of its first row and column to `data`.
struct RegionFloats {
  float* data = nullptr;
  int64_t stride = 0;  // from one row to the next; has room for a vector past the last column
};

// Lanes from `column` on, a multiple of 8, of a bit plane's row. May read bytes past the row's end,
// but none past the scales that follow the planes.
template <int bits>
HWY_INLINE IntVector plane_numbers(const std::byte* row, int64_t column) {
  const Ints i;
  if constexpr (bits == 16) {
    const hn::Rebind<int16_t, Ints> words;
    return hn::PromoteTo(i, hn::LoadU(words, reinterpret_cast<const int16_t*>(row) + column));
  } else if constexpr (bits == 8) {
    const hn::Rebind<uint8_t, Ints> bytes;
    return hn::PromoteTo(i, hn::LoadU(bytes, reinterpret_cast<const uint8_t*>(row) + column));
  } else {
    // Lanes share words of 32 bits at most, and shift them by as much as each needs.
    const hn::RebindToUnsigned<Floats> u;
    constexpr int64_t kInWord = std::min<int64_t>(kLanes, 32 / bits);
    constexpr size_t kBytes = std::max<size_t>(1, kInWord * bits / 8);
    const std::byte* at = row + column * bits / 8;
    const auto word_at = [&](size_t place) HWY_ATTR {
      uint32_t word = 0;
      std::memcpy(&word, at + place * kBytes, kBytes);
      return hn::Set(u, word);
    };
    auto words = word_at(0);
#if HWY_TARGET != HWY_SCALAR
    if constexpr (kInWord < kLanes) {
      static_assert(kLanes == 2 * kInWord);
      words = hn::ConcatLowerLower(u, word_at(1), words);
    }
#endif
    const auto lane = hn::And(hn::Iota(u, 0U), hn::Set(u, static_cast<uint32_t>(kInWord - 1)));
    auto shift = hn::Mul(lane, hn::Set(u, static_cast<uint32_t>(bits)));
    if constexpr (kLanes * bits < 8) {
      shift = hn::Add(shift, hn::Set(u, static_cast<uint32_t>(column * bits % 8)));
    }
    return hn::BitCast(i, hn::And(hn::Shr(words, shift), hn::Set(u, (1U << bits) - 1U)));
  }
}

// The bit planes of a page with elements of `bits`.
template <int bits>
class SealedPlanes {
 public:
  static constexpr int kHigh = bits == 16 ? 16 : bits >= 8 ? 8 : 4;
  static constexpr int kLow = bits - kHigh;
  static constexpr int32_t kBias = bits == 16 ? 0 : 1 << (bits - 1);

  SealedPlanes(const std::byte* page, int64_t width)
      : high_(page), low_(page + kPageRows * width * kHigh / 8), width_(width) {}

  // Lanes of u from `column` on.
  HWY_INLINE IntVector numbers(int64_t row, int64_t column) const {
    const IntVector high = plane_numbers<kHigh>(high_ + row * width_ * kHigh / 8, column);
    if constexpr (kLow == 0) {
      return high;
    } else {
      const IntVector low = plane_numbers<kLow>(low_ + row * width_ * kLow / 8, column);
      return hn::Or(hn::ShiftLeft<kLow>(high), low);
    }
  }
  const std::byte* scales() const { return high_ + kPageRows / 8 * width_ * bits; }

 private:
  const std::byte* high_;
  const std::byte* low_;
  int64_t width_;
};

template <int bits>
void open_channels(const std::byte* page, int64_t width, const Region& region,
                   const RegionFloats& to) {
  const Floats f;
  const SealedPlanes<bits> planes(page, width);
  const auto* scales = reinterpret_cast<const BFloat16*>(planes.scales());
  const BFloat16* middles = scales + width;  // not with 16 bits
  for (int64_t column = region.begin; column < region.end; column += kLanes) {
    const int64_t left = width - column;
    const Vector scale = left >= kLanes ? load(scales + column) : load_first(scales + column, left);
    Vector offset = hn::Zero(f);
    if constexpr (bits < 16) {
      const Vector middle =
          left >= kLanes ? load(middles + column) : load_first(middles + column, left);
      offset = hn::NegMulAdd(scale, hn::Set(f, static_cast<float>(planes.kBias)), middle);
    }
    float* out = to.data + column - region.begin;
    for (int64_t row = region.first; row < region.last; ++row, out += to.stride) {
      const Vector number = hn::ConvertTo(f, planes.numbers(row, column));
      const Vector value = bits == 16 ? hn::Mul(number, scale) : hn::MulAdd(number, scale, offset);
      hn::StoreU(value, f, out);
    }
  }
}

template <int bits>
void open_groups(const std::byte* page, int64_t width, const Region& region,
                 const RegionFloats& to) {
  const Floats f;
  const SealedPlanes<bits> planes(page, width);
  const int64_t groups = width / kGroupSize;
  const IntVector bias = hn::Set(Ints(), planes.kBias);
  for (int64_t row = region.first; row < region.last; ++row) {
    const auto* scales = reinterpret_cast<const BFloat16*>(planes.scales()) + row * 2 * groups;
    float* out = to.data + (row - region.first) * to.stride - region.begin;
    for (int64_t first = region.begin; first < region.end; first += kGroupSize) {
      const Vector scale = hn::Set(f, to_float(scales[first / kGroupSize]));
      const Vector middle = hn::Set(f, to_float(scales[groups + first / kGroupSize]));
      for (int64_t column = first; column < first + kGroupSize; column += kLanes) {
        const IntVector number = hn::Sub(planes.numbers(row, column), bias);
        hn::StoreU(hn::MulAdd(hn::ConvertTo(f, number), scale, middle), f, out + column);
      }
    }
  }
}

// region.begin is a multiple of 8; of kGroupSize for groups, which are decoded whole.
inline void open_sealed(const RowFormat& format, const std::byte* page, const Region& region,
                        const RegionFloats& to) {
  const auto open = [&](auto bits) {
    constexpr int kBits = decltype(bits)::value;
    if (format.scaling == Scaling::channel) {
      open_channels<kBits>(page, format.width, region, to);
    } else {
      open_groups<kBits>(page, format.width, region, to);
    }
  };
  switch (format.bits) {
    case 16:
      return open(std::integral_constant<int, 16>());
    case 12:
      return open(std::integral_constant<int, 12>());
    case 10:
      return open(std::integral_constant<int, 10>());
    case 8:
      return open(std::integral_constant<int, 8>());
    case 6:
      return open(std::integral_constant<int, 6>());
    case 5:
      return open(std::integral_constant<int, 5>());
    case 4:
      return open(std::integral_constant<int, 4>());
    default:
      check(false, "sealed rows have 4 to 16 bits");
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
