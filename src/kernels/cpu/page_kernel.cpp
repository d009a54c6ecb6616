// Rows into pages and back: encoding, sealing and decoding in vectors. The layouts and the shaped
// recurrence stand in tensor/row_format.h; plain rounding gives its bytes exactly, shaped rounding
// its bytes but where a fused multiply-add tips a value over a rounding boundary.
//
// Shaped rounding takes 32 rows at a time, in the lanes of vectors, channel after channel. The
// update of `a` by the last channel's errors and the product with this channel's g are one pass
// over `a`: four multiply-adds for two loads and two stores of 512 bits. Measured on one Zen 4
// core: see docs/kernels.md.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/cpu/page_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/page_kernel.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "kernels/cpu/row_codec_inl.h"
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

void decode_one(const RowFormat& format, const std::byte* page, int64_t row, float* values) {
  // Where width divides into whole vectors nothing is written past the row.
  const int64_t whole = format.sealed() ? format.width / kLanes * kLanes : format.width;
  decode(format, page, {row, row + 1, 0, whole}, {values, 0});
  if (whole == format.width) return;
  float rest[kLanes + kGroupSize];
  decode(format, page, {row, row + 1, whole, format.width}, {rest, 0});
  std::copy_n(rest, format.width - whole, values + whole);
}

int32_t largest_number(const RowFormat& format) { return (1 << (format.bits - 1)) - 1; }

void seal_scales(const RowFormat& format, const float* rows, int64_t begin, int64_t end,
                 std::byte* page) {
  const Floats f;
  std::byte* scales = page + format.plane_bytes();
  for (int64_t column = begin; column < end; column += kLanes) {
    const int64_t count = std::min(kLanes, end - column);
    const auto values = [&](int64_t row) HWY_ATTR {
      const float* at = rows + row * format.width + column;
      return count == kLanes ? load(at) : load_first(at, count);
    };
    Vector lowest = values(0);
    Vector highest = lowest;
    auto bad = hn::IsNaN(lowest);
    for (int64_t row = 1; row < kPageRows; ++row) {
      const Vector value = values(row);
      bad = hn::Or(bad, hn::IsNaN(value));
      lowest = hn::Min(lowest, value);
      highest = hn::Max(highest, value);
    }
    const Vector nan = hn::Set(f, std::numeric_limits<float>::quiet_NaN());
    float from[kLanes];
    float to[kLanes];
    hn::StoreU(hn::IfThenElse(bad, nan, lowest), f, from);
    hn::StoreU(hn::IfThenElse(bad, nan, highest), f, to);
    for (int64_t i = 0; i < count; ++i) {
      const SharedScale shared = channel_scale(from[i], to[i], format.bits);
      std::memcpy(scales + 2 * (column + i), &shared.scale, 2);
      if (format.centred()) {
        std::memcpy(scales + 2 * (format.width + column + i), &shared.middle, 2);
      }
    }
  }
}

bool usable(float scale) { return scale > 0.0F && scale <= std::numeric_limits<float>::max(); }

// value / scale to the nearest even integer in range, as a float. `scale` is usable.
HWY_INLINE Vector round_to(Vector value, Vector scale, Vector most) {
  const Vector number = hn::Div(value, scale);
  return hn::Round(hn::Min(hn::Max(number, hn::Neg(most)), most));
}

// Bytes of b bits, in pairs, into half as many bytes of 2 b bits. `to` may be `from`.
void join_pairs(const uint8_t* from, int64_t count, int bits, uint8_t* to) {
  const hn::ScalableTag<uint16_t> u;
  const hn::Rebind<uint8_t, decltype(u)> bytes;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(u));
  const auto mask = hn::Set(u, static_cast<uint16_t>((1U << 2 * bits) - 1));
  int64_t i = 0;
  for (; i + lanes <= count / 2; i += lanes) {
    const auto pairs = hn::LoadU(u, reinterpret_cast<const uint16_t*>(from + 2 * i));
    const auto joined = hn::And(hn::Or(pairs, hn::ShiftRightSame(pairs, 8 - bits)), mask);
    hn::StoreU(hn::DemoteTo(bytes, hn::BitCast(hn::RebindToSigned<decltype(u)>(), joined)), bytes,
               to + i);
  }
  for (; i < count / 2; ++i) {
    to[i] = static_cast<uint8_t>(from[2 * i] | (from[2 * i + 1] << bits));
  }
}

