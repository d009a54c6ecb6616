// Work on single rows: the end of a product, layer norm, embedding, softmax.
#include <cmath>

#include "kernels/cpu/target_ops.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_ops.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/vector_math_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kLanes = hn::MaxLanes(Floats());

// Lanes of a row: whole vectors, and the last, shorter one. Same interface, so that a loop body is
// written once and called with either.
struct Whole {
  template <typename T>
  HWY_INLINE Vector get(const T* at) const {
    return load(at);
  }
  HWY_INLINE void put(Vector values, float* at) const { hn::StoreU(values, Floats(), at); }
};
struct Part {
  int64_t count;
  template <typename T>
  HWY_INLINE Vector get(const T* at) const {
    return load_first(at, count);
  }
  HWY_INLINE void put(Vector values, float* at) const { store_first(values, count, at); }
};

// body(i, lanes) over [0, count).
template <typename Body>
HWY_INLINE void over_row(int64_t count, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) body(i, Whole{});
  if (i < count) body(i, Part{count - i});
}

template <typename Activate>
HWY_INLINE void finish_rows(const Finish& end, Activate activate) {
  for (int64_t t = 0; t < end.y.rows; ++t) {
    const float* from = end.tile + t * end.tile_stride;
    float* to = end.y.row<float>(t);
    over_row(end.y.columns, [&](int64_t i, auto lanes) HWY_ATTR {
      auto value = lanes.get(from + i);
      if (end.bias != nullptr) value = hn::Add(value, lanes.get(end.bias + i));
      value = activate(value);
      if (end.accumulate) value = hn::Add(value, lanes.get(to + i));
      lanes.put(value, to + i);
    });
  }
}

void finish(const Finish& end) {
  switch (end.activation) {
    case Activation::none:
      return finish_rows(end, [](Vector x) HWY_ATTR { return x; });
    case Activation::relu:  // selects instead of Max, so that NaN stays
      return finish_rows(end, [](Vector x) HWY_ATTR {
        return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(Floats())), x);
      });
    case Activation::gelu:
      return finish_rows(end, [](Vector x) HWY_ATTR { return gelu(x); });
    case Activation::gelu_tanh:
      return finish_rows(end, [](Vector x) HWY_ATTR { return gelu_tanh(x); });
    case Activation::silu:
      return finish_rows(end, [](Vector x) HWY_ATTR { return silu(x); });
  }
}

void norm(const Norm& norm, int64_t begin, int64_t end) {
  const Floats f;
  const int64_t width = norm.x.columns;
  for (int64_t t = begin; t < end; ++t) {
    const float* x = norm.x.row<float>(t);
    float* y = norm.y.row<float>(t);
    auto sum = hn::Zero(f);
    over_row(width, [&](int64_t i, auto lanes) HWY_ATTR { sum = hn::Add(sum, lanes.get(x + i)); });
    const float mean = hn::GetLane(hn::SumOfLanes(f, sum)) / static_cast<float>(width);
    // From the differences, not from the squares: those would cancel where the mean is large.
    auto squares = hn::Zero(f);
    const int64_t whole = width / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
      const auto difference = hn::Sub(load(x + i), hn::Set(f, mean));
      squares = hn::MulAdd(difference, difference, squares);
    }
    float variance = hn::GetLane(hn::SumOfLanes(f, squares));
    for (int64_t i = whole; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean);
    variance /= static_cast<float>(width);
    const auto scale = hn::Set(f, 1.0F / std::sqrt(variance + norm.epsilon));
    over_row(width, [&](int64_t i, auto lanes) HWY_ATTR {
      auto value = hn::Mul(hn::Sub(lanes.get(x + i), hn::Set(f, mean)), scale);
      if (norm.gain != nullptr) value = hn::Mul(value, lanes.get(norm.gain + i));
      if (norm.offset != nullptr) value = hn::Add(value, lanes.get(norm.offset + i));
      lanes.put(value, y + i);
    });
  }
}

