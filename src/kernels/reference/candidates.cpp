// The likeliest columns of rows, by looking at a whole row for each of them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/candidate_check.h"
#include "kernels/reference/reference_kernels.h"

namespace slim {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// log(sum exp(x)) over columns [begin, end); -infinity if all are, NaN with a NaN or +infinity.
double log_sum(const float* x, int64_t begin, int64_t end) {
  float largest = -kInfinity;
  for (int64_t i = begin; i < end; ++i) largest = std::max(largest, x[i]);
  const double shift = largest == -kInfinity ? 0.0 : static_cast<double>(largest);
  double sum = 0.0;  // a NaN, which max() passes over, enters here
  for (int64_t i = begin; i < end; ++i) sum += std::exp(static_cast<double>(x[i]) - shift);
  return shift + std::log(sum);
}

// The largest that comes after `last`: is less, or equal and further right. -1: none.
int32_t next_largest(const float* x, int64_t begin, int64_t end, int32_t last) {
  int32_t best = -1;
  float most = -kInfinity;
  for (int64_t i = begin; i < end; ++i) {
    const bool after = last < 0 || x[i] < x[last] || (x[i] == x[last] && i > last);
    if (!after || !(x[i] > most)) continue;
    most = x[i];
    best = static_cast<int32_t>(i);
  }
  return best;
}

void find_in_row(const FindCandidates& find, int64_t row, std::span<Candidate> found) {
  const float* x = find.x.row<float>(row);
  const int64_t columns = find.x.columns;
  const int64_t tail = std::min(find.tail, columns);
  double logarithm = log_sum(x, 0, columns);
  const Candidate none{
      -1, std::isnan(logarithm) ? std::numeric_limits<float>::quiet_NaN() : -kInfinity};
  std::fill(found.begin(), found.end(), none);
  if (!(logarithm > -std::numeric_limits<double>::infinity())) return;
  const auto candidate = [&](int32_t column) {
    return Candidate{column, static_cast<float>(static_cast<double>(x[column]) - logarithm)};
  };
  const int32_t asked = find.asked.empty() ? -1 : find.asked[static_cast<size_t>(row)];
  if (asked >= 0) {
    if (x[asked] > -kInfinity) found[0] = candidate(asked);
    return;
  }
  const double together = log_sum(x, tail, columns);
  const int32_t likeliest = next_largest(x, 0, tail, -1);
  const float other = likeliest < 0 ? -kInfinity : x[likeliest];
  const bool settled = together > static_cast<double>(other);
  if (settled) logarithm = together;
  int32_t last = -1;
  for (Candidate& one : found) {
    last = next_largest(x, settled ? tail : 0, columns, last);
    if (last < 0) return;
    one = candidate(last);
  }
}

}  // namespace

void ReferenceKernels::forbid(const Forbid& arguments) {
  check_forbid(arguments);
  const auto& [x, columns] = arguments;
  for (const auto& [only, begin, end] : columns) {
    for (int64_t row = 0; row < x.rows; ++row) {
      if (only < 0 || row == only)
        std::fill(x.row<float>(row) + begin, x.row<float>(row) + end, -kInfinity);
    }
  }
}

void ReferenceKernels::find_candidates(const FindCandidates& arguments) {
  check_candidates(arguments);
  const auto count = static_cast<size_t>(arguments.count);
  for (int64_t row = 0; row < arguments.x.rows; ++row) {
    find_in_row(arguments, row,
                arguments.candidates.subspan(static_cast<size_t>(row) * count, count));
  }
}

}  // namespace slim
