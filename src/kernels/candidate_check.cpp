// The sentences of their contract.
#include "kernels/candidate_check.h"

#include "base/check.h"

namespace slim {

void check_forbid(const Forbid& forbid) {
  const auto& [x, columns] = forbid;
  for (const auto& [row, begin, end] : columns) {
    check(row >= -1 && row < x.rows, "columns are forbidden of rows there are");
    check(0 <= begin && begin <= end && end <= x.columns, "forbidden columns are among a row's");
  }
}

void check_candidates(const FindCandidates& find) {
  const auto& [x, count, tail, asked, candidates] = find;
  check(count >= 1 && count <= kMostCandidates, "a row has 1 to 128 candidates");
  check(std::ssize(candidates) == x.rows * count && (x.rows == 0 || x.columns > 0),
        "every row has its candidates");
  check(tail >= 0, "a tail begins within a row or behind it");
  check(asked.empty() || std::ssize(asked) == x.rows, "a column may be asked for of every row");
  for (const int32_t column : asked) {
    check(column >= -1 && column < x.columns, "the columns asked for are among a row's");
  }
}

}  // namespace slim
