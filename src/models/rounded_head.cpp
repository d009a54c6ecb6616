// Rounding, and what has to be multiplied again. Lists are kept from call to call by their thread,
// so that a step allocates nothing.
#include "models/rounded_head.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "attention/step_scratch.h"
#include "kernels/input_scale.h"

namespace slim {
namespace {

constexpr int64_t kSmallVocabulary = 8192;  // below it there is little to save
constexpr int64_t kGathered = 1024;         // rows of weights that are multiplied again at a time
constexpr int64_t kDescribed = 4096;        // rows that describe the columns of all
constexpr float kLargest = 127;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

std::vector<int32_t>& doubtful() {
  thread_local std::vector<int32_t> of_this_thread;
  return of_this_thread;
}

// Of a number within +-127, by instructions of the baseline.
float nearest(float number) {
  return static_cast<float>(static_cast<int32_t>(number + std::copysign(0.5F, number)));
}

// What a row of weights is rounded to.
struct RoundedWeights {
  int8_t* integers = nullptr;
  float* scale = nullptr;
  float* lost = nullptr;  // |u - v|
  float* kept = nullptr;  // |v|
};

// Of the step at hand, row by row: made with its rounded logits, needed to settle them.
std::vector<RoundedInput>& inputs() {
  thread_local std::vector<RoundedInput> of_this_thread;
  return of_this_thread;
}

// The largest size; NaN if one is.
float largest_of(std::span<const float> values) {
  float largest = 0;
  bool numbers = true;
  for (const float value : values) {
    largest = std::max(largest, std::abs(value));
    numbers &= !std::isnan(value);
  }
  return numbers ? largest : std::numeric_limits<float>::quiet_NaN();
}

// To the nearest of 127 steps either side; false if a number is not finite, or too small to divide
// by.
bool round_row(std::span<const float> row, const RoundedWeights& to) {
  const float largest = largest_of(row);
  const float scale = largest / kLargest;
  const float inverse = largest > 0 ? kLargest / largest : 0;
  if (!std::isfinite(largest) || !std::isfinite(inverse)) return false;
  float lost = 0;
  float kept = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    const float number = row[i] * inverse;
    const float whole = nearest(number);
    to.integers[i] = static_cast<int8_t>(whole);
    kept += whole * whole;
    lost += (number - whole) * (number - whole);
  }
  *to.scale = scale;
  *to.lost = scale * std::sqrt(lost);
  *to.kept = scale * std::sqrt(kept);
  return true;
}

// How far logits of a row are off, column by column.
class Reach {
 public:
  Reach(const RoundedInput& input, const Tensor& norms)
      : lost_(norms.values<float>()), kept_(lost_ + norms.size(1)), input_(input) {}

  float of(int64_t column) const {
    return lost_[column] * input_.size + kept_[column] * input_.off;
  }

 private:
  const float* lost_;
  const float* kept_;
  const RoundedInput input_;
};

// The largest of logit + reach of columns [begin, end); eight at a time, which the compiler keeps
// in vectors.
float highest(const float* logits, const Reach& reach, int64_t begin, int64_t end) {
  constexpr int64_t kLanes = 8;
  std::array<float, kLanes> best;
  best.fill(kLowest);
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      const float value = logits[i + j] + reach.of(i + j);
      best[static_cast<size_t>(j)] = std::max(best[static_cast<size_t>(j)], value);
    }
  }
  float most = *std::max_element(best.begin(), best.end());
  for (; i < end; ++i) most = std::max(most, logits[i] + reach.of(i));
  return most;
}

// Columns that may reach `least`; those at -infinity never do.
void collect(const float* logits, const Reach& reach, int64_t count, float least,
             std::vector<int32_t>& columns) {
  constexpr int64_t kBlock = 256;
  least = std::max(least, std::numeric_limits<float>::lowest());
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, count);
    if (!(highest(logits, reach, begin, end) >= least)) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (logits[i] + reach.of(i) >= least) columns.push_back(static_cast<int32_t>(i));
    }
  }
}

}  // namespace

