// Sealed pages: their layout byte by byte, their rounding, plain and shaped, and what becomes of
// numbers that are not finite.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "error_matchers.h"
#include "tensor/row_format.h"

namespace slim {
namespace {

using Floats = std::vector<float>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr int kBits[] = {16, 12, 10, 8, 6, 5, 4};
constexpr Scaling kScalings[] = {Scaling::channel, Scaling::group};

// In an allocation of exactly the page's bytes, so that a sanitizer sees any step beyond it.
std::vector<std::byte> sealed(const RowFormat& format, const Floats& rows,
                              const Shaping* shaping = nullptr) {
  std::vector<std::byte> page(static_cast<size_t>(format.page_bytes()), std::byte{0xA5});
  seal_page(format, rows.data(), shaping, page.data());
  return page;
}

Floats opened(const RowFormat& format, const std::vector<std::byte>& page) {
  Floats rows(static_cast<size_t>(kPageRows * format.width));
  for (int64_t row = 0; row < kPageRows; ++row) {
    decode_sealed_row(format, page.data(), row, rows.data() + row * format.width);
  }
  return rows;
}

Floats round_trip(const RowFormat& format, const Floats& rows) {
  return opened(format, sealed(format, rows));
}

// Rows whose channels differ in size by factors up to 1000, as those of trained keys do.
Floats uneven_rows(int64_t width, unsigned seed = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Floats rows(static_cast<size_t>(kPageRows * width));
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto channel = static_cast<float>(i % static_cast<size_t>(width));
    rows[i] = normal(random) * std::pow(10.0F, 3.0F * channel / static_cast<float>(width) - 1.0F);
  }
  return rows;
}

// The lowest and highest value of a channel.
std::pair<float, float> channel_range(const Floats& rows, int64_t width, int64_t channel) {
  std::pair<float, float> range = {kInfinity, -kInfinity};
  for (int64_t row = 0; row < kPageRows; ++row) {
    const float value = rows[static_cast<size_t>(row * width + channel)];
    range = {std::min(range.first, value), std::max(range.second, value)};
  }
  return range;
}

RowFormat format_of(int64_t width, int bits, Scaling scaling = Scaling::channel) {
  return {DType::f32, width, bits, scaling};
}

TEST(SealedFormat, CountsBytes) {
  EXPECT_EQ(format_of(512, 16).page_bytes(), 64 * 512 * 2 + 2 * 512);
  EXPECT_EQ(format_of(512, 12).page_bytes(), 64 * 512 * 3 / 2 + 4 * 512);
  EXPECT_EQ(format_of(512, 10).page_bytes(), 64 * 640 + 4 * 512);
  EXPECT_EQ(format_of(512, 5, Scaling::group).page_bytes(), 64 * 320 + 64 * 16 * 4);
  EXPECT_EQ(format_of(8, 4).page_bytes(), 64 * 4 + 64);  // 32 bytes of scales and middles, padded
  EXPECT_EQ(format_of(512, 8).hot(), (RowFormat{DType::f32, 512}));
}

TEST(SealedFormat, KnowsWhatItCanHold) {
  for (const int bits : kBits) {
    EXPECT_TRUE(format_of(8, bits).valid());
    EXPECT_FALSE(format_of(12, bits).valid());
    EXPECT_TRUE(format_of(32, bits, Scaling::group).valid());
    EXPECT_FALSE(format_of(40, bits, Scaling::group).valid());
  }
  for (const int bits : {1, 2, 3, 7, 9, 11, 15, 17, 32}) EXPECT_FALSE(format_of(8, bits).valid());
  EXPECT_FALSE((RowFormat{DType::f16, 8, 8}.valid()));
  EXPECT_FALSE(format_of(0, 8).valid());
}

// Every element takes a value of its own, so that a bit out of its place shows.
TEST(SealedFormat, LaysOutBitPlanesByHand) {
  constexpr int64_t kWidth = 8;
  for (const int bits : kBits) {
    const RowFormat format = format_of(kWidth, bits);
    const int32_t most = (1 << (bits - 1)) - 1;
    std::mt19937 random(5);
    std::vector<int32_t> numbers(kPageRows * kWidth);
    for (int32_t& n : numbers) {
      n = static_cast<int32_t>(random() % static_cast<uint32_t>(2 * most + 1)) - most;
    }
    for (size_t j = 0; j < kWidth; ++j) numbers[j] = most;  // scale is 1
    for (size_t j = 0; j < kWidth; ++j) numbers[kWidth + j] = -most;
    Floats rows(numbers.begin(), numbers.end());
    const float middle = bits == 16 ? 0.0F : 4.0F;
    for (float& value : rows) value += middle;
    const std::vector<std::byte> page = sealed(format, rows);
    const int high = bits == 16 ? 16 : bits >= 8 ? 8 : 4;
    const int low = bits - high;
    const auto bit_at = [&](int64_t plane, int64_t bit) {
      return (std::to_integer<uint32_t>(page[static_cast<size_t>(plane + bit / 8)]) >> bit % 8) & 1;
    };
    for (int64_t row = 0; row < kPageRows; ++row) {
      for (int64_t j = 0; j < kWidth; ++j) {
        uint32_t number = 0;
        for (int bit = bits - 1; bit >= 0; --bit) {
          const bool in_high = bit >= low;
          const int64_t plane = in_high ? 0 : kPageRows * kWidth * high / 8;
          const int width = in_high ? high : low;
          const int64_t place = (row * kWidth + j) * width + (in_high ? bit - low : bit);
          number = number << 1 | bit_at(plane, place);
        }
        const int32_t expected = numbers[static_cast<size_t>(row * kWidth + j)];
        const int32_t stored =
            bits == 16 ? static_cast<int16_t>(number) : static_cast<int32_t>(number) - most - 1;
        ASSERT_EQ(stored, expected) << bits << " bits, row " << row << ", element " << j;
      }
    }
    for (int64_t j = 0; j < kWidth; ++j) {
      const auto at = static_cast<size_t>(kPageRows * kWidth * bits / 8 + 2 * j);
      EXPECT_EQ(page[at], std::byte{0x80});
      EXPECT_EQ(page[at + 1], std::byte{0x3F});  // 1.0 in bf16
      if (bits == 16) continue;
      EXPECT_EQ(page[at + 2 * kWidth], std::byte{0x80});
      EXPECT_EQ(page[at + 2 * kWidth + 1], std::byte{0x40});  // 4.0 in bf16
    }
    const int64_t scales = bits == 16 ? 2 * kWidth : 4 * kWidth;
    for (auto at = static_cast<size_t>(kPageRows * kWidth * bits / 8 + scales); at < page.size();
         ++at) {
      EXPECT_EQ(page[at], std::byte{0}) << "padding";
    }
  }
}

// How far values may lie from the middle they share with others between `low` and `high`. Middles
// are cut to bf16: up to 2^-7 of themselves goes to the reach. Scales are bf16, rounded up.
float reach_of(float low, float high) {
  const float middle = std::fabs(low + high) * 0.5F;
  return (0.5F * (high - low) + 0.0079F * middle) * 1.0079F;
}

// A plain rounding is within half a step, of the channel or the group.
TEST(SealedFormat, IsWithinHalfAStep) {
  for (const int bits : kBits) {
    for (const int64_t width : {32, 96, 160}) {
      const Floats rows = uneven_rows(width);
      const auto most = static_cast<float>((1 << (bits - 1)) - 1);
      const Floats by_channel = round_trip(format_of(width, bits), rows);
      const Floats by_group = round_trip(format_of(width, bits, Scaling::group), rows);
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto [first, last] = channel_range(rows, width, static_cast<int64_t>(i) % width);
        const float most_of_it = bits == 16 ? std::max(-first, last) : reach_of(first, last);
        ASSERT_LE(std::fabs(by_channel[i] - rows[i]),
                  0.5001F * 1.0079F * most_of_it / most + 1e-6F * std::fabs(rows[i]))
            << bits << " bits";
        const auto group = rows.begin() + static_cast<int64_t>(i) / kGroupSize * kGroupSize;
        const auto [low, high] = std::minmax_element(group, group + kGroupSize);
        ASSERT_LE(std::fabs(by_group[i] - rows[i]),
                  0.5001F * reach_of(*low, *high) / most + 1e-6F * std::fabs(rows[i]))
            << bits << " bits in groups";
      }
    }
  }
}