// Bits [low, low + bits) of numbers without sign into a row of a bit plane; `bytes` is for work.
void pack_plane(const int32_t* numbers, int64_t width, int low, int bits, uint8_t* bytes,
                std::byte* row) {
  const Ints i32;
  const hn::Rebind<uint8_t, Ints> u8;
  const auto mask = hn::Set(i32, (1 << bits) - 1);
  uint8_t* to = bits == 8 ? reinterpret_cast<uint8_t*>(row) : bytes;
  int64_t j = 0;
  for (; j + kLanes <= width; j += kLanes) {
    const auto part = hn::ShiftRightSame(hn::LoadU(i32, numbers + j), low);
    hn::StoreU(hn::DemoteTo(u8, hn::And(part, mask)), u8, to + j);
  }
  for (; j < width; ++j) to[j] = static_cast<uint8_t>((numbers[j] >> low) & ((1 << bits) - 1));
  for (; bits < 8; bits *= 2, width /= 2) {
    join_pairs(bytes, width, bits, bits == 4 ? reinterpret_cast<uint8_t*>(row) : bytes);
  }
}

// The numbers of one row, signed, into the page; `bytes` is for work.
void pack_row(const SealPart& part, int64_t row, int32_t* numbers, uint8_t* bytes) {
  const int64_t width = part.format->width;
  const int bits = part.format->bits;
  if (bits == 16) {
    std::byte* to = part.page + row * width * 2;
    for (int64_t j = 0; j < width; ++j) {
      const auto number = static_cast<int16_t>(numbers[j]);
      std::memcpy(to + 2 * j, &number, 2);
    }
    return;
  }
  for (int64_t j = 0; j < width; ++j) numbers[j] += 1 << (bits - 1);
  const int high = bits >= 8 ? 8 : 4;
  const int low = bits - high;
  pack_plane(numbers, width, low, high, bytes, part.page + row * width * high / 8);
  if (low == 0) return;
  std::byte* plane = part.page + kPageRows * width * high / 8;
  pack_plane(numbers, width, 0, low, bytes, plane + row * width * low / 8);
}

// Plain rounding of one row to its channels' scales.
void round_channels(const SealPart& part, const float* row, int32_t* numbers) {
  const Floats f;
  const int64_t width = part.format->width;
  const auto* scales = reinterpret_cast<const BFloat16*>(part.page + part.format->plane_bytes());
  const BFloat16* middles = scales + width;
  const Vector most = hn::Set(f, static_cast<float>(largest_number(*part.format)));
  for (int64_t j = 0; j < width; j += kLanes) {
    const int64_t count = std::min(kLanes, width - j);
    const bool whole = count == kLanes;
    const Vector scale = whole ? load(scales + j) : load_first(scales + j, count);
    Vector value = whole ? load(row + j) : load_first(row + j, count);
    if (part.format->centred()) {
      value = hn::Sub(value, whole ? load(middles + j) : load_first(middles + j, count));
    }
    // Where a scale is zero, infinite or NaN, so is the number: zero.
    const auto fine = hn::And(hn::Gt(scale, hn::Zero(f)), hn::Lt(scale, hn::Inf(f)));
    const Vector number = round_to(value, hn::IfThenElse(fine, scale, hn::Set(f, 1.0F)), most);
    const auto whole_number = hn::ConvertTo(Ints(), hn::IfThenElseZero(fine, number));
    if (whole) {
      hn::StoreU(whole_number, Ints(), numbers + j);
    } else {
      int32_t lanes[kLanes];
      hn::StoreU(whole_number, Ints(), lanes);
      std::copy_n(lanes, count, numbers + j);
    }
  }
}

