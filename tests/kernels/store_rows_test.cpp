// store_rows writes exactly the bytes of encode_row, and no others.
#include <bit>
#include <cstring>
#include <random>

#include "fmt/format.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

// Any bits at all (NaN with payload, infinity, subnormals and every exponent), but in runs of 32
// that are of one kind, so that i8 groups meet each kind alone as well as mixed.
TestMatrix any_floats(int64_t rows, int64_t columns) {
  std::mt19937 source(11);
  uint32_t place = 0;
  return TestMatrix(DType::f32, rows, columns, 3).map([&](float) {
    const uint32_t bits = source();
    const float plain = static_cast<float>(bits >> 8) * 0x1p-23F - 1.0F;
    switch (place++ / 32 % 8) {
      case 0:
        return std::bit_cast<float>(bits);
      case 1:
        return std::bit_cast<float>(bits & 0x80FFFFFFU);  // subnormal, or close
      case 2:
        return std::bit_cast<float>((bits & 0x807FFFFFU) | 0x7F000000U);  // the largest there are
      case 3:
        return bits % 32 == 0 ? std::bit_cast<float>(0x7F800000U | (bits & 0x80000000U)) : plain;
      case 4:
        return bits % 32 == 0 ? std::bit_cast<float>(bits | 0x7FC00000U) : plain;
      case 5:
        return std::bit_cast<float>((bits & 0x80003FFFU) | 0x38800000U);  // where f16 is subnormal
      case 6:
        return bits % 4 == 0 ? 0.0F : std::bit_cast<float>(bits & 0x80000000U);
      default:
        return static_cast<float>(bits % 255) -
               127.0F;  // halves of the step, if 254 is the largest
    }
  });
}

class StoreRowsParity : public ParityTest {
 protected:
  struct Part {
    int64_t count, rows;
  };

  void expect_exact(const RowFormat& format, const TestMatrix& x, std::span<const Part> parts) {
    const RowFormat formats[] = {{DType::f32, 5}, format, {DType::f16, 3}};
    std::vector<PagedRows> actual, expected;
    std::vector<Slice> slices;
    int64_t first = 1;
    for (const Part& part : parts) {
      actual.emplace_back(formats, part.rows);
      expected.emplace_back(formats, part.rows);
      slices.push_back(actual.back().slice(first, part.count));
      for (int64_t i = 0; i < part.count; ++i) {
        expected.back().set_row(1, part.rows - part.count + i, x.view().row<float>(first + i));
      }
      first += part.count;
    }
    kernels_->store_rows({x.view(), actual.front().plane(1), slices});
    for (size_t i = 0; i < actual.size(); ++i) {
      for (int64_t page = 0; page * kPageRows < actual[i].rows(); ++page) {
        EXPECT_EQ(std::memcmp(actual[i].pages()[page], expected[i].pages()[page],
                              static_cast<size_t>(actual[i].page_bytes())),
                  0)
            << fmt::format("{} rows of {}, sequence {}, page {}", name_of(format.type),
                           format.width, i, page);
      }
    }
  }
};

TEST_P(StoreRowsParity, WritesTheBytesOfEncodeRow) {
  constexpr Part kParts[] = {{1, 1}, {1, 64}, {1, 65}, {0, 3}, {7, 66}, {70, 70}, {33, 150}};
  for (const DType type : kRowTypes) {
    if (!has_rows(*kernels_, type)) continue;
    for (const int64_t width : {1, 2, 7, 31, 32, 33, 64, 65, 96, 100, 384, 1280}) {
      const RowFormat format{type, width};
      if (!format.valid()) continue;
      expect_exact(format, TestMatrix::random(5, DType::f32, 120, width, 1), kParts);
      expect_exact(format, any_floats(120, width), kParts);
    }
  }
}

// Each float that f16 and bf16 must decide about: all upper halves, with lower halves below, at and
// above the middle.
TEST_P(StoreRowsParity, RoundsEveryUpperHalf) {
  constexpr uint32_t kLower[] = {0x0000, 0x0001, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001};
  constexpr Part kParts[] = {{1, 1}};
  for (const uint32_t lower : kLower) {
    uint32_t upper = 0;
    const TestMatrix x = TestMatrix(DType::f32, 2, 0x10000).map([&](float) {
      return std::bit_cast<float>((upper++ << 16) | lower);
    });
    expect_exact({DType::f16, 0x10000}, x, kParts);
    expect_exact({DType::bf16, 0x10000}, x, kParts);
  }
}

TEST_P(StoreRowsParity, NoSlices) {
  const auto x = TestMatrix::random(1, DType::f32, 2, 32);
  kernels_->store_rows({x.view(), {{DType::f16, 32}, 0}, {}});
}

INSTANTIATE_TEST_SUITE_P(Kernels, StoreRowsParity, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