// What decodes from a page and is sealed again gives the same integers wherever the scale stays:
// with the largest and the least integer of each channel in the page it does.
TEST(SealedFormat, WhatItHoldsItKeeps) {
  for (const int bits : kBits) {
    const RowFormat format = format_of(40, bits);
    const int32_t most = (1 << (bits - 1)) - 1;
    Floats rows(kPageRows * 40);
    std::mt19937 random(9);
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto n = static_cast<int32_t>(random() % static_cast<uint32_t>(2 * most + 1)) - most;
      const float scale = std::ldexp(1.0F, static_cast<int>(i % 40) - 20);
      rows[i] = static_cast<float>(i < 40 ? -most : i < 80 ? most : n) * scale;
    }
    EXPECT_EQ(round_trip(format, rows), rows) << bits << " bits";
  }
}

TEST(SealedFormat, ScalesAreTheSmallestThatSuffice) {
  for (const int bits : kBits) {
    const auto most = static_cast<float>((1 << (bits - 1)) - 1);
    for (const float magnitude : {1.0F, 3.1F, 1e-30F, 3.4e38F}) {
      const auto [scale, middle] = channel_scale(-magnitude, magnitude, bits);
      EXPECT_EQ(middle.bits, 0);
      EXPECT_GE(to_float(scale), magnitude / most);
      EXPECT_LT(to_float(BFloat16{static_cast<uint16_t>(scale.bits - 1)}), magnitude / most);
    }
    EXPECT_EQ(channel_scale(0.0F, 0.0F, bits).scale.bits, 0);
    EXPECT_FALSE(std::isfinite(to_float(channel_scale(0.0F, kInfinity, bits).scale)));
    EXPECT_TRUE(std::isnan(to_float(channel_scale(kNaN, kNaN, bits).scale)));
  }
}

