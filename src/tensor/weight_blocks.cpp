// Decoding of GGUF's blocks, as weight_blocks.h lays them out. Every product of a scale and a
// stored integer has at most 24 significant bits, so it is exact in binary32; minima are then
// subtracted with one rounding. The result therefore does not depend on how a device orders or
// fuses it.
#include "tensor/weight_blocks.h"

#include <cstring>

#include "base/check.h"

namespace slim {
namespace {

float load_half(const std::byte* at) {
  Half value;
  std::memcpy(&value, at, sizeof value);
  return to_float(value);
}

int unsigned_at(const std::byte* bytes, int index) { return std::to_integer<int>(bytes[index]); }
int signed_at(const std::byte* bytes, int index) {
  return static_cast<int8_t>(std::to_integer<uint8_t>(bytes[index]));
}

void decode_q8_0(const std::byte* block, float* values) {
  const float scale = load_half(block);
  for (int i = 0; i < 32; ++i) values[i] = scale * static_cast<float>(signed_at(block + 2, i));
}

void decode_q4_0(const std::byte* block, float* values) {
  const float scale = load_half(block);
  for (int i = 0; i < 16; ++i) {
    const int byte = unsigned_at(block + 2, i);
    values[i] = scale * static_cast<float>((byte & 15) - 8);
    values[i + 16] = scale * static_cast<float>((byte >> 4) - 8);
  }
}

struct ScaleAndMinimum {
  int scale;
  int minimum;
};

// Run 0 to 7. The twelve bytes hold the low six bits of runs 0 to 3 (scales, then minima), whose
// upper two bits belong to runs 4 to 7; the last four bytes hold the low four bits of those.
ScaleAndMinimum unpack_run(const std::byte* packed, int run) {
  const auto at = [&](int index) { return unsigned_at(packed, index); };
  if (run < 4) return {at(run) & 63, at(run + 4) & 63};
  return {(at(run + 4) & 15) | ((at(run - 4) >> 6) << 4),
          (at(run + 4) >> 4) | ((at(run) >> 6) << 4)};
}

// q4_k, and with `fifth` (the byte i holds a bit for element i of each run) q5_k.
void decode_runs(const std::byte* block, const std::byte* fifth, const std::byte* nibbles,
                 float* values) {
  const float scale = load_half(block);
  const float minimum = load_half(block + 2);
  for (int run = 0; run < 8; ++run) {
    const ScaleAndMinimum own = unpack_run(block + 4, run);
    const float run_scale = scale * static_cast<float>(own.scale);
    const float run_minimum = minimum * static_cast<float>(own.minimum);
    for (int i = 0; i < 32; ++i) {
      // Two runs share 32 bytes: the even one has the low nibbles.
      int stored = (unsigned_at(nibbles, run / 2 * 32 + i) >> (run % 2 * 4)) & 15;
      if (fifth != nullptr) stored |= ((unsigned_at(fifth, i) >> run) & 1) << 4;
      *values++ = run_scale * static_cast<float>(stored) - run_minimum;
    }
  }
}

void decode_q6_k(const std::byte* block, float* values) {
  const std::byte* nibbles = block;
  const std::byte* pairs = block + 128;
  const std::byte* scales = block + 192;
  const float scale = load_half(block + 208);
  for (int i = 0; i < 256; ++i) {
    // Each half of 128 elements has 64 bytes of nibbles, which hold elements e and e + 64, and 32
    // bytes of pairs, which hold elements e, e + 32, e + 64 and e + 96.
    const int half = i / 128;
    const int e = i % 128;
    const int low = (unsigned_at(nibbles, half * 64 + e % 64) >> (e / 64 * 4)) & 15;
    const int high = (unsigned_at(pairs, half * 32 + e % 32) >> (e / 32 * 2)) & 3;
    const float run_scale = scale * static_cast<float>(signed_at(scales, i / 16));
    values[i] = run_scale * static_cast<float>((low | (high << 4)) - 32);
  }
}

void decode_block(DType type, const std::byte* block, float* values) {
  switch (type) {
    case DType::q8_0:
      return decode_q8_0(block, values);
    case DType::q4_0:
      return decode_q4_0(block, values);
    case DType::q4_k:
      return decode_runs(block, nullptr, block + 16, values);
    case DType::q5_k:
      return decode_runs(block, block + 16, block + 48, values);
    case DType::q6_k:
      return decode_q6_k(block, values);
    default:
      fail_visit(type);
  }
}

}  // namespace

void decode_blocks(DType type, const std::byte* blocks, int64_t elements, float* values) {
  check(is_block_type(type), "only block types are decoded");
  const BlockShape shape = block_of(type);
  check(elements % shape.elements == 0, "decoded elements are whole blocks");
  for (int64_t i = 0; i < elements; i += shape.elements) {
    decode_block(type, blocks + bytes_of(type, i), values + i);
  }
}

}  // namespace slim
