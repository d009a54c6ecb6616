// Decoding of weights in registers, eight at a time: the numbers of tensor/weight_blocks.h and of
// the plain types, to the last bit (integers by plain value).
//
// The unit is a piece: eight elements as two quads of neighbours. The pieces of a row are numbered,
// and 32 of them, from a multiple of 32 on, are the work of a warp: its first quads lie side by
// side, and so do its second ones, so that what the warp loads at once is coalesced, of weights and
// of the activations beside them. In blocks quads lie where four bytes hold the halves of both.
#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace slim {

constexpr int kPiece = 8;

// Columns where the two quads of a piece begin.
struct PiecePlaces {
  int64_t first;
  int64_t second;
};

// A word from memory that is read once: it does not push out of the cache what is read again.
template <typename Word>
__device__ inline Word load_streamed(const std::byte* at) {
  Word word;
  if constexpr (sizeof(Word) == 16) {
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(word.x), "=r"(word.y), "=r"(word.z), "=r"(word.w)
        : "l"(at));
  } else if constexpr (sizeof(Word) == 8) {
    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
        : "=r"(word.x), "=r"(word.y)
        : "l"(at));
  } else {
    word = __ldg(reinterpret_cast<const Word*>(at));
  }
  return word;
}

// A word in units of T, whose alignment `at` has.
template <typename Word, typename T>
__device__ inline Word assemble(const std::byte* at) {
  constexpr int kUnits = sizeof(Word) / sizeof(T);
  Word word;
  T units[kUnits];
#pragma unroll
  for (int i = 0; i < kUnits; ++i) units[i] = __ldg(reinterpret_cast<const T*>(at) + i);
  __builtin_memcpy(&word, units, sizeof(word));
  return word;
}

__device__ inline float half_value(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}
template <int kByte>
__device__ inline float unsigned_byte(uint32_t word) {
  return static_cast<float>(static_cast<uint8_t>(word >> (8 * kByte)));
}
template <int kByte>
__device__ inline float signed_byte(uint32_t word) {
  return static_cast<float>(static_cast<int8_t>(word >> (8 * kByte)));
}

// Four values from the bytes of a word: scale * byte + added. Scale times byte is exact, so fusing
// the two does not change the result.
__device__ inline void scaled_bytes(uint32_t word, float scale, float added, float* values) {
  values[0] = fmaf(scale, unsigned_byte<0>(word), added);
  values[1] = fmaf(scale, unsigned_byte<1>(word), added);
  values[2] = fmaf(scale, unsigned_byte<2>(word), added);
  values[3] = fmaf(scale, unsigned_byte<3>(word), added);
}
// scale * (byte - middle), for small integers: both steps are exact.
__device__ inline void centred_bytes(uint32_t word, float scale, float middle, float* values) {
  values[0] = scale * (unsigned_byte<0>(word) - middle);
  values[1] = scale * (unsigned_byte<1>(word) - middle);
  values[2] = scale * (unsigned_byte<2>(word) - middle);
  values[3] = scale * (unsigned_byte<3>(word) - middle);
}

// WeightPieces<type>: places(piece, pieces) of a row of so many pieces; decode<kWide>(row, piece,
// places, values), where kWide promises the alignment kWideBytes of every row; and kParts: how many
// 16-bit numbers the sum of which is exactly a value, f16 ones if kHalves, else bf16. Plain types
// also have element(row, k).
template <DType kType>
struct WeightPieces;

// Types whose elements stand alone; Word holds four of them. Element is what lies in memory.
template <typename Element, typename Word>
struct PlainPieces {
  static constexpr int kWideBytes = sizeof(Word);

  static __device__ PiecePlaces places(int64_t piece, int64_t pieces) {
    const int64_t group = piece / 32 * 32;
    const int64_t first = group * kPiece + piece % 32 * 4;
    return {first, first + min(pieces - group, int64_t{32}) * 4};
  }
  template <bool kWide>
  static __device__ Word quad(const std::byte* row, int64_t place) {
    const std::byte* at = row + place * static_cast<int64_t>(sizeof(Element));
    if constexpr (kWide) return load_streamed<Word>(at);
    return assemble<Word, Element>(at);
  }
};

