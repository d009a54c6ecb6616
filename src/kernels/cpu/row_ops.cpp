// Work on single rows: the end of a product, norms, gates, limits, rotation, embedding, softmax.
#include <cmath>
#include <cstring>

#include "kernels/cpu/target_ops.h"
#include "kernels/cpu/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/row_ops.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, for each target.
#include "kernels/cpu/lanes_inl.h"
#include "kernels/cpu/weight_codec_inl.h"

HWY_BEFORE_NAMESPACE();
namespace slim {
namespace HWY_NAMESPACE {
namespace {

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
      if (end.scale != nullptr) value = hn::Mul(value, lanes.get(end.scale + i));
      if (end.bias != nullptr) value = hn::Add(value, lanes.get(end.bias + i));
      value = activate(value);
      if (end.accumulate) value = hn::Add(value, lanes.get(to + i));
      lanes.put(value, to + i);
    });
  }
}

// f(activate), with activate a function of a vector.
template <typename Function>
HWY_INLINE void visit_activation(Activation activation, Function&& f) {
  switch (activation) {
    case Activation::none:
      return f([](Vector x) HWY_ATTR { return x; });
    case Activation::relu:  // selects instead of Max, so that NaN stays
      return f([](Vector x)
                   HWY_ATTR { return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(Floats())), x); });
    case Activation::gelu:
      return f([](Vector x) HWY_ATTR { return gelu(x); });
    case Activation::gelu_tanh:
      return f([](Vector x) HWY_ATTR { return gelu_tanh(x); });
    case Activation::silu:
      return f([](Vector x) HWY_ATTR { return silu(x); });
    case Activation::tanh:
      return f([](Vector x) HWY_ATTR { return tanh(x); });
  }
}

void finish(const Finish& end) {
  visit_activation(end.activation, [&](auto activate) HWY_ATTR { finish_rows(end, activate); });
}

void gate(const Gate& gate, int64_t begin, int64_t end) {
  visit_activation(gate.activation, [&](auto activate) HWY_ATTR {
    for (int64_t t = begin; t < end; ++t) {
      const float* from = gate.gate.row<float>(t);
      const float* up = gate.up.row<float>(t);
      float* y = gate.y.row<float>(t);
      over_row(gate.y.columns, [&](int64_t i, auto lanes) HWY_ATTR {
        lanes.put(hn::Mul(activate(lanes.get(from + i)), lanes.get(up + i)), y + i);
      });
    }
  });
}

void clamp(const Clamp& clamp, int64_t begin, int64_t end) {
  const auto limit = hn::Set(Floats(), clamp.limit);
  for (int64_t t = begin; t < end; ++t) {
    float* row = clamp.x.row<float>(t);
    over_row(clamp.x.columns, [&](int64_t i, auto lanes) HWY_ATTR {
      const auto value = lanes.get(row + i);
      // Selects instead of Min, so that NaN stays.
      const auto beyond = hn::Gt(hn::Abs(value), limit);
      lanes.put(hn::IfThenElse(beyond, hn::CopySignToAbs(limit, value), value), row + i);
    });
  }
}

// Of a row whose sum is taken in f32.
constexpr int64_t kSummed = 4096;

// The sum of value(x) over a row; value(0) is not asked of lanes past its end.
template <typename Value>
HWY_INLINE float sum_part(const float* x, int64_t count, Value value) {
  const Floats f;
  auto sum = hn::Zero(f);
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) sum = hn::Add(sum, value(load(x + i)));
  float total = hn::GetLane(hn::SumOfLanes(f, sum));
  for (int64_t i = whole; i < count; ++i) total += hn::GetLane(value(hn::Set(f, x[i])));
  return total;
}

// A row may be a whole window of sound.
template <typename Value>
HWY_INLINE float sum_row(const float* x, int64_t count, Value value) {
  double total = 0.0;
  for (int64_t i = 0; i < count; i += kSummed) {
    total += double{sum_part(x + i, HWY_MIN(kSummed, count - i), value)};
  }
  return static_cast<float>(total);
}

