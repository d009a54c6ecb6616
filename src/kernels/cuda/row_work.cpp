// Families, teams and runs.
#include "kernels/cuda/row_work.h"

#include <algorithm>

namespace slim::cuda {
namespace {

// Of a query's segments: to write, read and add them up takes about as long as reading two pages.
constexpr int64_t kMergePages = 2;

struct Query {
  int64_t token = 0;
  int64_t rows = 0;
  int64_t place = 0;  // of its first page

  int64_t pages() const { return (rows + kPageRows - 1) / kPageRows; }
};

// Part of a family, in a run.
struct Piece {
  size_t family = 0;
  int64_t page = 0;
  int64_t count = 0;
};

using Run = std::vector<Piece>;

class RowCut {
 public:
  RowCut(std::span<const Slice> slices, bool causal);

  RowWork cut(bool at_once, int64_t clusters);

 private:
  void add(const Slice& slice, int64_t token, int64_t rows);
  void choose_team(int64_t clusters);
  const Query& first_of(size_t family) const { return queries_[family * team_]; }
  size_t families() const { return queries_.size() / team_; }
  std::vector<Run> whole(int64_t longest, int64_t most_runs) const;
  std::vector<Run> equal(int64_t length) const;
  void number(const std::vector<Run>& runs, bool at_once);

  std::vector<Query> queries_;         // that see a row
  std::vector<int64_t> blind_;         // tokens that see none
  std::vector<size_t> family_begins_;  // in queries_
  size_t team_ = 1;
  std::vector<int32_t> first_slots_;  // by query; -1: none
  RowWork work_;
};

RowCut::RowCut(std::span<const Slice> slices, bool causal) {
  for (const Slice& slice : slices) {
    for (int64_t i = 0; i < slice.count; ++i) {
      const int64_t rows = causal ? slice.rows - slice.count + i + 1 : slice.rows;
      if (rows > 0) {
        add(slice, slice.first + i, rows);
      } else {
        blind_.push_back(slice.first + i);
      }
    }
  }
}

void RowCut::add(const Slice& slice, int64_t token, int64_t rows) {
  Query query{token, rows, std::ssize(work_.pages)};
  const int64_t pages = query.pages();
  if (!queries_.empty() && queries_.back().rows == rows &&
      std::equal(slice.pages, slice.pages + pages, work_.pages.begin() + queries_.back().place)) {
    query.place = queries_.back().place;
  } else {
    family_begins_.push_back(queries_.size());
    work_.pages.insert(work_.pages.end(), slice.pages, slice.pages + pages);
  }
  queries_.push_back(query);
}

// Teams that leave more than an eighth of the clusters idle are not worth it.
void RowCut::choose_team(int64_t clusters) {
  const size_t size = queries_.size() / family_begins_.size();
  if (static_cast<int64_t>(size) > clusters) return;
  for (size_t i = 0; i < family_begins_.size(); ++i) {
    if (family_begins_[i] != i * size) return;
  }
  if (size * family_begins_.size() != queries_.size()) return;
  if (clusters % static_cast<int64_t>(size) > clusters / 8) return;
  team_ = size;
}

// Families in their order, as many as fit into each run of at most `longest` pages; but none starts
// where another has been while there are runs enough for all.
std::vector<Run> RowCut::whole(int64_t longest, int64_t most_runs) const {
  std::vector<Run> runs;
  int64_t room = 0;
  for (size_t family = 0; family < families(); ++family) {
    const int64_t pages = first_of(family).pages();
    const auto left = static_cast<int64_t>(families() - family);
    if (runs.empty() || pages > room || most_runs - std::ssize(runs) >= left) {
      runs.emplace_back();
      room = longest;
    }
    runs.back().push_back({family, 0, pages});
    room -= pages;
  }
  return runs;
}

std::vector<Run> RowCut::equal(int64_t length) const {
  std::vector<Run> runs;
  int64_t room = 0;
  for (size_t family = 0; family < families(); ++family) {
    const int64_t pages = first_of(family).pages();
    for (int64_t page = 0; page < pages;) {
      if (room == 0) {
        runs.emplace_back();
        room = length;
      }
      const int64_t count = std::min(pages - page, room);
      runs.back().push_back({family, page, count});
      page += count;
      room -= count;
    }
  }
  return runs;
}

// Gives every query that is merged its slots.
void RowCut::number(const std::vector<Run>& runs, bool at_once) {
  std::vector<int32_t> pieces(families());
  for (const Run& run : runs) {
    for (const Piece& piece : run) ++pieces[piece.family];
  }
  int32_t slots = 0;
  for (size_t i = 0; i < queries_.size(); ++i) {
    const int32_t count = pieces[i / team_];
    first_slots_.push_back(at_once && count == 1 ? -1 : slots);
    if (first_slots_.back() < 0) continue;
    work_.merged.push_back(static_cast<int32_t>(queries_[i].token));
    work_.first_slot.push_back(slots);
    slots += count;
  }
  for (const int64_t token : blind_) {
    work_.merged.push_back(static_cast<int32_t>(token));
    work_.first_slot.push_back(slots);
  }
  work_.first_slot.push_back(slots);
}

RowWork RowCut::cut(bool at_once, int64_t clusters) {
  std::vector<Run> runs;
  if (!queries_.empty()) {
    choose_team(clusters);
    int64_t pages = 0;
    int64_t longest = 0;
    for (size_t family = 0; family < families(); ++family) {
      pages += first_of(family).pages();
      longest = std::max(longest, first_of(family).pages());
    }
    const int64_t most_runs = clusters / static_cast<int64_t>(team_);
    const int64_t mean = (pages + most_runs - 1) / most_runs;
    for (int64_t run = std::max(mean, longest); run <= mean + kMergePages; ++run) {
      runs = whole(run, most_runs);
      if (std::ssize(runs) <= most_runs) break;
      runs.clear();
    }
    if (runs.empty()) runs = equal(mean);
  }
  number(runs, at_once);
  std::vector<int32_t> piece_of(families());  // of each family, its pieces so far
  for (const Run& run : runs) {
    for (size_t member = 0; member < team_; ++member) {
      work_.cluster_segments.push_back(static_cast<int32_t>(work_.segments.size()));
      for (const Piece& piece : run) {
        const size_t number = piece.family * team_ + member;
        const Query& query = queries_[number];
        const int32_t first = first_slots_[number];
        work_.segments.push_back(
            {static_cast<int32_t>(query.place + piece.page), static_cast<int32_t>(piece.count),
             static_cast<int32_t>(
                 std::min(query.rows - piece.page * kPageRows, piece.count * kPageRows)),
             static_cast<int32_t>(query.token), first < 0 ? -1 : first + piece_of[piece.family]});
      }
    }
    for (const Piece& piece : run) ++piece_of[piece.family];
  }
  work_.cluster_segments.push_back(static_cast<int32_t>(work_.segments.size()));
  return std::move(work_);
}

}  // namespace

RowWork cut_rows(std::span<const Slice> slices, bool causal, bool at_once, int64_t clusters) {
  return RowCut(slices, causal).cut(at_once, clusters);
}

}  // namespace slim::cuda
