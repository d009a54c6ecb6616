// A block at a time, whatever lies in front of its nibbles.
#include "weights/ggml_blocks.h"

#include <cstring>

namespace slim {
namespace {

constexpr int64_t kBlock = 32;

struct Layout {
  size_t minimum;  // bytes of m: 2 or 0
  size_t fifth;    // bytes of h: 4 or 0
  int64_t bytes() const { return static_cast<int64_t>(2 + minimum + fifth + 16); }
};

constexpr Layout layout_of(GgmlBlocks type) {
  switch (type) {
    case GgmlBlocks::q4_1:
      return {2, 0};
    case GgmlBlocks::q5_0:
      return {0, 4};
    default:
      return {2, 4};
  }
}

float half_at(const std::byte* bytes) {
  Half half;
  std::memcpy(&half, bytes, sizeof(half));
  return to_float(half);
}

void unpack_block(const Layout& layout, const std::byte* block, float* values) {
  const float scale = half_at(block);
  const float minimum = layout.minimum > 0 ? half_at(block + 2) : 0.0F;
  uint32_t fifth = 0;
  std::memcpy(&fifth, block + 2 + layout.minimum, layout.fifth);
  const std::byte* const nibbles = block + 2 + layout.minimum + layout.fifth;
  const int middle = layout.minimum > 0 ? 0 : 16;
  for (size_t i = 0; i < kBlock; ++i) {
    const auto byte = std::to_integer<uint32_t>(nibbles[i % 16]);
    const uint32_t low = i < 16 ? byte & 15U : byte >> 4;
    const uint32_t whole = low | ((fifth >> i) & 1U) << 4;
    values[i] = scale * static_cast<float>(static_cast<int>(whole) - middle) + minimum;
  }
}

}  // namespace

int64_t checked_block_bytes(const WeightsFile& file, const std::string& name, GgmlBlocks type,
                            const std::vector<int64_t>& shape) {
  // As f32 none of the products overflows; as blocks it has fewer bytes.
  const int64_t floats = checked_bytes(file.path, name, DType::f32, shape);
  if (shape.empty() || shape.back() % kBlock != 0) {
    fail_tensor(file.path, name, "is of blocks of 32, but its rows are no multiple of that");
  }
  return floats / size_of(DType::f32) / kBlock * layout_of(type).bytes();
}

Tensor unpack_blocks(GgmlBlocks type, std::span<const std::byte> bytes,
                     const std::vector<int64_t>& shape) {
  Tensor tensor = Tensor::allocate(host_device(), DType::f32, shape);
  const Layout layout = layout_of(type);
  const int64_t blocks = tensor.elements() / kBlock;
  for (int64_t i = 0; i < blocks; ++i) {
    unpack_block(layout, bytes.data() + i * layout.bytes(), tensor.writable<float>() + i * kBlock);
  }
  return tensor;
}

}  // namespace slim