// One part of one row, from column `first` of it on. Returns 1 / sqrt(...).
HWY_INLINE float norm_part(const Norm& norm, int64_t t, int64_t first, int64_t width) {
  const Floats f;
  const float* x = norm.x.row<float>(t) + first;
  float* y = norm.y.row<float>(t) + first;
  const float* gain = norm.gain == nullptr ? nullptr : norm.gain + first;
  const float* offset = norm.offset == nullptr ? nullptr : norm.offset + first;
  const auto count = static_cast<float>(width);
  const float mean = norm.kind == NormKind::rms
                         ? 0.0F
                         : sum_row(x, width, [](Vector value) HWY_ATTR { return value; }) / count;
  const auto middle = hn::Set(f, mean);
  // From the differences, not from the squares: those would cancel where the mean is large.
  const float squares = sum_row(x, width, [=](Vector value) HWY_ATTR {
    const auto difference = hn::Sub(value, middle);
    return hn::Mul(difference, difference);
  });
  const float inverse = 1.0F / std::sqrt(squares / count + norm.epsilon);
  const auto scale = hn::Set(f, inverse);
  over_row(width, [&](int64_t i, auto lanes) HWY_ATTR {
    auto value = hn::Mul(hn::Sub(lanes.get(x + i), middle), scale);
    if (gain != nullptr) value = hn::Mul(value, lanes.get(gain + i));
    if (offset != nullptr) value = hn::Add(value, lanes.get(offset + i));
    if (norm.accumulate) value = hn::Add(value, lanes.get(y + i));
    lanes.put(value, y + i);
  });
  return inverse;
}

void norm(const Norm& norm, int64_t begin, int64_t end) {
  const int64_t width = norm.x.columns / norm.groups;
  for (int64_t t = begin; t < end; ++t) {
    float inverse = 0.0F;
    for (int64_t group = 0; group < norm.groups; ++group) {
      inverse = norm_part(norm, t, group * width, width);
    }
    if (norm.inverse != nullptr) norm.inverse[t] = inverse;
  }
}

// The cosine and sine of a position, times the magnitude, for kLanes or fewer pairs: the angle of
// its page plus that of its row in the page.
struct Turn {
  Vector cosine;
  Vector sine;
};
template <typename Lanes>
HWY_INLINE Turn turn_of(const Rotation& rotation, int64_t position, int64_t pair, Lanes lanes) {
  const int64_t m = position / kPageRows;
  const int64_t j = position % kPageRows;
  const auto page_cos = lanes.get(rotation.page_cos(m) + pair);
  const auto page_sin = lanes.get(rotation.page_sin(m) + pair);
  const auto row_cos = lanes.get(rotation.row_cos(j) + pair);
  const auto row_sin = lanes.get(rotation.row_sin(j) + pair);
  const auto size = hn::Set(Floats(), rotation.magnitude());
  const auto cosine = hn::MulSub(page_cos, row_cos, hn::Mul(page_sin, row_sin));
  const auto sine = hn::MulAdd(page_sin, row_cos, hn::Mul(page_cos, row_sin));
  return {hn::Mul(size, cosine), hn::Mul(size, sine)};
}

// Turns the vectors of left and right columns in place.
HWY_INLINE void turn_pairs(const Turn& turn, Vector& left, Vector& right) {
  const auto a = left;
  left = hn::MulSub(a, turn.cosine, hn::Mul(right, turn.sine));
  right = hn::MulAdd(a, turn.sine, hn::Mul(right, turn.cosine));
}

// Pairs that are neighbours, (2i, 2i + 1).
HWY_INLINE void turn_neighbours(const Turn& turn, const float* x, float* y) {
  Vector left;
  Vector right;
  hn::LoadInterleaved2(Floats(), x, left, right);
  turn_pairs(turn, left, right);
  hn::StoreInterleaved2(left, right, Floats(), y);
}
HWY_INLINE void turn_neighbours(const Turn& turn, const float* x, float* y, Whole) {
  turn_neighbours(turn, x, y);
}
HWY_INLINE void turn_neighbours(const Turn& turn, const float* x, float* y, Part part) {
  const size_t bytes = 2 * static_cast<size_t>(part.count) * sizeof(float);
  HWY_ALIGN float both[2 * kLanes] = {};
  std::memcpy(both, x, bytes);
  turn_neighbours(turn, both, both);
  std::memcpy(y, both, bytes);
}

