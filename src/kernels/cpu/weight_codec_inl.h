// Weights as floats, in the order of their columns: loads of integers beside those of
// vector_math_inl.h, and whole blocks of GGUF's types (tensor/weight_blocks.h has the layouts).
// Included once per target, inside foreach_target.
//
// Decoded blocks are those of decode_blocks to the last bit: scale times integer fits 24 bits, so
// only the subtraction of a minimum rounds, and with a multiply-add it does so once as well.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_WEIGHT_CODEC_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_WEIGHT_CODEC_INL_H
#undef SLIM_KERNELS_CPU_WEIGHT_CODEC_INL_H
#else
#define SLIM_KERNELS_CPU_WEIGHT_CODEC_INL_H
#endif

#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/vector_math_inl.h"
#include "tensor/tensor.h"
#include "tensor/weight_blocks.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

using Ints = hn::RebindToSigned<Floats>;
using Words = hn::RebindToUnsigned<Floats>;

template <typename T>
HWY_INLINE Vector load_integers(const T* at) {
  const hn::Rebind<T, Floats> stored;
  return hn::ConvertTo(Floats(), hn::PromoteTo(Ints(), hn::LoadU(stored, at)));
}
HWY_INLINE Vector load(const int8_t* at) { return load_integers(at); }
HWY_INLINE Vector load(const int16_t* at) { return load_integers(at); }

// visit_weight() with the integers, whose scales are the caller's business.
template <typename Function>
void visit_plain_weight(DType type, Function&& f) {
  if (type == DType::i8) return f(static_cast<const int8_t*>(nullptr));
  if (type == DType::i16) return f(static_cast<const int16_t*>(nullptr));
  visit_weight(type, f);
}

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

inline void decode_weights(const ConstMatrix& weight, int64_t row, int64_t begin, int64_t count,
                           float* out) {
  decode_blocks(weight.type, weight.row_bytes(row) + bytes_of(weight.type, begin), count, out);
}

#else

HWY_INLINE float half_at(const std::byte* at) {
  const hn::CappedTag<float, 1> one;
  const hn::Rebind<hwy::float16_t, hn::CappedTag<float, 1> > stored;
  const auto half = hn::LoadU(stored, reinterpret_cast<const hwy::float16_t*>(at));
  return hn::GetLane(hn::PromoteTo(one, half));
}

// The eight scales and minima of a q4_k or q5_k block, multiplied out.
using Eight = hn::FixedTag<float, 8>;
struct RunScales {
  hn::Vec<Eight> scales;
  hn::Vec<Eight> minima;
};
HWY_INLINE RunScales run_scales(const std::byte* block) {
  // Twelve bytes: the lower six bits of 0..3 hold scales 0..3, of 4..7 minima 0..3; 8..11 hold the
  // lower four bits of scales 4..7 (low nibbles) and minima 4..7, whose upper two lie on top of
  // bytes 0..3 and 4..7.
  uint32_t words[3];
  std::memcpy(words, block + 4, sizeof(words));
  const auto join = [](uint32_t first, uint32_t nibbles) {
    const uint32_t second = (nibbles & 0x0F0F0F0FU) | ((first >> 2) & 0x30303030U);
    return (static_cast<uint64_t>(second) << 32) | (first & 0x3F3F3F3FU);
  };
  const auto expand = [](uint64_t bytes, const std::byte* factor) HWY_ATTR {
    const hn::CappedTag<uint64_t, 1> one;
    const hn::Rebind<uint8_t, Eight> stored;
    const auto whole =
        hn::PromoteTo(hn::RebindToSigned<Eight>(), hn::BitCast(stored, hn::Set(one, bytes)));
    return hn::Mul(hn::ConvertTo(Eight(), whole), hn::Set(Eight(), half_at(factor)));
  };
  return {expand(join(words[0], words[2]), block),
          expand(join(words[1], words[2] >> 4), block + 2)};
}

// Integers of a block before their scales, as bytes in a buffer.
using Chunk = hn::FixedTag<uint8_t, 32>;
HWY_INLINE auto load_chunk(const std::byte* at) {
  return hn::LoadU(Chunk(), reinterpret_cast<const uint8_t*>(at));
}
HWY_INLINE auto low_nibbles(hn::Vec<Chunk> chunk) {
  return hn::And(chunk, hn::Set(Chunk(), uint8_t{15}));
}
HWY_INLINE auto high_nibbles(hn::Vec<Chunk> chunk) {
  const hn::Repartition<uint16_t, Chunk> pairs;
  return low_nibbles(hn::BitCast(Chunk(), hn::ShiftRight<4>(hn::BitCast(pairs, chunk))));
}
// Bits [first, first + 2) of each byte, those in `mask`, as bits 4 and 5.
HWY_INLINE auto upper_bits(hn::Vec<Chunk> chunk, int first, uint8_t mask) {
  const hn::Repartition<uint16_t, Chunk> pairs;
  const auto moved = hn::BitCast(Chunk(), hn::ShiftRightSame(hn::BitCast(pairs, chunk), first));
  const auto kept = hn::BitCast(pairs, hn::And(moved, hn::Set(Chunk(), mask)));
  return hn::BitCast(Chunk(), hn::ShiftLeft<4>(kept));
}