bool RoundedHead::serves(const ModelSpec& spec, const LinearWeights& head, Kernels& kernels) {
  if (!spec.hears() || head.weight.empty() || !head.bias.empty()) return false;
  if (!kernels.device().host() || !kernels.takes(Inputs::i8)) return false;
  if (head.weight.size(0) < kSmallVocabulary) return false;
  if (spec.logit_scale != 1.0F || spec.logit_cap != 0.0F) return false;
  const DType type = head.weight.type();
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

int64_t rounded_head_bytes(const ModelSpec& spec, const ModelWeights& weights, Kernels& kernels) {
  const LinearWeights& head = weights.parts().head;
  if (!RoundedHead::serves(spec, head, kernels)) return 0;
  const int64_t outputs = head.weight.size(0);
  return head.weight.elements() + int64_t{sizeof(float)} * (3 * outputs + 2 * head.weight.size(1));
}

std::unique_ptr<RoundedHead> RoundedHead::make(const ModelSpec& spec, const LinearWeights& head,
                                               Kernels& kernels) {
  if (!serves(spec, head, kernels)) return nullptr;
  std::unique_ptr<RoundedHead> made(new RoundedHead(head, kernels));
  return made->round() ? std::move(made) : nullptr;
}

RoundedHead::RoundedHead(const LinearWeights& head, Kernels& kernels)
    : exact_(head), kernels_(kernels) {}

template <typename Visit>
bool RoundedHead::each_row(int64_t step, const Visit& visit) const {
  const int64_t rows = exact_.weight.size(0);
  const auto width = static_cast<size_t>(exact_.weight.size(1));
  StepScratch memory(kernels_.device());
  const Matrix some = memory.matrix(kGathered, exact_.weight.size(1));
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < rows;) {
    ids.clear();
    for (; row < rows && std::ssize(ids) < kGathered; row += step) {
      ids.push_back(static_cast<int32_t>(row));
    }
    const Matrix these = some.rows_from(0, std::ssize(ids));
    kernels_.embed(embed_of(ids, exact_, these));
    for (int64_t i = 0; i < these.rows; ++i) {
      const int64_t id = ids[static_cast<size_t>(i)];
      if (!visit(id, std::span(these.row<float>(i), width))) return false;
    }
  }
  return true;
}

// Of some rows: the bound holds for any m, and any d above 0.
void RoundedHead::describe_columns() {
  const int64_t width = exact_.weight.size(1);
  std::vector<double> sums(static_cast<size_t>(2 * width));
  double* squares = sums.data() + width;
  double count = 0;
  each_row(std::max<int64_t>(1, exact_.weight.size(0) / kDescribed),
           [&](int64_t, std::span<const float> row) {
             for (size_t i = 0; i < row.size(); ++i) {
               const double value = row[i];
               sums[i] += value;
               squares[i] += value * value;
             }
             ++count;
             return true;
           });
  double largest = 0;
  for (int64_t i = 0; i < width; ++i) {
    double& mean = sums[static_cast<size_t>(i)];
    mean /= count;
    squares[i] = std::sqrt(std::max(squares[i] / count - mean * mean, 0.0));
    largest = std::max(largest, squares[i]);
  }
  columns_ = Tensor::allocate(host_device(), DType::f32, {2, width});
  auto* described = columns_.writable<float>();
  for (int64_t i = 0; i < width; ++i) {
    const double mean = sums[static_cast<size_t>(i)];
    const double least = 1e-6 * std::max(std::abs(mean), largest);  // of it f32 leaves nothing
    described[i] = static_cast<float>(mean);
    described[width + i] = static_cast<float>(least > 0 ? std::max(squares[i], least) : 1.0);
  }
}

bool RoundedHead::round() {
  describe_columns();
  const int64_t rows = exact_.weight.size(0);
  const int64_t width = exact_.weight.size(1);
  rounded_.weight = Tensor::allocate(host_device(), DType::i8, {rows, width});
  rounded_.scale = Tensor::allocate(host_device(), DType::f32, {rows});
  rounded_.inputs = Inputs::i8;
  norms_ = Tensor::allocate(host_device(), DType::f32, {2, rows});
  auto* integers = rounded_.weight.writable<int8_t>();
  auto* scales = rounded_.scale.writable<float>();
  auto* norms = norms_.writable<float>();
  const auto* mean = columns_.values<float>();
  const float* deviation = mean + width;
  std::vector<float> standard(static_cast<size_t>(width));
  return each_row(1, [&](int64_t row, std::span<const float> values) {
    for (size_t i = 0; i < standard.size(); ++i) {
      standard[i] = (values[i] - mean[i]) / deviation[i];
    }
    return round_row(standard,
                     {integers + row * width, scales + row, norms + row, norms + rows + row});
  });
}

RoundedInput RoundedHead::prepare(const float* x, float* z) const {
  const int64_t width = columns_.size(1);
  const auto* mean = columns_.values<float>();
  const float* deviation = mean + width;
  for (int64_t i = 0; i < width; ++i) z[i] = x[i] * deviation[i];
  const auto common = static_cast<float>(std::inner_product(mean, mean + width, x, 0.0));
  const InputScale by(Inputs::i8, largest_of({z, static_cast<size_t>(width)}));
  if (!by.finite) return {by.scale, by.scale, common};
  // In units of y's step, so that squares are numbers whatever the size of z.
  float squares = 0;
  float shared = 0;
  for (int64_t i = 0; i < width; ++i) {
    const float number = z[i] * by.inverse;
    squares += number * number;
    shared += number * nearest(number);
  }
  const float factor = shared > 0 ? squares / shared : 1;
  float off = 0;
  for (int64_t i = 0; i < width; ++i) {
    const float number = z[i] * by.inverse;
    const float rest = number - factor * nearest(number);
    off += rest * rest;
    z[i] *= factor;
  }
  constexpr float kRoom = 1 + 1.0F / 256;
  const float size = by.scale * std::sqrt(squares) * kRoom;
  return {size, by.scale * std::sqrt(off) * kRoom + size * 0x1p-20F, common};
}