template <>
struct WeightPieces<DType::f32> : PlainPieces<uint32_t, uint4> {
  static constexpr int kParts = 3;
  static constexpr bool kHalves = false;
  static __device__ float element(const std::byte* row, int64_t k) {
    return __ldg(reinterpret_cast<const float*>(row) + k);
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t /*piece*/, const PiecePlaces& places,
                                float* values) {
    convert(quad<kWide>(row, places.first), values);
    convert(quad<kWide>(row, places.second), values + 4);
  }

 private:
  static __device__ void convert(const uint4& words, float* values) {
    values[0] = __uint_as_float(words.x);
    values[1] = __uint_as_float(words.y);
    values[2] = __uint_as_float(words.z);
    values[3] = __uint_as_float(words.w);
  }
};

template <>
struct WeightPieces<DType::f16> : PlainPieces<uint16_t, uint2> {
  static constexpr int kParts = 1;
  static constexpr bool kHalves = true;
  static __device__ float element(const std::byte* row, int64_t k) {
    return half_value(__ldg(reinterpret_cast<const uint16_t*>(row) + k));
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t /*piece*/, const PiecePlaces& places,
                                float* values) {
    convert(quad<kWide>(row, places.first), values);
    convert(quad<kWide>(row, places.second), values + 4);
  }

 private:
  static __device__ void convert(const uint2& words, float* values) {
    values[0] = half_value(words.x & 0xFFFFU);
    values[1] = half_value(words.x >> 16);
    values[2] = half_value(words.y & 0xFFFFU);
    values[3] = half_value(words.y >> 16);
  }
};

template <>
struct WeightPieces<DType::bf16> : PlainPieces<uint16_t, uint2> {
  static constexpr int kParts = 1;
  static constexpr bool kHalves = false;
  static __device__ float element(const std::byte* row, int64_t k) {
    return __uint_as_float(static_cast<uint32_t>(__ldg(reinterpret_cast<const uint16_t*>(row) + k))
                           << 16);
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t /*piece*/, const PiecePlaces& places,
                                float* values) {
    convert(quad<kWide>(row, places.first), values);
    convert(quad<kWide>(row, places.second), values + 4);
  }

 private:
  static __device__ void convert(const uint2& words, float* values) {
    values[0] = __uint_as_float(words.x << 16);
    values[1] = __uint_as_float(words.x & 0xFFFF0000U);
    values[2] = __uint_as_float(words.y << 16);
    values[3] = __uint_as_float(words.y & 0xFFFF0000U);
  }
};

template <>
struct WeightPieces<DType::i16> : PlainPieces<uint16_t, uint2> {
  static constexpr int kParts = 2;
  static constexpr bool kHalves = true;
  static __device__ float element(const std::byte* row, int64_t k) {
    return static_cast<float>(__ldg(reinterpret_cast<const int16_t*>(row) + k));
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t /*piece*/, const PiecePlaces& places,
                                float* values) {
    convert(quad<kWide>(row, places.first), values);
    convert(quad<kWide>(row, places.second), values + 4);
  }

 private:
  static __device__ void convert(const uint2& words, float* values) {
    values[0] = static_cast<float>(static_cast<int16_t>(words.x));
    values[1] = static_cast<float>(static_cast<int16_t>(words.x >> 16));
    values[2] = static_cast<float>(static_cast<int16_t>(words.y));
    values[3] = static_cast<float>(static_cast<int16_t>(words.y >> 16));
  }
};

template <>
struct WeightPieces<DType::i8> : PlainPieces<uint8_t, uint32_t> {
  static constexpr int kParts = 1;
  static constexpr bool kHalves = true;
  static __device__ float element(const std::byte* row, int64_t k) {
    return static_cast<float>(__ldg(reinterpret_cast<const signed char*>(row) + k));
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t /*piece*/, const PiecePlaces& places,
                                float* values) {
    convert(quad<kWide>(row, places.first), values);
    convert(quad<kWide>(row, places.second), values + 4);
  }

 private:
  static __device__ void convert(uint32_t word, float* values) {
    values[0] = signed_byte<0>(word);
    values[1] = signed_byte<1>(word);
    values[2] = signed_byte<2>(word);
    values[3] = signed_byte<3>(word);
  }
};