void rotate(const Rotate& rotate, int64_t begin, int64_t end) {
  const Rotation& rotation = *rotate.rotation;
  const int64_t pairs = rotation.pairs();
  for (int64_t t = begin; t < end; ++t) {
    const float* x = rotate.x.row<float>(t);
    float* y = rotate.y.row<float>(t);
    if (x != y && rotation.width() < rotate.head_width) {
      std::memcpy(y, x, static_cast<size_t>(rotate.x.columns) * sizeof(float));
    }
    const int64_t position = rotate.positions[static_cast<size_t>(t)];
    over_row(pairs, [&](int64_t pair, auto lanes) HWY_ATTR {
      const Turn turn = turn_of(rotation, position, pair, lanes);
      for (int64_t head = 0; head < rotate.x.columns; head += rotate.head_width) {
        if (rotation.interleaved()) {
          turn_neighbours(turn, x + head + 2 * pair, y + head + 2 * pair, lanes);
          continue;
        }
        auto left = lanes.get(x + head + pair);
        auto right = lanes.get(x + head + pair + pairs);
        turn_pairs(turn, left, right);
        lanes.put(left, y + head + pair);
        lanes.put(right, y + head + pair + pairs);
      }
    });
  }
}

// y = row * factor, of any type with floating point values; of integers, row * row_scale * factor.
void load_weights(const ConstMatrix& table, int64_t row, const float* row_scale, float factor,
                  float* y) {
  const auto scale = hn::Set(Floats(), factor);
  const auto scaled_copy = [&]<typename T>(const T* from) HWY_ATTR {
    over_row(table.columns, [&](int64_t i, auto lanes) HWY_ATTR {
      lanes.put(hn::Mul(lanes.get(from + i), scale), y + i);
    });
  };
  if (is_block_type(table.type)) {
    decode_weights(table, row, 0, table.columns, y);
    return factor == 1.0F ? void() : scaled_copy(y);
  }
  if (table.type == DType::i8) {
    const auto first = hn::Set(Floats(), *row_scale);
    return over_row(table.columns, [&](int64_t i, auto lanes) HWY_ATTR {
      const auto value = hn::Mul(lanes.get(table.row<int8_t>(row) + i), first);
      lanes.put(hn::Mul(value, scale), y + i);
    });
  }
  visit_weight(table.type, [&]<typename T>(const T*) HWY_ATTR { scaled_copy(table.row<T>(row)); });
}

// The sum is taken from memory, so that no compiler joins it with the product: it is as exact as
// the specification.
void embed(const Embed& embedding, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const auto index = static_cast<size_t>(t);
    float* y = embedding.y.row<float>(t);
    const int32_t id = embedding.ids[index];
    const float* scale = embedding.scale == nullptr ? nullptr : embedding.scale + id;
    load_weights(embedding.table, id, scale, embedding.factor, y);
    if (embedding.positions.rows == 0) continue;
    visit_weight(embedding.positions.type, [&]<typename Place>(const Place*) HWY_ATTR {
      const Place* place = embedding.positions.row<Place>(embedding.places[index]);
      over_row(embedding.y.columns, [&](int64_t i, auto lanes) HWY_ATTR {
        lanes.put(hn::Add(lanes.get(y + i), lanes.get(place + i)), y + i);
      });
    });
  }
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

// Of exp(x - largest).
float sum_of_exponentials(const float* x, int64_t count, float largest) {
  const Floats f;
  const auto shift = hn::Set(f, largest);
  auto sum = hn::Zero(f);
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    sum = hn::Add(sum, exponential(hn::Sub(load(x + i), shift)));
  }
  float total = hn::GetLane(hn::SumOfLanes(f, sum));
  for (int64_t i = whole; i < count; ++i) total += std::exp(x[i] - largest);
  return total;
}