// Keys of trained models lie to one side: what is far from zero costs no digits.
TEST(SealedFormat, RowsFarFromZeroKeepTheirDigits) {
  for (const int bits : {12, 10, 8, 6, 5, 4}) {
    Floats rows = uneven_rows(32);
    for (float& value : rows) value = 256.0F + 0.001F * value;
    const Floats after = round_trip(format_of(32, bits), rows);
    const auto most = static_cast<float>((1 << (bits - 1)) - 1);
    // bf16 leaves up to 2 of a middle of 256 to the reach: without middles that is 256.
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_LE(std::fabs(after[i] - rows[i]), 0.5F * 2.5F / most + 3e-5F);
    }
  }
}

TEST(SealedFormat, ZerosStayZeros) {
  for (const int bits : kBits) {
    for (const Scaling scaling : kScalings) {
      const Floats zeros(kPageRows * 32, 0.0F);
      EXPECT_EQ(round_trip(format_of(32, bits, scaling), zeros), zeros);
    }
  }
}

// Up to 1.5e38: twice as much is still a float.
TEST(SealedFormat, ExtremesStayFinite) {
  for (const int bits : kBits) {
    for (const Scaling scaling : kScalings) {
      for (const float size : {1e-45F, 1e-39F, 1.5e38F}) {
        Floats rows = uneven_rows(32);
        for (size_t i = 0; i < rows.size(); ++i)
          rows[i] = i % 3 == 0 ? size : i % 3 == 1 ? -size : 0;
        for (const float value : round_trip(format_of(32, bits, scaling), rows)) {
          ASSERT_TRUE(std::isfinite(value)) << size;
        }
      }
    }
  }
}

TEST(SealedFormat, WhatIsNotFiniteStaysInItsChannel) {
  for (const int bits : kBits) {
    const RowFormat format = format_of(32, bits);
    const Floats clean = round_trip(format, uneven_rows(32));
    for (const float bad : {kNaN, -kNaN, kInfinity, -kInfinity}) {
      for (const size_t row : {size_t{0}, size_t{63}}) {
        Floats rows = uneven_rows(32);
        rows[row * 32 + 5] = bad;
        const Floats after = round_trip(format, rows);
        for (size_t i = 0; i < after.size(); ++i) {
          if (i % 32 == 5) {
            ASSERT_TRUE(std::isnan(after[i])) << bad << " in row " << row << ", " << i / 32;
          } else {
            ASSERT_EQ(after[i], clean[i]);
          }
        }
      }
    }
  }
}

TEST(SealedFormat, WhatIsNotFiniteStaysInItsGroup) {
  for (const int bits : kBits) {
    const RowFormat format = format_of(64, bits, Scaling::group);
    const Floats clean = round_trip(format, uneven_rows(64));
    for (const float bad : {kNaN, kInfinity, -kInfinity}) {
      for (const size_t at : {size_t{32}, size_t{63}}) {
        Floats rows = uneven_rows(64);
        rows[7 * 64 + at] = bad;
        const Floats after = round_trip(format, rows);
        for (size_t i = 0; i < after.size(); ++i) {
          if (i / 32 == 7 * 2 + 1) {
            ASSERT_TRUE(std::isnan(after[i])) << bad;
          } else {
            ASSERT_EQ(after[i], clean[i]);
          }
        }
      }
    }
  }
}

TEST(SealedFormat, IsDeterministicWhateverWasInThePage) {
  for (const int bits : kBits) {
    for (const Scaling scaling : kScalings) {
      const RowFormat format = format_of(96, bits, scaling);
      const std::vector<std::byte> once = sealed(format, uneven_rows(96));
      std::vector<std::byte> again(once.size(), std::byte{0x5A});
      seal_page(format, uneven_rows(96).data(), nullptr, again.data());
      EXPECT_EQ(again, once);
    }
  }
}

