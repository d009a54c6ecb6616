// Rounding, and what has to be multiplied again. Lists are kept from call to call by their thread,
// so that a step allocates nothing.
#include "models/rounded_head.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "attention/step_scratch.h"
#include "kernels/byte_products.h"

namespace slim {
namespace {

constexpr int64_t kFewRows = 16;
constexpr int64_t kSmallVocabulary = 8192;  // below it there is little to save
constexpr int64_t kGathered = 1024;         // rows of weights that are multiplied again at a time
constexpr float kLargest = 127;
constexpr float kLowest = -std::numeric_limits<float>::infinity();

std::vector<int32_t>& doubtful() {
  thread_local std::vector<int32_t> of_this_thread;
  return of_this_thread;
}

// To the nearest of 127 steps either side; false if a number is not finite, or too small to divide
// by.
bool round_row(std::span<const float> row, int8_t* integers, float* scale) {
  float largest = 0;
  bool numbers = true;
  for (const float value : row) {
    largest = std::max(largest, std::abs(value));
    numbers &= !std::isnan(value);
  }
  *scale = largest / kLargest;
  const float inverse = largest > 0 ? kLargest / largest : 0;
  if (!numbers || !std::isfinite(largest) || !std::isfinite(inverse)) return false;
  for (const float value : row) {
    const float number = value * inverse;
    *integers++ = static_cast<int8_t>(number + std::copysign(0.5F, number));
  }
  return true;
}

float reach(const float* x, int64_t width) {
  float sum = 0;
  float largest = 0;
  for (int64_t i = 0; i < width; ++i) {
    const float size = std::abs(x[i]);
    sum += size;
    largest = std::max(largest, size);
  }
  return (sum / 2 + static_cast<float>(width) * largest / 514) * (1 + 1.0F / 256);
}

// The largest of logit + scale * reach; eight at a time, which the compiler keeps in vectors.
float highest(const float* logits, const float* scales, int64_t count, float reach) {
  constexpr int64_t kLanes = 8;
  std::array<float, kLanes> best;
  best.fill(kLowest);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      const float value = logits[i + j] + scales[i + j] * reach;
      best[static_cast<size_t>(j)] = std::max(best[static_cast<size_t>(j)], value);
    }
  }
  float most = *std::max_element(best.begin(), best.end());
  for (; i < count; ++i) most = std::max(most, logits[i] + scales[i] * reach);
  return most;
}

// Columns that may reach `least`; those at -infinity never do.
void collect(const float* logits, const float* scales, int64_t count, float reach, float least,
             std::vector<int32_t>& columns) {
  constexpr int64_t kBlock = 256;
  least = std::max(least, std::numeric_limits<float>::lowest());
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, count);
    if (!(highest(logits + begin, scales + begin, end - begin, reach) >= least)) continue;
    for (int64_t i = begin; i < end; ++i) {
      if (logits[i] + scales[i] * reach >= least) columns.push_back(static_cast<int32_t>(i));
    }
  }
}

}  // namespace

bool RoundedHead::serves(const ModelSpec& spec, const LinearWeights& head, Kernels& kernels) {
  if (!spec.hears() || head.weight.empty() || !head.bias.empty()) return false;
  if (!kernels.device().host() || !kernels.takes(Inputs::i16)) return false;
  if (head.weight.size(0) < kSmallVocabulary) return false;
  if (spec.logit_scale != 1.0F || spec.logit_cap != 0.0F) return false;
  const DType type = head.weight.type();
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

int64_t rounded_head_bytes(const ModelSpec& spec, const ModelWeights& weights, Kernels& kernels) {
  const LinearWeights& head = weights.parts().head;
  if (!RoundedHead::serves(spec, head, kernels)) return 0;
  return head.weight.elements() + 4 * head.weight.size(0);
}

std::unique_ptr<RoundedHead> RoundedHead::make(const ModelSpec& spec, const LinearWeights& head,
                                               Kernels& kernels) {
  if (!serves(spec, head, kernels)) return nullptr;
  std::unique_ptr<RoundedHead> made(new RoundedHead(head, kernels));
  return made->round() ? std::move(made) : nullptr;
}

RoundedHead::RoundedHead(const LinearWeights& head, Kernels& kernels)
    : exact_(head),
      kernels_(kernels),
      most_rows_(has_byte_products(kernels) ? std::numeric_limits<int64_t>::max() : kFewRows) {}

bool RoundedHead::round() {
  const int64_t rows = exact_.weight.size(0);
  const int64_t width = exact_.weight.size(1);
  rounded_.weight = Tensor::allocate(host_device(), DType::i8, {rows, width});
  rounded_.scale = Tensor::allocate(host_device(), DType::f32, {rows});
  rounded_.inputs = Inputs::i16;
  auto* integers = rounded_.weight.writable<int8_t>();
  auto* scales = rounded_.scale.writable<float>();
  StepScratch memory(kernels_.device());
  const Matrix some = memory.matrix(kGathered, width);
  std::vector<int32_t> ids;
  for (int64_t first = 0; first < rows; first += kGathered) {
    ids.clear();
    for (int64_t row = first; row < std::min(rows, first + kGathered); ++row) {
      ids.push_back(static_cast<int32_t>(row));
    }
    kernels_.embed(embed_of(ids, exact_, some.rows_from(0, std::ssize(ids))));
    for (int64_t row = 0; row < std::ssize(ids); ++row) {
      if (!round_row({some.row<float>(row), static_cast<size_t>(width)}, integers, scales++)) {
        return false;
      }
      integers += width;
    }
  }
  return true;
}

void RoundedHead::approximate(ConstMatrix x, Matrix logits) const {
  kernels_.linear(linear_of(x, rounded_, logits));
}

void RoundedHead::settle(ConstMatrix x, const FindCandidates& find, Matrix logits) const {
  const int64_t tail = std::min(find.tail, logits.columns);
  find_doubtful(x, logits.columns_from(0, tail), find.count);
  settle_doubtful(x, logits);
  settle_tail(x, tail, logits);
}

void RoundedHead::find_doubtful(ConstMatrix x, ConstMatrix logits, int64_t count) const {
  thread_local std::vector<Candidate> likeliest;
  likeliest.resize(static_cast<size_t>(logits.rows * count));
  kernels_.find_candidates({.x = logits, .count = count, .candidates = likeliest});
  std::vector<int32_t>& columns = doubtful();
  columns.clear();
  columns.reserve(static_cast<size_t>(logits.columns));  // however many there will be next time
  const auto* scales = rounded_.scale.values<float>();
  for (int64_t t = 0; t < logits.rows; ++t) {
    const auto* row = logits.row<float>(t);
    const float off = reach(x.row<float>(t), x.columns);
    float least = std::numeric_limits<float>::infinity();
    for (const Candidate& one :
         std::span(likeliest).subspan(static_cast<size_t>(t * count), static_cast<size_t>(count))) {
      least =
          std::min(least, one.column < 0 ? kLowest : row[one.column] - scales[one.column] * off);
    }
    collect(row, scales, logits.columns, off, least, columns);
  }
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
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
      for (size_t i = 0; i < some.size(); ++i) {
        float& logit = row[some[i]];
        if (logit > kLowest) logit = from[i];
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
    for (int64_t i = 0; i < count; ++i) row[i] = row[i] > kLowest ? from[i] : row[i];
  }
}

}  // namespace slim