// out = scale * bytes (- minimum), of a run that shares them.
template <int count, typename Byte>
HWY_INLINE void scale_run(const Byte* bytes, float scale, float minimum, float* out) {
  using Tag = hn::CappedTag<float, 16>;
  const Tag f;
  for (int i = 0; i < count; i += static_cast<int>(hn::MaxLanes(f))) {
    const auto whole =
        hn::PromoteTo(hn::RebindToSigned<Tag>(), hn::LoadU(hn::Rebind<Byte, Tag>(), bytes + i));
    const auto value = hn::ConvertTo(f, whole);
    const auto factor = hn::Set(f, scale);
    const auto scaled = std::is_signed_v<Byte> ? hn::Mul(value, factor)
                                               : hn::MulSub(value, factor, hn::Set(f, minimum));
    hn::StoreU(scaled, f, out + i);
  }
}

inline void decode_q8_0(const std::byte* block, float* out) {
  scale_run<32>(reinterpret_cast<const int8_t*>(block + 2), half_at(block), 0.0F, out);
}

inline void decode_q4_0(const std::byte* block, float* out) {
  const hn::FixedTag<uint8_t, 16> b;
  const hn::Repartition<uint16_t, decltype(b)> pairs;
  const auto bytes = hn::LoadU(b, reinterpret_cast<const uint8_t*>(block + 2));
  const auto high = hn::BitCast(b, hn::ShiftRight<4>(hn::BitCast(pairs, bytes)));
  HWY_ALIGN uint8_t integers[32];
  const auto put = [&](auto nibbles, uint8_t* to) HWY_ATTR {
    const auto low = hn::And(nibbles, hn::Set(b, uint8_t{15}));
    hn::Store(hn::Sub(low, hn::Set(b, uint8_t{8})), b, to);
  };
  put(bytes, integers);
  put(high, integers + 16);
  scale_run<32>(reinterpret_cast<const int8_t*>(integers), half_at(block), 0.0F, out);
}

template <bool fifth_bit>
inline void decode_k(const std::byte* block, float* out) {
  const RunScales runs = run_scales(block);
  HWY_ALIGN float scales[8];
  HWY_ALIGN float minima[8];
  hn::Store(runs.scales, Eight(), scales);
  hn::Store(runs.minima, Eight(), minima);
  const std::byte* nibbles = block + 16 + (fifth_bit ? 32 : 0);
  const auto fifths = load_chunk(block + 16);  // of q5_k
  for (int run = 0; run < 8; run += 2, nibbles += 32) {
    const auto chunk = load_chunk(nibbles);
    auto low = low_nibbles(chunk);
    auto high = high_nibbles(chunk);
    if constexpr (fifth_bit) {
      low = hn::Or(low, upper_bits(fifths, run, 1));
      high = hn::Or(high, upper_bits(fifths, run + 1, 1));
    }
    HWY_ALIGN uint8_t integers[64];
    hn::Store(low, Chunk(), integers);
    hn::Store(high, Chunk(), integers + 32);
    scale_run<32>(integers, scales[run], minima[run], out + run * 32);
    scale_run<32>(integers + 32, scales[run + 1], minima[run + 1], out + run * 32 + 32);
  }
}

inline void decode_q6_k(const std::byte* block, float* out) {
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
  const float factor = half_at(block + 208);
  for (int half = 0; half < 2; ++half) {
    const auto first = load_chunk(block + half * 64);
    const auto second = load_chunk(block + half * 64 + 32);
    const auto upper = load_chunk(block + 128 + half * 32);
    HWY_ALIGN uint8_t integers[128];
    const auto put = [&](auto nibbles, int quarter) HWY_ATTR {
      const auto whole = hn::Or(nibbles, upper_bits(upper, 2 * quarter, 3));
      hn::Store(hn::Sub(whole, hn::Set(Chunk(), uint8_t{32})), Chunk(), integers + quarter * 32);
    };
    put(low_nibbles(first), 0);
    put(low_nibbles(second), 1);
    put(high_nibbles(first), 2);
    put(high_nibbles(second), 3);
    for (int run = 0; run < 8; ++run) {
      const float scale = factor * static_cast<float>(scales[half * 8 + run]);
      scale_run<16>(reinterpret_cast<const int8_t*>(integers) + run * 16, scale, 0.0F,
                    out + half * 128 + run * 16);
    }
  }
}

// Columns [begin, begin + count) of a row, whole blocks of them.
inline void decode_weights(const ConstMatrix& weight, int64_t row, int64_t begin, int64_t count,
                           float* out) {
  const BlockShape shape = block_of(weight.type);
  const std::byte* block = weight.row_bytes(row) + bytes_of(weight.type, begin);
  const auto run = [&](auto decode) HWY_ATTR {
    for (int64_t k = 0; k < count; k += shape.elements, block += shape.bytes) {
      decode(block, out + k);
    }
  };
  switch (weight.type) {
    case DType::q8_0:
      return run(decode_q8_0);
    case DType::q4_0:
      return run(decode_q4_0);
    case DType::q4_k:
      return run(decode_k<false>);
    case DType::q5_k:
      return run(decode_k<true>);
    case DType::q6_k:
      return run(decode_q6_k);
    default:
      check(false, "blocks are decoded of block types");
  }
}

#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
