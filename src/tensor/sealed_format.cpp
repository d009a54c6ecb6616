// The specification of sealed rows: scales, rounding (plain or shaped) and bit planes. The layout
// and the recurrence stand in tensor/row_format.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/check.h"
#include "tensor/row_format.h"

namespace slim {
namespace {

// Widths of the bit planes of a number, the highest bits first; 0 ends them.
constexpr std::array<int, 2> bit_planes(int bits) {
  switch (bits) {
    case 12:
      return {8, 4};
    case 10:
      return {8, 2};
    case 6:
      return {4, 2};
    case 5:
      return {4, 1};
    default:
      return {bits, 0};
  }
}

// Where in a bit plane the number of row `row` and column `j` begins, in bits.
int64_t bit_of(const RowFormat& format, int bits, int64_t row, int64_t j) {
  if (!format.chunked) return (row * format.width + j) * bits;
  const int64_t whole = format.width / 64 * 64;
  if (j >= whole) return (kPageRows * whole + row * (format.width - whole) + j - whole) * bits;
  const int64_t columns = 128 / bits;
  const int64_t chunk = (j / columns * kPageRows + row) * 128;
  if (bits == 16) return chunk + j % columns * bits;
  const int64_t pair = j % columns / 2;
  return chunk + ((pair % 8 * (8 / bits) + pair / 8) * 2 + j % 2) * bits;
}

// What is added to a number for storage: i16 in rows is stored as itself, all else without sign.
int32_t storage_bias(const RowFormat& format) {
  return format.bits == 16 && !format.chunked ? 0 : 1 << (format.bits - 1);
}

void put_bits(std::byte* plane, int64_t bit, int bits, uint32_t value) {
  if (bits == 16) {
    const auto word = static_cast<uint16_t>(value);
    std::memcpy(plane + bit / 8, &word, 2);
    return;
  }
  plane[bit / 8] |= static_cast<std::byte>(value << (bit % 8));
}

uint32_t get_bits(const std::byte* plane, int64_t bit, int bits) {
  if (bits == 16) {
    uint16_t word = 0;
    std::memcpy(&word, plane + bit / 8, 2);
    return word;
  }
  return (static_cast<uint32_t>(plane[bit / 8]) >> (bit % 8)) & ((1U << bits) - 1U);
}

// The integers of kPageRows rows, [row * width + j], into bit planes at `page`; and one of them.
void pack(const RowFormat& format, const std::vector<int32_t>& numbers, std::byte* page) {
  const int64_t width = format.width;
  std::memset(page, 0, static_cast<size_t>(format.page_bytes()));
  const int32_t bias = storage_bias(format);
  int left = format.bits;
  for (const int bits : bit_planes(format.bits)) {
    if (bits == 0) break;
    left -= bits;
    const uint32_t mask = bits == 16 ? 0xFFFFU : (1U << bits) - 1U;
    for (int64_t i = 0; i < kPageRows * width; ++i) {
      const auto number = static_cast<uint32_t>(numbers[static_cast<size_t>(i)] + bias);
      put_bits(page, bit_of(format, bits, i / width, i % width), bits, (number >> left) & mask);
    }
    page += kPageRows * width * bits / 8;
  }
}

// As stored: with a sign if of 16 bits, else without.
int32_t unpack(const RowFormat& format, const std::byte* page, int64_t row, int64_t j) {
  uint32_t number = 0;
  for (const int bits : bit_planes(format.bits)) {
    if (bits == 0) break;
    number = (number << bits) | get_bits(page, bit_of(format, bits, row, j), bits);
    page += kPageRows * format.width * bits / 8;
  }
  if (storage_bias(format) == 0) return static_cast<int16_t>(number);
  return static_cast<int32_t>(number);
}

int32_t round_to(float value, float scale, int32_t most) {
  if (!(scale > 0.0F) || !std::isfinite(scale)) return 0;
  const float number = std::nearbyintf(value / scale);
  const auto limit = static_cast<float>(most);
  return static_cast<int32_t>(std::clamp(number, -limit, limit));
}

// Of each channel, as floats.
struct ChannelScales {
  std::vector<float> scales;
  std::vector<float> middles;
};

ChannelScales channel_scales(const RowFormat& format, const float* rows) {
  ChannelScales all;
  for (int64_t j = 0; j < format.width; ++j) {
    float lowest = rows[j];
    float highest = rows[j];
    for (int64_t row = 0; row < kPageRows; ++row) {
      const float value = rows[row * format.width + j];
      if (std::isnan(value)) {
        lowest = highest = value;
        break;
      }
      lowest = std::min(lowest, value);
      highest = std::max(highest, value);
    }
    const SharedScale shared = channel_scale(lowest, highest, format.bits);
    all.scales.push_back(to_float(shared.scale));
    all.middles.push_back(to_float(shared.middle));
  }
  return all;
}

// One row of nearest plane. A channel without a finite scale has no error that others could mend.
void shape_row(const Shaping& shaping, const ChannelScales& channels, const float* row,
               int32_t most, int32_t* numbers) {
  std::vector<float> a(static_cast<size_t>(shaping.rank), 0.0F);
  for (int64_t i = shaping.width - 1; i >= 0; --i) {
    const int64_t j = shaping.order == nullptr ? i : shaping.order[i];
    const Half* g = shaping.g + j * shaping.rank;
    const Half* u = shaping.u + j * shaping.rank;
    float shift = 0.0F;
    for (int64_t q = 0; q < shaping.rank; ++q) shift += to_float(g[q]) * a[static_cast<size_t>(q)];
    const float scale = channels.scales[static_cast<size_t>(j)];
    const float centred = row[j] - channels.middles[static_cast<size_t>(j)];
    numbers[j] = round_to(centred - shift, scale, most);
    const float error = static_cast<float>(numbers[j]) * scale - centred;
    if (!std::isfinite(error)) continue;
    for (int64_t q = 0; q < shaping.rank; ++q) a[static_cast<size_t>(q)] += to_float(u[q]) * error;
  }
}

void seal_channels(const RowFormat& format, const float* rows, const Shaping* shaping,
                   std::byte* page) {
  const int64_t width = format.width;
  const int32_t most = (1 << (format.bits - 1)) - 1;
  const ChannelScales channels = channel_scales(format, rows);
  std::vector<int32_t> numbers(static_cast<size_t>(kPageRows * width));
  for (int64_t row = 0; row < kPageRows; ++row) {
    const float* from = rows + row * width;
    int32_t* to = numbers.data() + row * width;
    if (shaping != nullptr) {
      shape_row(*shaping, channels, from, most, to);
    } else {
      for (int64_t j = 0; j < width; ++j) {
        const auto channel = static_cast<size_t>(j);
        to[j] = round_to(from[j] - channels.middles[channel], channels.scales[channel], most);
      }
    }
  }
  pack(format, numbers, page);
  std::byte* stored = page + format.plane_bytes();
  for (int64_t j = 0; j < width; ++j) {
    const BFloat16 scale = to_bfloat16(channels.scales[static_cast<size_t>(j)]);
    const BFloat16 middle = to_bfloat16(channels.middles[static_cast<size_t>(j)]);
    std::memcpy(stored + 2 * j, &scale, 2);
    if (format.centred()) std::memcpy(stored + 2 * (width + j), &middle, 2);
  }
}

void seal_groups(const RowFormat& format, const float* rows, std::byte* page) {
  const int64_t width = format.width;
  const int64_t groups = width / kGroupSize;
  const int32_t most = (1 << (format.bits - 1)) - 1;
  std::vector<int32_t> numbers(static_cast<size_t>(kPageRows * width));
  std::vector<SharedScale> shared;
  for (int64_t first = 0; first < kPageRows * width; first += kGroupSize) {
    const auto [lowest, highest] = std::minmax_element(rows + first, rows + first + kGroupSize);
    const bool poisoned = std::any_of(rows + first, rows + first + kGroupSize,
                                      [](float value) { return std::isnan(value); });
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    shared.push_back(poisoned ? group_scale(kNan, kNan, most)
                              : group_scale(*lowest, *highest, most));
    for (int64_t i = first; i < first + kGroupSize; ++i) {
      numbers[static_cast<size_t>(i)] =
          round_to(rows[i] - to_float(shared.back().middle), to_float(shared.back().scale), most);
    }
  }
  pack(format, numbers, page);
  std::byte* stored = page + format.plane_bytes();
  for (int64_t row = 0; row < kPageRows; ++row, stored += 4 * groups) {
    for (int64_t g = 0; g < groups; ++g) {
      const SharedScale& group = shared[static_cast<size_t>(row * groups + g)];
      std::memcpy(stored + 2 * g, &group.scale, 2);
      std::memcpy(stored + 2 * (groups + g), &group.middle, 2);
    }
  }
}

}  // namespace

void seal_page(const RowFormat& format, const float* rows, const Shaping* shaping,
               std::byte* page) {
  check(format.valid() && format.sealed(), "only sealed rows are made a page at a time");
  if (format.scaling == Scaling::group) {
    check(shaping == nullptr, "rounding is shaped where channels have scales");
    return seal_groups(format, rows, page);
  }
  check(shaping == nullptr || shaping->width == format.width, "rounding is shaped over whole rows");
  seal_channels(format, rows, shaping, page);
}

void decode_sealed_row(const RowFormat& format, const std::byte* page, int64_t row, float* values) {
  const int64_t width = format.width;
  const std::byte* stored = page + format.plane_bytes();
  const int64_t groups = width / kGroupSize;
  const auto shared = [&](int64_t index) {
    BFloat16 value;
    std::memcpy(&value, stored + 2 * index, 2);
    return to_float(value);
  };
  const int32_t bias = storage_bias(format);
  for (int64_t j = 0; j < width; ++j) {
    const int32_t number = unpack(format, page, row, j);
    if (format.scaling == Scaling::group) {
      const int64_t group = row * 2 * groups + j / kGroupSize;
      values[j] = static_cast<float>(number - bias) * shared(group) + shared(group + groups);
      continue;
    }
    const float scale = shared(j);
    const float middle = format.centred() ? shared(width + j) : 0.0F;
    values[j] = static_cast<float>(number) * scale + (middle - static_cast<float>(bias) * scale);
  }
}

}  // namespace slim