void RoundedHead::approximate(ConstMatrix x, Matrix logits) const {
  StepScratch memory(kernels_.device());
  const Matrix z = memory.matrix(x.rows, x.columns);
  inputs().clear();
  for (int64_t t = 0; t < x.rows; ++t) {
    inputs().push_back(prepare(x.row<float>(t), z.row<float>(t)));
  }
  kernels_.linear(linear_of(z, rounded_, logits));
}

void RoundedHead::settle(ConstMatrix x, const FindCandidates& find, Matrix logits) const {
  const int64_t tail = std::min(find.tail, logits.columns);
  find_doubtful(logits.columns_from(0, tail), find.count);
  settle_doubtful(x, logits);
  settle_tail(x, tail, logits);
}

void RoundedHead::find_doubtful(ConstMatrix logits, int64_t count) const {
  thread_local std::vector<Candidate> likeliest;
  likeliest.resize(static_cast<size_t>(logits.rows * count));
  kernels_.find_candidates({.x = logits, .count = count, .candidates = likeliest});
  std::vector<int32_t>& columns = doubtful();
  columns.clear();
  columns.reserve(static_cast<size_t>(2 * logits.columns));  // however many there will be
  const auto sort = [&] {
    std::sort(columns.begin(), columns.end());
    columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  };
  for (int64_t t = 0; t < logits.rows; ++t) {
    const auto* row = logits.row<float>(t);
    const Reach reach(inputs()[static_cast<size_t>(t)], norms_);
    float least = std::numeric_limits<float>::infinity();
    for (const Candidate& one :
         std::span(likeliest).subspan(static_cast<size_t>(t * count), static_cast<size_t>(count))) {
      least = std::min(least, one.column < 0 ? kLowest : row[one.column] - reach.of(one.column));
    }
    collect(row, reach, logits.columns, least, columns);
    if (std::ssize(columns) > logits.columns) sort();
  }
  sort();
}

void RoundedHead::settle_doubtful(ConstMatrix x, Matrix logits) const {
  const std::span<const int32_t> all = doubtful();
  if (all.empty()) return;
  StepScratch memory(kernels_.device());
  const Matrix gathered = memory.matrix(kGathered, x.columns);
  const Matrix products = memory.matrix(x.rows, kGathered);
  for (size_t first = 0; first < all.size(); first += kGathered) {
    const auto some = all.subspan(first, std::min<size_t>(kGathered, all.size() - first));
    const Matrix weights = gathered.rows_from(0, std::ssize(some));
    const Matrix exact = products.columns_from(0, std::ssize(some));
    kernels_.embed(embed_of(some, exact_, weights));
    kernels_.linear({.x = x, .weight = weights, .y = exact});
    for (int64_t t = 0; t < x.rows; ++t) {
      auto* row = logits.row<float>(t);
      const auto* from = exact.row<float>(t);
      const float common = inputs()[static_cast<size_t>(t)].common;
      for (size_t i = 0; i < some.size(); ++i) {
        float& logit = row[some[i]];
        if (logit > kLowest) logit = from[i] - common;
      }
    }
  }
}

void RoundedHead::settle_tail(ConstMatrix x, int64_t tail, Matrix logits) const {
  int64_t first = logits.columns;  // that some row may have
  for (int64_t t = 0; t < logits.rows; ++t) {
    const auto* row = logits.row<float>(t);
    int64_t own = tail;
    while (own < first && !(row[own] > kLowest)) ++own;
    first = own;
  }
  const int64_t count = logits.columns - first;
  if (count <= 0) return;
  StepScratch memory(kernels_.device());
  const Matrix exact = memory.matrix(x.rows, count);
  kernels_.linear({.x = x, .weight = exact_.weight.matrix().rows_from(first, count), .y = exact});
  for (int64_t t = 0; t < x.rows; ++t) {
    auto* row = logits.row<float>(t) + first;
    const auto* from = exact.row<float>(t);
    const float common = inputs()[static_cast<size_t>(t)].common;
    for (int64_t i = 0; i < count; ++i) row[i] = row[i] > kLowest ? from[i] - common : row[i];
  }
}

}  // namespace slim
