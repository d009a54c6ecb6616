// Block types: the numbers an independent implementation gives, bit for bit, and tensors of them.
// Golden data: tools/make_golden_gguf.py.
#include "tensor/weight_blocks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "error_matchers.h"
#include "tensor/tensor.h"

namespace slim {
namespace {

constexpr DType kBlockTypes[] = {DType::q8_0, DType::q4_0, DType::q4_k, DType::q5_k, DType::q6_k};

template <typename T>
std::vector<T> from_hexadecimal(const std::string& text) {
  std::vector<T> values(text.size() / 2 / sizeof(T));
  auto* bytes = reinterpret_cast<unsigned char*>(values.data());
  for (size_t i = 0; i < text.size() / 2; ++i) {
    bytes[i] = static_cast<unsigned char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return values;
}

struct Golden {
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

Golden golden_of(DType type) {
  std::ifstream file(SLIM_TEST_DATA "/golden/gguf/blocks.json");
  const auto fields = nlohmann::json::parse(file).at(std::string(name_of(type)));
  return {from_hexadecimal<std::byte>(fields.at("blocks")),
          from_hexadecimal<float>(fields.at("values"))};
}

// Every product is exact and the one difference is rounded once, so bits must agree.
TEST(WeightBlocks, AreTheNumbersOfAnotherImplementation) {
  for (const DType type : kBlockTypes) {
    const auto [blocks, expected] = golden_of(type);
    ASSERT_EQ(static_cast<int64_t>(blocks.size()),
              bytes_of(type, static_cast<int64_t>(expected.size())));
    ASSERT_GE(expected.size(), 96U);
    std::vector<float> values(expected.size());
    decode_blocks(type, blocks.data(), static_cast<int64_t>(values.size()), values.data());
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected[i]))
          << name_of(type) << " element " << i << ": " << values[i] << ", " << expected[i];
    }
  }
}

TEST(WeightBlocks, AreReadWhereverTheyLie) {
  for (const DType type : kBlockTypes) {
    const auto [blocks, expected] = golden_of(type);
    std::vector<std::byte> shifted(blocks.size() + 1);
    std::memcpy(shifted.data() + 1, blocks.data(), blocks.size());
    std::vector<float> values(expected.size());
    decode_blocks(type, shifted.data() + 1, static_cast<int64_t>(values.size()), values.data());
    EXPECT_EQ(values, expected) << name_of(type);
  }
}

TEST(WeightBlocks, KeepNotANumber) {
  std::vector<std::byte> block(34, std::byte{1});
  block[0] = std::byte{0x00};
  block[1] = std::byte{0x7E};  // binary16's NaN
  float values[32] = {};
  decode_blocks(DType::q8_0, block.data(), 32, values);
  EXPECT_NE(values[0], values[0]);
  EXPECT_NE(values[31], values[31]);
}

TEST(WeightBlocks, AreWhole) {
  float values[64];
  const std::byte blocks[64] = {};
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"whole blocks"},
                         [&] { decode_blocks(DType::q4_0, blocks, 33, values); }));
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"block types"},
                         [&] { decode_blocks(DType::f16, blocks, 32, values); }));
  EXPECT_NO_THROW(decode_blocks(DType::q4_0, blocks, 0, values));
}

TEST(WeightBlocks, MakeTensors) {
  for (const DType type : kBlockTypes) {
    const auto [blocks, expected] = golden_of(type);
    const int64_t columns = block_of(type).elements;
    const auto rows = static_cast<int64_t>(expected.size()) / columns;
    const Tensor tensor = Tensor::borrow(nullptr, blocks, type, {rows, columns});
    EXPECT_EQ(tensor.bytes(), static_cast<int64_t>(blocks.size()));
    const Tensor floats = tensor.to_f32();
    EXPECT_EQ(floats.shape(), tensor.shape());
    EXPECT_EQ(
        std::vector<float>(floats.values<float>(), floats.values<float>() + floats.elements()),
        expected);
    EXPECT_EQ(tensor.slice(1, 2).data(), blocks.data() + block_of(type).bytes);
    EXPECT_EQ(tensor.slice(1, 2).to_f32().values<float>()[0],
              expected[static_cast<size_t>(columns)]);
    EXPECT_EQ(tensor.matrix().row_bytes(2), blocks.data() + 2 * block_of(type).bytes);
    EXPECT_EQ(tensor.reshape({columns * rows}).slice(columns, columns).data(),
              blocks.data() + block_of(type).bytes);
  }
}

TEST(WeightBlocks, AreNeverCutByATensor) {
  const std::vector<std::byte> blocks(36);
  const Tensor tensor = Tensor::borrow(nullptr, blocks, DType::q4_0, {64});
  const auto cut = [](auto&& action) {
    return fails_with(ErrorCode::internal, {"whole blocks"}, action);
  };
  EXPECT_TRUE(cut([&] { tensor.slice(16, 32); }));
  EXPECT_TRUE(cut([&] { tensor.slice(0, 48); }));
  EXPECT_TRUE(cut([&] { tensor.reshape({4, 16}); }));
  EXPECT_TRUE(cut([&] { Tensor::borrow(nullptr, blocks, DType::q4_0, {4, 16}); }));
  EXPECT_TRUE(cut([&] { Tensor::allocate(host_device(), DType::q4_k, {2, 128}); }));
  EXPECT_TRUE(cut([&] { Tensor::allocate(host_device(), DType::q4_k, {}); }));
}

}  // namespace
}  // namespace slim
