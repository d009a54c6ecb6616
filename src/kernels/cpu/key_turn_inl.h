// What becomes of keys between their page and their score: gain and bias, then their rotation.
// Included once per target, inside foreach_target.
//
// The angle of row j of page m is that of 64 m plus that of j. Both tables give cos and sin of the
// sum for the 64 rows of a tile once (64 * pairs * 4 multiply-adds, shared by all heads: 1 / heads
// of what turning the keys costs); queries are turned to their own positions, once a part.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_KEY_TURN_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_KEY_TURN_INL_H
#undef SLIM_KERNELS_CPU_KEY_TURN_INL_H
#else
#define SLIM_KERNELS_CPU_KEY_TURN_INL_H
#endif

#include <algorithm>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/cpu/attend_ops.h"
#include "kernels/cpu/lanes_inl.h"
#include "kernels/cpu/vector_math_inl.h"
#include "tensor/rotation.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {

// table[0, 2 * pairs): cos then sin of position 64 * page + row, magnitude included.
inline void fill_turn(const Rotation& rotation, int64_t page, int64_t row, float* table) {
  const Floats f;
  const int64_t pairs = rotation.pairs();
  const float magnitude = rotation.magnitude();
  const float* page_cos = rotation.page_cos(page);
  const float* page_sin = rotation.page_sin(page);
  const float* row_cos = rotation.row_cos(row);
  const float* row_sin = rotation.row_sin(row);
  int64_t i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    const Vector c = load(page_cos + i);
    const Vector s = load(page_sin + i);
    const Vector cos = hn::NegMulAdd(s, load(row_sin + i), hn::Mul(c, load(row_cos + i)));
    const Vector sin = hn::MulAdd(s, load(row_cos + i), hn::Mul(c, load(row_sin + i)));
    hn::StoreU(hn::Mul(cos, hn::Set(f, magnitude)), f, table + i);
    hn::StoreU(hn::Mul(sin, hn::Set(f, magnitude)), f, table + pairs + i);
  }
  for (; i < pairs; ++i) {
    table[i] = magnitude * (page_cos[i] * row_cos[i] - page_sin[i] * row_sin[i]);
    table[pairs + i] = magnitude * (page_sin[i] * row_cos[i] + page_cos[i] * row_sin[i]);
  }
}

// Turns the first columns of one head in place by a row of that table.
inline void turn_head(const Rotation& rotation, const float* table, float* head) {
  const Floats f;
  const int64_t pairs = rotation.pairs();
  const bool interleaved = rotation.interleaved();
  const float* sines = table + pairs;
  int64_t i = 0;
  for (; i + kLanes <= pairs; i += kLanes) {
    Vector a;
    Vector b;
    if (interleaved) {
      hn::LoadInterleaved2(f, head + 2 * i, a, b);
    } else {
      a = load(head + i);
      b = load(head + pairs + i);
    }
    const Vector c = load(table + i);
    const Vector s = load(sines + i);
    const Vector left = hn::NegMulAdd(b, s, hn::Mul(a, c));
    const Vector right = hn::MulAdd(a, s, hn::Mul(b, c));
    if (interleaved) {
      hn::StoreInterleaved2(left, right, f, head + 2 * i);
    } else {
      hn::StoreU(left, f, head + i);
      hn::StoreU(right, f, head + pairs + i);
    }
  }
  for (; i < pairs; ++i) {
    float& left = head[interleaved ? 2 * i : i];
    float& right = head[interleaved ? 2 * i + 1 : i + pairs];
    const float a = left;
    const float b = right;
    left = a * table[i] - b * sines[i];
    right = a * sines[i] + b * table[i];
  }
}

// columns[c] = gain[c] * columns[c] + bias[c]; either may be missing.
inline void scale_and_shift(const float* gain, const float* bias, int64_t width, float* columns) {
  const Floats f;
  int64_t c = 0;
  for (; c + kLanes <= width; c += kLanes) {
    const Vector factor = gain == nullptr ? hn::Set(f, 1.0F) : load(gain + c);
    const Vector shift = bias == nullptr ? hn::Zero(f) : load(bias + c);
    hn::StoreU(hn::MulAdd(load(columns + c), factor, shift), f, columns + c);
  }
  for (; c < width; ++c) {
    columns[c] =
        columns[c] * (gain == nullptr ? 1.0F : gain[c]) + (bias == nullptr ? 0.0F : bias[c]);
  }
}

// to[c * kColumnStride + r] = rows[r * stride + c] for kStripRows rows, four of them at a time.
// Reads whole vectors of columns.
inline void transpose_strip(const float* rows, int64_t stride, int64_t width, float* to) {
  const Floats f;
  constexpr int64_t kRows = 4;
  float columns[kRows * kLanes];
  for (int64_t r = 0; r < kStripRows; r += kRows) {
    const float* four = rows + r * stride;
    for (int64_t c = 0; c < width; c += kLanes) {
      hn::StoreInterleaved4(load(four + c), load(four + stride + c), load(four + 2 * stride + c),
                            load(four + 3 * stride + c), f, columns);
      const int64_t count = std::min(kLanes, width - c);
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(to + (c + i) * kColumnStride + r, columns + kRows * i, kRows * sizeof(float));
      }
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#endif
