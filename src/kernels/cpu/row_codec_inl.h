// Rows to floats and back in vectors: decode_row, decode_sealed_row and encode_row of
// tensor/row_format.h, bit for bit (but for the payload of a decoded NaN). Included once per
// target, inside foreach_target.
//
// Encoding only where binary16 is converted in hardware, with the rounding of to_half: from AVX2
// on. Highway's emulation knows neither infinity nor NaN, so other targets take the plain loops.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_ROW_CODEC_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_ROW_CODEC_INL_H
#undef SLIM_KERNELS_CPU_ROW_CODEC_INL_H
#else
#define SLIM_KERNELS_CPU_ROW_CODEC_INL_H
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/lanes_inl.h"
#include "kernels/cpu/sealed_codec_inl.h"
#include "kernels/cpu/vector_math_inl.h"
#include "tensor/row_format.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

constexpr bool kVectorCodec =
    HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL;

// A vector no longer than a group of an i8 row, and its integers.
using GroupFloats = hn::CappedTag<float, kGroupSize>;
using GroupInts = hn::RebindToSigned<GroupFloats>;
using GroupBytes = hn::Rebind<int8_t, GroupFloats>;

// A region of i8 rows, in whole groups.
inline void decode_groups(const std::byte* page, const RowFormat& format, const Region& region,
                          const RegionFloats& to) {
  const GroupFloats f;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(f));
  const int64_t groups = format.width / kGroupSize;
  for (int64_t s = region.first; s < region.last; ++s) {
    const std::byte* row = page + s * format.bytes();
    const auto* bytes = reinterpret_cast<const int8_t*>(row);
    const auto* scales = reinterpret_cast<const BFloat16*>(row + format.width);
    float* out = to.data + (s - region.first) * to.stride - region.begin;
    for (int64_t first = region.begin; first < region.end; first += kGroupSize) {
      const auto scale = hn::Set(f, to_float(scales[first / kGroupSize]));
      const auto middle = hn::Set(f, to_float(scales[groups + first / kGroupSize]));
      for (int64_t i = first; i < first + kGroupSize; i += lanes) {
        const auto whole = hn::PromoteTo(GroupInts(), hn::LoadU(GroupBytes(), bytes + i));
        hn::StoreU(hn::MulAdd(hn::ConvertTo(f, whole), scale, middle), f, out + i);
      }
    }
  }
}

// A region of i16 rows.
inline void decode_integers(const std::byte* page, const RowFormat& format, const Region& region,
                            const RegionFloats& to) {
  const hn::Rebind<int16_t, Floats> halves;
  for (int64_t s = region.first; s < region.last; ++s) {
    const std::byte* row = page + s * format.bytes();
    const auto* integers = reinterpret_cast<const int16_t*>(row);
    float scale;
    std::memcpy(&scale, row + 2 * format.width, sizeof(scale));
    const Vector by = hn::Set(Floats(), scale);
    float* out = to.data + (s - region.first) * to.stride - region.begin;
    int64_t i = region.begin;
    for (; i + kLanes <= region.end; i += kLanes) {
      const auto whole = hn::PromoteTo(Ints(), hn::LoadU(halves, integers + i));
      hn::StoreU(hn::Mul(hn::ConvertTo(Floats(), whole), by), Floats(), out + i);
    }
    for (; i < region.end; ++i) out[i] = to_float(integers[i]) * scale;
  }
}

// A region of rows of T.
template <typename T>
void decode_elements(const std::byte* page, const RowFormat& format, const Region& region,
                     const RegionFloats& to) {
  for (int64_t s = region.first; s < region.last; ++s) {
    const T* row = reinterpret_cast<const T*>(page + s * format.bytes());
    float* out = to.data + (s - region.first) * to.stride - region.begin;
    int64_t i = region.begin;
    for (; i + kLanes <= region.end; i += kLanes) hn::StoreU(load(row + i), Floats(), out + i);
    const int64_t rest = region.end - i;
    if (rest > 0) store_first(load_first(row + i, rest), rest, out + i);
  }
}

// Columns that decode as one: a region begins at a multiple of these.
inline int64_t decode_grain(const RowFormat& format) {
  if (!format.sealed()) return format.type == DType::i8 ? kGroupSize : 1;
  return format.scaling == Scaling::group ? kGroupSize : 8;
}

// A region of a plane that begins at `page`; region.begin is a multiple of decode_grain. May write
// up to the end of the group, or of the vector, that region.end lies in.
inline void decode(const RowFormat& format, const std::byte* page, const Region& region,
                   const RegionFloats& to) {
  if (format.sealed()) return open_sealed(format, page, region, to);
  if (format.type == DType::i16) return decode_integers(page, format, region, to);
  visit(format.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (std::is_same_v<T, int8_t>) {
      decode_groups(page, format, region, to);
    } else {
      decode_elements<T>(page, format, region, to);
    }
  });
}

HWY_INLINE void store(Vector values, BFloat16* to) {
  const hn::RebindToUnsigned<Floats> u;
  const hn::Rebind<uint16_t, Floats> halves;
  const auto bits = hn::BitCast(u, values);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(upper, hn::Set(u, 1U));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(u, 0x7FFFU)), odd));
  const auto nan = hn::Or(upper, hn::Set(u, 64U));
  const auto stored = hn::IfThenElse(hn::RebindMask(u, hn::IsNaN(values)), nan, rounded);
  hn::StoreU(hn::TruncateTo(halves, stored), halves, reinterpret_cast<uint16_t*>(to));
}