void log_softmax(const LogSoftmax& softmax, int64_t begin, int64_t end) {
  const Floats f;
  const int64_t count = softmax.x.columns;
  for (int64_t t = begin; t < end; ++t) {
    const float* x = softmax.x.row<float>(t);
    float* y = softmax.y.row<float>(t);
    const float largest = largest_of(x, count);
    const auto shift = hn::Set(f, largest);
    const float total = sum_of_exponentials(x, count, largest);
    // Subtracted one after the other: largest + log(total) would round away digits of the log.
    const auto logarithm = hn::Set(f, std::log(total));
    over_row(count, [&](int64_t i, auto lanes) HWY_ATTR {
      lanes.put(hn::Sub(hn::Sub(lanes.get(x + i), shift), logarithm), y + i);
    });
  }
}

// Of some columns: the largest, and the sum of exp(x - largest). Where all are -infinity the sum is
// zero; NaN with a NaN or +infinity.
struct Softmax {
  float largest = -HUGE_VALF;
  float sum = 0.0F;
};

Softmax softmax_of(const float* x, int64_t count) {
  if (count == 0) return {};
  const float largest = largest_of(x, count);
  return {largest, sum_of_exponentials(x, count, largest == -HUGE_VALF ? 0.0F : largest)};
}

Softmax over_both(const Softmax& a, const Softmax& b) {
  const float largest = HWY_MAX(a.largest, b.largest);
  const auto share = [&](const Softmax& part) {
    return part.largest == -HUGE_VALF ? part.sum : part.sum * std::exp(part.largest - largest);
  };
  return {largest, share(a) + share(b)};
}

// The largest of x[begin, end) and their values, in order, into `list`; how many of `count` there
// are. Fast where few values exceed all before them: a block of columns is one comparison.
int64_t list_largest(const float* x, int64_t begin, int64_t end, int64_t count, Candidate* list) {
  constexpr int64_t kBlock = 256;
  int64_t found = 0;
  float least = -HUGE_VALF;  // what a value must exceed
  const auto insert = [&](int64_t column) {
    int64_t place = found < count ? found++ : count - 1;
    for (; place > 0 && x[column] > list[place - 1].log_probability; --place) {
      list[place] = list[place - 1];
    }
    list[place] = {static_cast<int32_t>(column), x[column]};
    if (found == count) least = list[count - 1].log_probability;
  };
  for (; begin < end; begin += kBlock) {
    const int64_t size = HWY_MIN(kBlock, end - begin);
    if (!(largest_of(x + begin, size) > least)) continue;
    for (int64_t i = begin; i < begin + size; ++i) {
      if (x[i] > least) insert(i);
    }
  }
  return found;
}

void find_in_row(const FindCandidates& find, int64_t t, Candidate* list) {
  const float* x = find.x.row<float>(t);
  const int64_t columns = find.x.columns;
  const int64_t tail = HWY_MIN(find.tail, columns);
  const Softmax others = softmax_of(x, tail);
  const Softmax together = softmax_of(x + tail, columns - tail);
  Softmax all = over_both(others, together);
  const bool sound = !std::isnan(all.sum);
  for (int64_t i = 0; i < find.count; ++i) list[i] = {-1, sound ? -HUGE_VALF : all.sum};
  if (!sound) return;
  const int32_t asked = find.asked.empty() ? -1 : find.asked[static_cast<size_t>(t)];
  if (asked >= 0) {
    if (x[asked] > -HUGE_VALF) list[0] = {asked, x[asked] - all.largest - std::log(all.sum)};
    return;
  }
  const bool settled = together.largest - others.largest + std::log(together.sum) > 0.0F;
  if (settled) all = together;
  const int64_t found = list_largest(x, settled ? tail : 0, columns, find.count, list);
  const float logarithm = std::log(all.sum);
  for (int64_t i = 0; i < found; ++i) {
    list[i].log_probability = list[i].log_probability - all.largest - logarithm;
  }
}

void find_candidates(const FindCandidates& find, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    find_in_row(find, t, &find.candidates[static_cast<size_t>(t * find.count)]);
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
          .gate = gate,
          .clamp = clamp,
          .rotate = rotate,
          .embed = embed,
          .log_softmax = log_softmax,
          .find_candidates = find_candidates,
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