// One row whose groups have scales of their own; these are written, too.
void round_groups(const SealPart& part, int64_t at, int32_t* numbers) {
  const GroupFloats f;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(f));
  const int64_t width = part.format->width;
  const int64_t groups = width / kGroupSize;
  const int32_t most = largest_number(*part.format);
  const float* row = part.rows + at * width;
  std::byte* scales = part.page + part.format->plane_bytes() + at * 4 * groups;
  for (int64_t g = 0; g < groups; ++g, row += kGroupSize, numbers += kGroupSize) {
    auto lowest = hn::LoadU(f, row);
    auto highest = lowest;
    auto finite = hn::Lt(hn::Abs(lowest), hn::Inf(f));
    for (int64_t i = lanes; i < kGroupSize; i += lanes) {
      const auto value = hn::LoadU(f, row + i);
      finite = hn::And(finite, hn::Lt(hn::Abs(value), hn::Inf(f)));
      lowest = hn::Min(lowest, value);
      highest = hn::Max(highest, value);
    }
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    const SharedScale shared = hn::AllTrue(f, finite)
                                   ? group_scale(hn::GetLane(hn::MinOfLanes(f, lowest)),
                                                 hn::GetLane(hn::MaxOfLanes(f, highest)), most)
                                   : group_scale(kNan, kNan, most);
    std::memcpy(scales + 2 * g, &shared.scale, 2);
    std::memcpy(scales + 2 * (groups + g), &shared.middle, 2);
    if (!usable(to_float(shared.scale))) {
      std::fill_n(numbers, kGroupSize, 0);
      continue;
    }
    const auto scale = hn::Set(f, to_float(shared.scale));
    const auto middle = hn::Set(f, to_float(shared.middle));
    const auto limit = hn::Set(f, static_cast<float>(most));
    for (int64_t i = 0; i < kGroupSize; i += lanes) {
      const auto number = hn::Div(hn::Sub(hn::LoadU(f, row + i), middle), scale);
      const auto kept = hn::Round(hn::Min(hn::Max(number, hn::Neg(limit)), limit));
      hn::StoreU(hn::ConvertTo(GroupInts(), kept), GroupInts(), numbers + i);
    }
  }
}

// `count` numbers as floats; writes whole vectors.
void widen(const Half* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t left = count - i;
    hn::StoreU(left >= kLanes ? load(from + i) : load_first(from + i, left), Floats(), to + i);
  }
}

// Nearest plane for the rows of a part. columns: [width, kSealRows], a channel's values together;
// they become its numbers.
class Shaper {
 public:
  static constexpr int64_t kVectors = kSealRows / kLanes;

  Shaper(const SealPart& part, float* columns, float* memory)
      : part_(part),
        shaping_(*part.shaping),
        most_(hn::Set(Floats(), static_cast<float>(largest_number(*part.format)))),
        columns_(columns),
        u_(memory),
        g_(memory + shaping_.rank + 64),
        a_(memory + 2 * (shaping_.rank + 64)) {}

  void run() {
    std::fill_n(a_, shaping_.rank * kSealRows, 0.0F);
    std::fill_n(u_, shaping_.rank, 0.0F);
    for (int64_t v = 0; v < kVectors; ++v) errors_[v] = hn::Zero(Floats());
    for (int64_t i = shaping_.width - 1; i >= 0; --i) {
      const int64_t channel = shaping_.order == nullptr ? i : shaping_.order[i];
      widen(shaping_.g + channel * shaping_.rank, shaping_.rank, g_);
      Vector shift[kVectors];
      add_errors(shift);
      round_channel(channel, shift);
      widen(shaping_.u + channel * shaping_.rank, shaping_.rank, u_);
    }
  }

