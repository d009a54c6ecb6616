// Sealed pages in chunks: the numbers of those in rows, where row_format.h says they lie.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tensor/row_format.h"

namespace slim {
namespace {

using Floats = std::vector<float>;

std::vector<std::byte> sealed(const RowFormat& format, const Floats& rows) {
  std::vector<std::byte> page(static_cast<size_t>(format.page_bytes()), std::byte{0xA5});
  seal_page(format, rows.data(), nullptr, page.data());
  return page;
}

Floats round_trip(const RowFormat& format, const Floats& rows) {
  const std::vector<std::byte> page = sealed(format, rows);
  Floats read(rows.size());
  for (int64_t row = 0; row < kPageRows; ++row) {
    decode_sealed_row(format, page.data(), row, read.data() + row * format.width);
  }
  return read;
}

Floats uneven_rows(int64_t width) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  Floats rows(static_cast<size_t>(kPageRows * width));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i] = normal(random) * static_cast<float>(1 + i % static_cast<size_t>(width));
  }
  return rows;
}

RowFormat chunked_format(int64_t width, int bits, Scaling scaling = Scaling::channel) {
  return {DType::f32, width, bits, scaling, true};
}

// The same numbers in another order; a page is as long.
TEST(ChunkedFormat, HoldsTheSameNumbers) {
  for (const int bits : {16, 12, 10, 8}) {
    for (const int64_t width : {64, 72, 136, 520, 48}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << width << " columns");
      const RowFormat chunked = chunked_format(width, bits);
      RowFormat format = chunked;
      format.chunked = false;
      ASSERT_TRUE(chunked.valid());
      EXPECT_EQ(chunked.page_bytes(), format.page_bytes());
      const Floats rows = uneven_rows(width);
      EXPECT_EQ(round_trip(chunked, rows), round_trip(format, rows));
    }
  }
}

// Byte by byte: column 17 of 12 bits is the second of pair 8 of its chunks, row 3.
TEST(ChunkedFormat, LiesWhereTheHeaderSays) {
  const RowFormat format = chunked_format(64, 12);
  Floats rows(64 * 64, 0.0F);
  rows[3 * 64 + 17] = 2047.0F;
  rows[4 * 64 + 17] = -2047.0F;
  const std::vector<std::byte> page = sealed(format, rows);
  // The scale is 1, and 2047 is stored as 4095: high bits 255, low bits 15; -2047 as 1.
  EXPECT_EQ(page[(1 * 64 + 3) * 16 + 1], std::byte{0xFF});
  EXPECT_EQ(page[64 * 64 + 3 * 16 + 1] & std::byte{0xF0}, std::byte{0xF0});
  EXPECT_EQ(page[(1 * 64 + 4) * 16 + 1], std::byte{0x00});
  EXPECT_EQ(page[64 * 64 + 4 * 16 + 1] & std::byte{0xF0}, std::byte{0x10});
}

TEST(ChunkedFormat, IsForChannelsAndEightBitsOrMore) {
  EXPECT_TRUE(chunked_format(64, 8).valid());
  EXPECT_FALSE(chunked_format(64, 6).valid());
  EXPECT_FALSE(chunked_format(64, 12, Scaling::group).valid());
}

}  // namespace
}  // namespace slim