// Blocks whose size is an odd number of halfwords: they lie on even addresses at best.
struct HalfwordBlocks {
  static constexpr int kWideBytes = 2;
  template <bool kWide>
  static __device__ uint32_t word(const std::byte* at) {
    return assemble<uint32_t, std::conditional_t<kWide, uint16_t, uint8_t>>(at);
  }
  template <bool kWide>
  static __device__ float half(const std::byte* at) {
    return half_value(assemble<uint16_t, std::conditional_t<kWide, uint16_t, uint8_t>>(at));
  }
};

template <>
struct WeightPieces<DType::q8_0> : HalfwordBlocks {
  static constexpr int kParts = 3;
  static constexpr bool kHalves = false;
  static __device__ PiecePlaces places(int64_t piece, int64_t /*pieces*/) {
    return {piece * kPiece, piece * kPiece + 4};
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t piece, const PiecePlaces& /*places*/,
                                float* values) {
    const std::byte* block = row + piece / 4 * 34;
    const std::byte* at = block + 2 + piece % 4 * 8;
    const float scale = half<kWide>(block);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t bytes = word<kWide>(at + 4 * i);
      values[4 * i] = scale * signed_byte<0>(bytes);
      values[4 * i + 1] = scale * signed_byte<1>(bytes);
      values[4 * i + 2] = scale * signed_byte<2>(bytes);
      values[4 * i + 3] = scale * signed_byte<3>(bytes);
    }
  }
};

template <>
struct WeightPieces<DType::q4_0> : HalfwordBlocks {
  static constexpr int kParts = 2;  // 11 bits of scale, 4 of the integer: 15
  static constexpr bool kHalves = false;
  static __device__ PiecePlaces places(int64_t piece, int64_t /*pieces*/) {
    const int64_t first = piece / 4 * 32 + piece % 4 * 4;
    return {first, first + 16};
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t piece, const PiecePlaces& /*places*/,
                                float* values) {
    const std::byte* block = row + piece / 4 * 18;
    const float scale = half<kWide>(block);
    const uint32_t nibbles = word<kWide>(block + 2 + piece % 4 * 4);
    centred_bytes(nibbles & 0x0F0F0F0FU, scale, 8.0F, values);
    centred_bytes((nibbles >> 4) & 0x0F0F0F0FU, scale, 8.0F, values + 4);
  }
};

// q4_k and q5_k: eight runs of 32 elements, each with six bits of scale and six of minimum.
struct RunBlocks {
  static constexpr int kParts = 3;
  static constexpr bool kHalves = false;
  static constexpr int kWideBytes = 16;

  static __device__ PiecePlaces places(int64_t piece, int64_t /*pieces*/) {
    const int64_t first = piece / 32 * 256 + piece % 32 / 8 * 64 + piece % 8 * 4;
    return {first, first + 32};
  }
  template <bool kWide, typename Word>
  static __device__ Word word(const std::byte* at) {
    return assemble<Word, std::conditional_t<kWide, Word, uint8_t>>(at);
  }
  // The scales and minima of the runs 2 * pair and 2 * pair + 1, from the first 16 bytes.
  struct Scales {
    float scale[2];
    float minimum[2];  // negated
  };
  static __device__ Scales scales(const uint4& header, int pair) {
    const int shift = pair % 2 * 16;
    const uint32_t low = header.y >> shift;
    const uint32_t middle = header.z >> shift;
    const uint32_t high = header.w >> shift;
    const uint32_t scale = pair < 2 ? low & 0x3F3FU : (high & 0x0F0FU) | ((low >> 2) & 0x3030U);
    const uint32_t minimum =
        pair < 2 ? middle & 0x3F3FU : ((high >> 4) & 0x0F0FU) | ((middle >> 2) & 0x3030U);
    const float d = half_value(header.x & 0xFFFFU);
    const float m = -half_value(header.x >> 16);
    return {{d * unsigned_byte<0>(scale), d * unsigned_byte<1>(scale)},
            {m * unsigned_byte<0>(minimum), m * unsigned_byte<1>(minimum)}};
  }
};

template <>
struct WeightPieces<DType::q4_k> : RunBlocks {
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t piece, const PiecePlaces& /*places*/,
                                float* values) {
    const std::byte* block = row + piece / 32 * 144;
    const auto within = static_cast<int>(piece % 32);
    const auto nibbles = word<kWide, uint32_t>(block + 16 + within * 4);
    const Scales own = scales(word<kWide, uint4>(block), within / 8);
    scaled_bytes(nibbles & 0x0F0F0F0FU, own.scale[0], own.minimum[0], values);
    scaled_bytes((nibbles >> 4) & 0x0F0F0F0FU, own.scale[1], own.minimum[1], values + 4);
  }
};