// H = 0.3 I + U U^T and its semiseparable factor. With Q what the columns before j have left of the
// identity, column j of the Cholesky factor has the pivot p = 0.3 + u_j Q u_j and the rest
// u_i Q u_j / sqrt(p): so g_j = Q u_j / p, and then Q -= Q u_j u_j^T Q / p.
struct Factor {
  Factor(int64_t channels, int64_t columns, unsigned seed, std::vector<int32_t> sequence)
      : width(channels), rank(columns), order(std::move(sequence)) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    damage.assign(static_cast<size_t>(width * width), 0.0);
    for (int64_t i = 0; i < width * rank; ++i)
      u.push_back(to_half(static_cast<float>(normal(random))));
    for (int64_t j = 0; j < width; ++j) {
      for (int64_t i = 0; i < width; ++i) {
        double& h = damage[static_cast<size_t>(i * width + j)];
        h = i == j ? 0.3 : 0.0;
        for (int64_t q = 0; q < rank; ++q) h += u_at(i, q) * u_at(j, q);
      }
    }
    g.resize(u.size());
    std::vector<double> q(static_cast<size_t>(rank * rank), 0.0);
    for (int64_t i = 0; i < rank; ++i) q[static_cast<size_t>(i * rank + i)] = 1.0;
    for (int64_t place = 0; place < width; ++place) {
      const int64_t j = order.empty() ? place : order[static_cast<size_t>(place)];
      std::vector<double> qu(static_cast<size_t>(rank), 0.0);
      double pivot = 0.3;
      for (int64_t r = 0; r < rank; ++r) {
        for (int64_t c = 0; c < rank; ++c) {
          qu[static_cast<size_t>(r)] += q[static_cast<size_t>(r * rank + c)] * u_at(j, c);
        }
        pivot += u_at(j, r) * qu[static_cast<size_t>(r)];
      }
      for (int64_t r = 0; r < rank; ++r) {
        g[static_cast<size_t>(j * rank + r)] =
            to_half(static_cast<float>(qu[static_cast<size_t>(r)] / pivot));
        for (int64_t c = 0; c < rank; ++c) {
          q[static_cast<size_t>(r * rank + c)] -=
              qu[static_cast<size_t>(r)] * qu[static_cast<size_t>(c)] / pivot;
        }
      }
    }
  }

  double u_at(int64_t channel, int64_t column) const {
    return static_cast<double>(to_float(u[static_cast<size_t>(channel * rank + column)]));
  }
  Shaping shaping() const {
    return {width, rank, u.data(), g.data(), order.empty() ? nullptr : order.data()};
  }
  // The mean of e^T H e over the rows.
  double cost(const Floats& rows, const Floats& decoded) const {
    double sum = 0.0;
    for (int64_t row = 0; row < kPageRows; ++row) {
      const auto error = [&](int64_t j) {
        const auto at = static_cast<size_t>(row * width + j);
        return static_cast<double>(decoded[at]) - static_cast<double>(rows[at]);
      };
      for (int64_t i = 0; i < width; ++i) {
        for (int64_t j = 0; j < width; ++j) {
          sum += error(i) * damage[static_cast<size_t>(i * width + j)] * error(j);
        }
      }
    }
    return sum / static_cast<double>(kPageRows);
  }

  int64_t width, rank;
  std::vector<int32_t> order;
  std::vector<Half> u, g;
  std::vector<double> damage;
};

Floats even_rows(int64_t width) {
  std::mt19937 random(21);
  std::normal_distribution<float> normal;
  Floats rows(static_cast<size_t>(kPageRows * width));
  std::generate(rows.begin(), rows.end(), [&] { return normal(random); });
  return rows;
}

// Shaped rounding keeps e^T H e small where plain rounding does not: with 8 directions of weight
// 64 in 64 channels, a factor of 2 at least, in any order and at any width of integers.
TEST(SealedFormat, ShapedRoundingLowersTheDamage) {
  constexpr int64_t kWidth = 64;
  std::vector<int32_t> shuffled(kWidth);
  for (size_t i = 0; i < shuffled.size(); ++i) shuffled[i] = static_cast<int32_t>(i * 37 % 64);
  for (const std::vector<int32_t>& order : {std::vector<int32_t>(), shuffled}) {
    const Factor factor(kWidth, 8, 4, order);
    const Shaping shaping = factor.shaping();
    const Floats rows = even_rows(kWidth);
    for (const int bits : {12, 10, 8, 6, 5}) {
      const RowFormat format = format_of(kWidth, bits);
      const double plain = factor.cost(rows, round_trip(format, rows));
      const double shaped = factor.cost(rows, opened(format, sealed(format, rows, &shaping)));
      EXPECT_LT(shaped, 0.5 * plain) << bits << " bits";
    }
  }
}