 private:
  // a += u * errors of the channel before; shift = g . a
  HWY_INLINE void add_errors(Vector (&shift)[kVectors]) {
    const Floats f;
    Vector errors[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) {
      errors[v] = errors_[v];
      shift[v] = hn::Zero(f);
    }
    float* a = a_;
    for (int64_t q = 0; q < shaping_.rank; ++q, a += kSealRows) {
      const Vector u = hn::Set(f, u_[q]);
      const Vector g = hn::Set(f, g_[q]);
      for (int64_t v = 0; v < kVectors; ++v) {
        const Vector sum = hn::MulAdd(u, errors[v], load(a + v * kLanes));
        hn::StoreU(sum, f, a + v * kLanes);
        shift[v] = hn::MulAdd(g, sum, shift[v]);
      }
    }
  }

  HWY_INLINE void round_channel(int64_t channel, const Vector (&shift)[kVectors]) {
    const Floats f;
    const RowFormat& format = *part_.format;
    const auto* scales = reinterpret_cast<const BFloat16*>(part_.page + format.plane_bytes());
    const float scale = to_float(scales[channel]);
    const float middle = format.centred() ? to_float(scales[format.width + channel]) : 0.0F;
    float* column = columns_ + channel * kSealRows;
    for (int64_t v = 0; v < kVectors; ++v, column += kLanes) {
      const Vector value = hn::Sub(load(column), hn::Set(f, middle));
      Vector number = hn::Zero(f);
      if (usable(scale)) {
        number = round_to(hn::Sub(value, shift[v]), hn::Set(f, scale), most_);
      }
      const Vector error = hn::MulSub(number, hn::Set(f, scale), value);
      errors_[v] = hn::IfThenElseZero(hn::Lt(hn::Abs(error), hn::Inf(f)), error);
      hn::StoreU(number, f, column);
    }
  }

  const SealPart& part_;
  const Shaping& shaping_;
  const Vector most_;
  float* columns_;
  float* u_;  // of the channel before
  float* g_;  // of the channel at hand
  float* a_;  // [rank, kSealRows]
  Vector errors_[kVectors];
};

// Between rows [kSealRows, width] and columns [width, kSealRows], 16 columns at a time, so that
// both sides stay in the first-level cache.
template <typename Function>
void for_each_element(int64_t width, const Function& move) {
  for (int64_t begin = 0; begin < width; begin += 16) {
    const int64_t end = std::min<int64_t>(begin + 16, width);
    for (int64_t row = 0; row < kSealRows; ++row) {
      for (int64_t j = begin; j < end; ++j) move(row * width + j, j * kSealRows + row);
    }
  }
}

void shape_rows(const SealPart& part, int32_t* numbers, float* memory) {
  const int64_t width = part.format->width;
  const float* rows = part.rows + part.first * width;
  float* columns = memory;
  for_each_element(
      width, [&](int64_t in_rows, int64_t in_columns) { columns[in_columns] = rows[in_rows]; });
  Shaper(part, columns, memory + kSealRows * width).run();
  for_each_element(width, [&](int64_t in_rows, int64_t in_columns) {
    numbers[in_rows] = static_cast<int32_t>(columns[in_columns]);
  });
}

void seal_rows(const SealPart& part) {
  const int64_t width = part.format->width;
  auto* numbers = reinterpret_cast<int32_t*>(part.scratch);
  float* rest = part.scratch + kSealRows * width;
  auto* bytes = reinterpret_cast<uint8_t*>(rest);
  const bool shaped = part.shaping != nullptr;
  if (shaped) shape_rows(part, numbers, rest + width + 64);
  for (int64_t i = 0; i < kSealRows; ++i) {
    const int64_t row = part.first + i;
    int32_t* of_row = numbers + i * width;
    if (part.format->scaling == Scaling::group) {
      round_groups(part, row, of_row);
    } else if (!shaped) {
      round_channels(part, part.rows + row * width, of_row);
    }
    pack_row(part, row, of_row, bytes);
  }
}

}  // namespace

PageOps make_page_ops() { return {encode, decode_one, seal_scales, seal_rows}; }

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(make_page_ops);

PageOps page_ops(Target target) { return pick(HWY_DISPATCH_TABLE(make_page_ops), target)(); }

}  // namespace slim
#endif