// y[t] = table[ids[t]] + positions[places[t]], each of its own type.
void embed(const Embed& embedding, int64_t begin, int64_t end) {
  const auto add_rows = [&]<typename Token, typename Place>(const Token*, const Place*) HWY_ATTR {
    for (int64_t t = begin; t < end; ++t) {
      const auto index = static_cast<size_t>(t);
      const Token* token = embedding.table.row<Token>(embedding.ids[index]);
      const Place* place = embedding.positions.row<Place>(embedding.places[index]);
      float* y = embedding.y.row<float>(t);
      over_row(embedding.y.columns, [&](int64_t i, auto lanes) HWY_ATTR {
        lanes.put(hn::Add(lanes.get(token + i), lanes.get(place + i)), y + i);
      });
    }
  };
  visit_weight(embedding.table.type, [&](const auto* token) {
    visit_weight(embedding.positions.type, [&](const auto* place) { add_rows(token, place); });
  });
}

HWY_INLINE float largest_of(const float* row, int64_t count) {
  const Floats f;
  if (count < kLanes) {
    float largest = row[0];
    for (int64_t i = 1; i < count; ++i) largest = HWY_MAX(largest, row[i]);
    return largest;
  }
  // Two chains, and the last vector overlaps the one before it. A NaN may be passed over: it
  // reappears in the sum.
  auto a = load(row);
  auto b = load(row + count - kLanes);
  int64_t i = kLanes;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    a = hn::Max(a, load(row + i));
    b = hn::Max(b, load(row + i + kLanes));
  }
  for (; i + kLanes <= count; i += kLanes) a = hn::Max(a, load(row + i));
  return hn::GetLane(hn::MaxOfLanes(f, hn::Max(a, b)));
}

void log_softmax(const LogSoftmax& softmax, int64_t begin, int64_t end) {
  const Floats f;
  const int64_t count = softmax.x.columns;
  for (int64_t t = begin; t < end; ++t) {
    const float* x = softmax.x.row<float>(t);
    float* y = softmax.y.row<float>(t);
    const float largest = largest_of(x, count);
    const auto shift = hn::Set(f, largest);
    auto sum = hn::Zero(f);
    const int64_t whole = count / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
      sum = hn::Add(sum, exponential(hn::Sub(load(x + i), shift)));
    }
    float total = hn::GetLane(hn::SumOfLanes(f, sum));
    for (int64_t i = whole; i < count; ++i) total += std::exp(x[i] - largest);
    // Subtracted one after the other: largest + log(total) would round away digits of the log.
    const auto logarithm = hn::Set(f, std::log(total));
    over_row(count, [&](int64_t i, auto lanes) HWY_ATTR {
      lanes.put(hn::Sub(hn::Sub(lanes.get(x + i), shift), logarithm), y + i);
    });
  }
}

float exponentiate(float* row, int64_t count, float scale) {
  const Floats f;
  const float largest = largest_of(row, count) * scale;
  const auto factor = hn::Set(f, scale);
  const auto shift = hn::Set(f, largest);
  auto sum = hn::Zero(f);
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    const auto e = exponential(hn::MulSub(load(row + i), factor, shift));
    hn::StoreU(e, f, row + i);
    sum = hn::Add(sum, e);
  }
  float total = hn::GetLane(hn::SumOfLanes(f, sum));
  for (int64_t i = whole; i < count; ++i) {
    row[i] = std::exp(row[i] * scale - largest);
    total += row[i];
  }
  return total;
}

void scale_row(const float* row, int64_t count, float factor, float* out) {
  over_row(count, [&](int64_t i, auto lanes) HWY_ATTR {
    lanes.put(hn::Mul(lanes.get(row + i), hn::Set(Floats(), factor)), out + i);
  });
}

}  // namespace

RowOps row_ops() {
  return {.finish = finish,
          .norm = norm,
          .embed = embed,
          .log_softmax = log_softmax,
          .exponentiate = exponentiate,
          .scale_row = scale_row};
}

}  // namespace HWY_NAMESPACE
}  // namespace slim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace slim {

HWY_EXPORT(row_ops);
RowOps row_ops(Target target) { return pick(HWY_DISPATCH_TABLE(row_ops), target)(); }

}  // namespace slim
#endif