// The recurrence, again, in double and from the dense factor: nearest plane.
TEST(SealedFormat, ShapedRoundingIsNearestPlane) {
  constexpr int64_t kWidth = 24;
  const Factor factor(kWidth, 3, 8, {});
  const Shaping shaping = factor.shaping();
  const RowFormat format = format_of(kWidth, 8);
  const Floats rows = even_rows(kWidth);
  const Floats actual = opened(format, sealed(format, rows, &shaping));
  // L of H = L L^T.
  std::vector<double> l = factor.damage;
  const auto at = [&](int64_t i, int64_t j) -> double& {
    return l[static_cast<size_t>(i * kWidth + j)];
  };
  for (int64_t j = 0; j < kWidth; ++j) {
    for (int64_t k = 0; k < j; ++k) {
      for (int64_t i = j; i < kWidth; ++i) at(i, j) -= at(i, k) * at(j, k);
    }
    const double root = std::sqrt(at(j, j));
    for (int64_t i = j; i < kWidth; ++i) at(i, j) /= root;
  }
  int64_t differing = 0;
  for (int64_t row = 0; row < kPageRows; ++row) {
    std::vector<double> error(kWidth, 0.0);
    for (int64_t j = kWidth - 1; j >= 0; --j) {
      const auto place = static_cast<size_t>(row * kWidth + j);
      const auto [low, high] = channel_range(rows, kWidth, j);
      const SharedScale shared = channel_scale(low, high, format.bits);
      const auto step = static_cast<double>(to_float(shared.scale));
      const auto middle = static_cast<double>(to_float(shared.middle));
      double shift = 0.0;
      for (int64_t i = j + 1; i < kWidth; ++i) shift += at(i, j) * error[static_cast<size_t>(i)];
      shift /= at(j, j);
      const double value = static_cast<double>(rows[place]) - middle;
      const double n = std::clamp(std::nearbyint((value - shift) / step), -127.0, 127.0);
      error[static_cast<size_t>(j)] = n * step - value;
      // Where g in f16 tips a value over its rounding boundary, what follows may differ as well.
      if (std::fabs(n * step + middle - static_cast<double>(actual[place])) > 1e-4 * step)
        ++differing;
    }
  }
  EXPECT_LT(differing, kPageRows * kWidth / 50);
}

TEST(SealedFormat, ShapedRoundingLeavesOtherChannelsFinite) {
  const Factor factor(32, 4, 2, {});
  const Shaping shaping = factor.shaping();
  const RowFormat format = format_of(32, 8);
  for (const float bad : {kNaN, kInfinity}) {
    Floats rows = even_rows(32);
    rows[9 * 32 + 31] = bad;  // the first to be rounded
    rows[9 * 32 + 4] = bad;
    const Floats after = opened(format, sealed(format, rows, &shaping));
    for (size_t i = 0; i < after.size(); ++i) {
      ASSERT_EQ(std::isfinite(after[i]), i % 32 != 31 && i % 32 != 4) << i;
    }
  }
}

TEST(SealedFormat, ShapingOfRankZeroIsPlain) {
  const Shaping shaping{32, 0, nullptr, nullptr, nullptr};
  const RowFormat format = format_of(32, 10);
  EXPECT_EQ(sealed(format, even_rows(32), &shaping), sealed(format, even_rows(32)));
}

TEST(SealedFormat, WhatCannotBeIsABug) {
  Floats rows(kPageRows * 32, 0.0F);
  std::vector<std::byte> page(1 << 16);
  const Shaping wrong_width{40, 0, nullptr, nullptr, nullptr};
  const Shaping shaping{32, 0, nullptr, nullptr, nullptr};
  const auto is_bug = [&](const RowFormat& format, const Shaping* how) {
    return fails_with(ErrorCode::internal, {},
                      [&] { seal_page(format, rows.data(), how, page.data()); });
  };
  EXPECT_TRUE(is_bug({DType::f32, 32}, nullptr));
  EXPECT_TRUE(is_bug(format_of(32, 7), nullptr));
  EXPECT_TRUE(is_bug(format_of(32, 8), &wrong_width));
  EXPECT_TRUE(is_bug(format_of(32, 8, Scaling::group), &shaping));
}

}  // namespace
}  // namespace slim
