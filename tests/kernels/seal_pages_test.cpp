// seal_pages: the bytes of seal_page where rounding is plain; where it is shaped, the same but for
// rare ties. load_rows: what decode_row and decode_sealed_row give, to the bit.
#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "fmt/format.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kBits[] = {16, 12, 10, 8, 6, 5, 4};

// Channels whose sizes differ, an empty one, and values on rounding boundaries.
TestMatrix some_rows(int64_t rows, int64_t width, unsigned seed) {
  int64_t place = 0;
  return TestMatrix::random(seed, DType::f32, rows, width).map([&](float value) {
    const int64_t channel = place++ % width;
    if (channel % 11 == 7) return 0.0F;
    if (channel % 11 == 3) return static_cast<float>(static_cast<int>(value * 14.0F)) * 0.5F;
    return value * std::ldexp(1.0F, static_cast<int>(channel * 5 % 30) - 15);
  });
}

// Random directions: u of size 1 and g that takes a part of what they have gathered.
struct Directions {
  Directions(int64_t width, int64_t rank, bool reordered) {
    std::mt19937 source(5);
    std::normal_distribution<float> normal;
    const float share = 1.0F / static_cast<float>(width);
    for (int64_t i = 0; i < width * rank; ++i) {
      u.push_back(to_half(normal(source)));
      g.push_back(to_half(normal(source) * share));
    }
    for (int64_t i = 0; i < width; ++i) order.push_back(static_cast<int32_t>(i));
    std::shuffle(order.begin(), order.end(), source);
    shaping = {width, rank, u.data(), g.data(), reordered ? order.data() : nullptr};
  }
  std::vector<Half> u, g;
  std::vector<int32_t> order;
  Shaping shaping;
};

class SealPagesParity : public ParityTest {
 protected:
  // Pages sealed from `rows`, in one call, into pages that were something else before. A plane
  // stands before and after the sealed one; what is there stays.
  static PagedRows sealed_pages(Kernels& kernels, const RowFormat& format, const TestMatrix& rows,
                                const Shaping* shaping) {
    const RowFormat hot[] = {{DType::f16, 5}, format.hot()};
    const RowFormat cold[] = {{DType::f32, 3}, format, {DType::f16, 7}};
    PagedRows from(hot, rows.rows());
    PagedRows to(cold, rows.rows());
    std::vector<SealPages::Page> pages;
    for (int64_t row = 0; row < rows.rows(); ++row) {
      from.set_row(1, row, rows.view().row<float>(row));
    }
    for (int64_t page = 0; page < rows.rows() / kPageRows; ++page) {
      pages.push_back({from.pages()[page], to.pages()[page]});
    }
    kernels.seal_pages({from.plane(1), to.plane(1), shaping, pages});
    return to;
  }

  static bool same_bytes(const PagedRows& a, const PagedRows& b) {
    for (int64_t page = 0; page * kPageRows < a.rows(); ++page) {
      if (std::memcmp(a.pages()[page], b.pages()[page], static_cast<size_t>(a.page_bytes())) != 0) {
        return false;
      }
    }
    return true;
  }

  void expect_exact(const RowFormat& format, const TestMatrix& rows, const std::string& what) {
    EXPECT_TRUE(same_bytes(sealed_pages(*kernels_, format, rows, nullptr),
                           sealed_pages(*reference_, format, rows, nullptr)))
        << fmt::format("{} bits, width {}, {}: {}", format.bits, format.width,
                       format.scaling == Scaling::channel ? "channels" : "groups", what);
  }
};

TEST_P(SealPagesParity, PlainRoundingGivesTheBytesOfSealPage) {
  for (const int bits : kBits) {
    for (const int64_t width : {8, 16, 24, 32, 40, 96, 136, 520, 1024}) {
      expect_exact({DType::f32, width, bits}, some_rows(128, width, 3), "finite");
      if (width % kGroupSize != 0) continue;
      expect_exact({DType::f32, width, bits, Scaling::group}, some_rows(128, width, 4), "finite");
    }
  }
}

TEST_P(SealPagesParity, WhatIsNotFiniteIsSealedAlike) {
  for (const int bits : kBits) {
    for (const Scaling scaling : {Scaling::channel, Scaling::group}) {
      for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity, 3e38F, 1e-44F}) {
        TestMatrix rows = some_rows(64, 96, 5);
        for (const int64_t row : {0, 31, 63}) rows.set(row, row, bad);
        expect_exact({DType::f32, 96, bits, scaling}, rows, fmt::format("with {}", bad));
      }
    }
  }
}