HWY_INLINE void store(Vector values, Half* to) {
  const Floats f;
  const hn::Rebind<hwy::float16_t, Floats> halves;
  // to_half has one NaN of each sign, without payload; the instruction would keep the payload.
  const auto quiet = hn::BitCast(f, hn::Set(hn::RebindToUnsigned<Floats>(), 0x7FC00000U));
  const auto nan = hn::CopySignToAbs(quiet, values);
  const auto clean = hn::IfThenElse(hn::IsNaN(values), nan, values);
  hn::StoreU(hn::DemoteTo(halves, clean), halves, reinterpret_cast<hwy::float16_t*>(to));
}

// `one` is to_half or to_bfloat16.
template <typename T>
void encode_elements(const float* values, int64_t width, T (*one)(float), std::byte* row) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(Floats()));
  T* to = reinterpret_cast<T*>(row);
  int64_t i = 0;
  for (; i + lanes <= width; i += lanes) store(load(values + i), to + i);
  for (; i < width; ++i) to[i] = one(values[i]);
}

// False if a value is infinite or NaN: that is left to encode_row.
inline bool encode_groups(const float* values, int64_t width, std::byte* row) {
  const GroupFloats f;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(f));
  auto* bytes = reinterpret_cast<int8_t*>(row);
  auto* scales = reinterpret_cast<BFloat16*>(row + width);
  auto* middles = scales + width / kGroupSize;
  for (int64_t begin = 0; begin < width; begin += kGroupSize) {
    auto lowest = hn::Set(f, values[begin]);
    auto highest = lowest;
    auto finite = hn::Lt(hn::Abs(lowest), hn::Inf(f));
    for (int64_t i = begin; i < begin + kGroupSize; i += lanes) {
      const auto value = hn::LoadU(f, values + i);
      finite = hn::And(finite, hn::Lt(hn::Abs(value), hn::Inf(f)));
      lowest = hn::Min(lowest, value);
      highest = hn::Max(highest, value);
    }
    if (!hn::AllTrue(f, finite)) return false;
    const SharedScale shared = group_scale(hn::GetLane(hn::MinOfLanes(f, lowest)),
                                           hn::GetLane(hn::MaxOfLanes(f, highest)));
    scales[begin / kGroupSize] = shared.scale;
    middles[begin / kGroupSize] = shared.middle;
    // A group that is all at its middle has scale 0: any divisor gives its zeros.
    const auto step = hn::Set(f, shared.scale.bits == 0 ? 1.0F : to_float(shared.scale));
    const auto middle = hn::Set(f, to_float(shared.middle));
    for (int64_t i = begin; i < begin + kGroupSize; i += lanes) {
      const auto whole = hn::NearestInt(hn::Div(hn::Sub(hn::LoadU(f, values + i), middle), step));
      hn::StoreU(hn::DemoteTo(GroupBytes(), whole), GroupBytes(), bytes + i);
    }
  }
  return true;
}

// integer_scale() of `width` numbers.
inline float scale_of_integers(const float* values, int64_t width) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> f;
  constexpr int64_t kStep = hn::MaxLanes(d);
  constexpr int64_t kSums = kSquareParts / kStep;
  auto largest = hn::Zero(f);
  hn::Vec<decltype(d)> sums[kSums];
  for (auto& sum : sums) sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + kSquareParts <= width; i += kSquareParts) {
    for (int64_t v = 0; v < kSums; ++v) {
      const auto value = hn::LoadU(f, values + i + v * kStep);
      const auto wide = hn::PromoteTo(d, value);
      largest = hn::Max(largest, hn::Abs(value));
      sums[v] = hn::MulAdd(wide, wide, sums[v]);  // squares are exact
    }
  }
  double parts[kSquareParts];
  for (int64_t v = 0; v < kSums; ++v) hn::StoreU(sums[v], d, parts + v * kStep);
  float most = hn::GetLane(hn::MaxOfLanes(f, largest));
  for (; i < width; ++i) {
    const double value = values[i];
    parts[i % kSquareParts] += value * value;
    most = std::max(most, std::fabs(values[i]));
  }
  for (int64_t half = kSquareParts / 2; half > 0; half /= 2) {
    for (int64_t p = 0; p < half; ++p) parts[p] += parts[p + half];
  }
  return integer_scale(most, parts[0]);
}

// The integers of `width` numbers and their scale.
inline float round_to_integers(const float* values, int64_t width, int16_t* to) {
  const Floats f;
  const hn::Rebind<int16_t, Floats> halves;
  const float scale = scale_of_integers(values, width);
  if (!(scale > 0.0F)) {
    std::fill_n(to, width, int16_t{0});
    return scale;
  }
  const Vector step = hn::Set(f, scale);
  int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    const auto whole = hn::NearestInt(hn::Div(load(values + i), step));
    hn::StoreU(hn::DemoteTo(halves, whole), halves, to + i);
  }
  for (; i < width; ++i) to[i] = static_cast<int16_t>(std::nearbyintf(values[i] / scale));
  return scale;
}

inline void encode_integers(const RowFormat& format, const float* values, std::byte* row) {
  const int64_t end = 2 * format.width;
  const float scale = round_to_integers(values, format.width, reinterpret_cast<int16_t*>(row));
  std::memset(row + end, 0, static_cast<size_t>(format.bytes() - end));
  std::memcpy(row + end, &scale, sizeof(scale));
}

inline void encode(const RowFormat& format, const float* values, std::byte* row) {
  if constexpr (kVectorCodec) {
    const int64_t width = format.width;
    if (format.type == DType::f16) return encode_elements(values, width, to_half, row);
    if (format.type == DType::bf16) return encode_elements(values, width, to_bfloat16, row);
    if (format.type == DType::i8 && encode_groups(values, width, row)) return;
    if (format.type == DType::i16) return encode_integers(format, values, row);
  }
  encode_row(format, values, row);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