template <>
struct WeightPieces<DType::q5_k> : RunBlocks {
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t piece, const PiecePlaces& /*places*/,
                                float* values) {
    const std::byte* block = row + piece / 32 * 176;
    const auto within = static_cast<int>(piece % 32);
    const int pair = within / 8;
    const auto nibbles = word<kWide, uint32_t>(block + 48 + within * 4);
    // Byte i holds a bit for element i of each run.
    const uint32_t fifth = word<kWide, uint32_t>(block + 16 + within % 8 * 4) >> (2 * pair);
    const Scales own = scales(word<kWide, uint4>(block), pair);
    scaled_bytes((nibbles & 0x0F0F0F0FU) | ((fifth & 0x01010101U) << 4), own.scale[0],
                 own.minimum[0], values);
    scaled_bytes(((nibbles >> 4) & 0x0F0F0F0FU) | (((fifth >> 1) & 0x01010101U) << 4), own.scale[1],
                 own.minimum[1], values + 4);
  }
};

// A half of 128 elements has 64 bytes of nibbles, which hold elements e and e + 64, and 32 bytes of
// pairs, which hold elements e, e + 32, e + 64 and e + 96.
template <>
struct WeightPieces<DType::q6_k> : HalfwordBlocks {
  static constexpr int kParts = 3;
  static constexpr bool kHalves = false;
  static __device__ PiecePlaces places(int64_t piece, int64_t /*pieces*/) {
    const int64_t first = piece / 16 * 128 + piece % 16 * 4;
    return {first, first + 64};
  }
  template <bool kWide>
  static __device__ void decode(const std::byte* row, int64_t piece, const PiecePlaces& /*places*/,
                                float* values) {
    const std::byte* block = row + piece / 32 * 210;
    const auto half_index = static_cast<int>(piece % 32 / 16);
    const auto within = static_cast<int>(piece % 16);
    const uint32_t nibbles = word<kWide>(block + half_index * 64 + within * 4);
    const uint32_t pairs =
        word<kWide>(block + 128 + half_index * 32 + within % 8 * 4) >> (within / 8 * 2);
    const auto* scales =
        reinterpret_cast<const signed char*>(block + 192 + half_index * 8 + within / 4);
    const float scale = half<kWide>(block + 208);
    centred_bytes((nibbles & 0x0F0F0F0FU) | ((pairs & 0x03030303U) << 4),
                  scale * static_cast<float>(__ldg(scales)), 32.0F, values);
    centred_bytes(((nibbles >> 4) & 0x0F0F0F0FU) | (((pairs >> 4) & 0x03030303U) << 4),
                  scale * static_cast<float>(__ldg(scales + 4)), 32.0F, values + 4);
  }
};

// Calls f(std::integral_constant<DType, type>{}) for a type of weights.
template <typename Function>
void visit_weight(DType type, Function&& f) {
  switch (type) {
    case DType::f32:
      return f(std::integral_constant<DType, DType::f32>{});
    case DType::f16:
      return f(std::integral_constant<DType, DType::f16>{});
    case DType::bf16:
      return f(std::integral_constant<DType, DType::bf16>{});
    case DType::i8:
      return f(std::integral_constant<DType, DType::i8>{});
    case DType::i16:
      return f(std::integral_constant<DType, DType::i16>{});
    case DType::q8_0:
      return f(std::integral_constant<DType, DType::q8_0>{});
    case DType::q4_0:
      return f(std::integral_constant<DType, DType::q4_0>{});
    case DType::q4_k:
      return f(std::integral_constant<DType, DType::q4_k>{});
    case DType::q5_k:
      return f(std::integral_constant<DType, DType::q5_k>{});
    case DType::q6_k:
      return f(std::integral_constant<DType, DType::q6_k>{});
    case DType::i32:
      break;
  }
  fail_visit(type);
}

// Whether every row of a matrix starts at a multiple of `bytes`.
inline bool rows_aligned(const ConstMatrix& matrix, int64_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(matrix.data);
  return address % static_cast<uintptr_t>(bytes) == 0 &&
         (matrix.rows <= 1 || bytes_of(matrix.type, matrix.stride) % bytes == 0);
}

}  // namespace slim