// Errors are summed in another order here, so that a value on a boundary may fall to its other side
// and turn what follows. Such rows are few, and none is worse: by e^T H e the two agree.
TEST_P(SealPagesParity, ShapedRoundingIsThatOfSealPageButForTies) {
  for (const int bits : {12, 8, 5}) {
    for (const int64_t width : {24, 96, 264}) {
      for (const int64_t rank : {0, 1, 7, 16, 40, 128}) {
        const Directions directions(width, rank, rank % 2 == 1);
        const RowFormat format{DType::f32, width, bits};
        const TestMatrix rows = TestMatrix::random(8, DType::f32, 64, width);
        const Shaping* shaping = &directions.shaping;
        const PagedRows actual = sealed_pages(*kernels_, format, rows, shaping);
        const PagedRows expected = sealed_pages(*reference_, format, rows, shaping);
        int64_t differing = 0;
        for (int64_t row = 0; row < 64; ++row) {
          const std::vector<float> a = actual.row(1, row), b = expected.row(1, row);
          if (a == b) continue;
          ++differing;
          for (size_t j = 0; j < a.size(); ++j) {
            ASSERT_LE(std::fabs(a[j] - b[j]), 8.0F / static_cast<float>((1 << (bits - 1)) - 1));
          }
        }
        EXPECT_LE(differing, 3) << fmt::format("{} bits, width {}, rank {}", bits, width, rank);
      }
    }
  }
}

TEST_P(SealPagesParity, ShapedRoundingKeepsWhatIsNotFiniteApart) {
  const Directions directions(96, 12, true);
  TestMatrix rows = TestMatrix::random(9, DType::f32, 64, 96);
  rows.set(3, 17, kNaN);
  rows.set(60, 40, kInfinity);
  const PagedRows pages = sealed_pages(*kernels_, {DType::f32, 96, 10}, rows, &directions.shaping);
  for (int64_t row = 0; row < 64; ++row) {
    const std::vector<float> values = pages.row(1, row);
    for (size_t j = 0; j < values.size(); ++j) {
      ASSERT_EQ(std::isfinite(values[j]), j != 17 && j != 40) << row << ", " << j;
    }
  }
}

TEST_P(SealPagesParity, PagesDoNotDependOnEachOtherOrOnThreads) {
  const Directions directions(160, 24, false);
  const RowFormat format{DType::f32, 160, 8};
  const TestMatrix rows = some_rows(5 * 64, 160, 12);
  const PagedRows together = sealed_pages(*kernels_, format, rows, &directions.shaping);
  const auto single = test::test_kernels(GetParam().name, 1);
  for (int64_t page = 0; page < 5; ++page) {
    const TestMatrix part = TestMatrix::of({rows.view().row<float>(page * 64), 64 * 160}, 64, 160);
    const PagedRows alone = sealed_pages(*single, format, part, &directions.shaping);
    EXPECT_EQ(std::memcmp(alone.sealed(1, 0), together.sealed(1, page),
                          static_cast<size_t>(format.page_bytes())),
              0);
  }
}

TEST_P(SealPagesParity, NoPages) {
  const RowFormat format{DType::f32, 32, 8};
  kernels_->seal_pages({{format.hot(), 0}, {format, 0}, nullptr, {}});
}

class LoadRowsParity : public ParityTest {
 protected:
  void expect_exact(const RowFormat& format, int64_t rows, int64_t begin, int64_t count) {
    const RowFormat formats[] = {{DType::f32, 3}, format};
    PagedRows pages(formats, rows);
    const TestMatrix source = some_rows((rows + 63) / 64 * 64, format.width, 6);
    for (int64_t row = 0; row < rows; ++row) {
      if (format.sealed()) {
        if (row % kPageRows != 0) continue;
        seal_page(format, source.view().row<float>(row), nullptr, pages.sealed(1, row / kPageRows));
      } else {
        pages.set_row(1, row, source.view().row<float>(row));
      }
    }
    TestMatrix actual(DType::f32, count, format.width, 5);
    kernels_->load_rows({pages.plane(1), pages.slice(0, 0), begin, actual.view()});
    EXPECT_TRUE(actual.padding_intact());
    for (int64_t i = 0; i < count; ++i) {
      const std::vector<float> expected = pages.row(1, begin + i);
      for (int64_t c = 0; c < format.width; ++c) {
        ASSERT_EQ(actual.at(i, c), expected[static_cast<size_t>(c)])
            << fmt::format("{} {} bits, width {}, row {}, column {}", name_of(format.type),
                           format.bits, format.width, begin + i, c);
      }
    }
  }
};

TEST_P(LoadRowsParity, RowsThatStandAlone) {
  for (const DType type : kRowTypes) {
    if (!has_rows(*kernels_, type)) continue;
    for (const int64_t width : {1, 7, 31, 32, 33, 96, 384}) {
      const RowFormat format{type, width};
      if (!format.valid()) continue;
      expect_exact(format, 150, 60, 90);
      expect_exact(format, 1, 0, 1);
      expect_exact(format, 5, 2, 0);
    }
  }
}

TEST_P(LoadRowsParity, SealedRows) {
  for (const int bits : kBits) {
    for (const Scaling scaling : {Scaling::channel, Scaling::group}) {
      for (const int64_t width : {8, 16, 24, 32, 40, 96, 136, 384}) {
        const RowFormat format{DType::f32, width, bits, scaling};
        if (!format.valid()) continue;
        expect_exact(format, 128, 0, 128);
        expect_exact(format, 192, 63, 66);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, SealPagesParity, testing::ValuesIn(candidates()), candidate_name);
INSTANTIATE_TEST_SUITE_P(Kernels, LoadRowsParity, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
