// How decoding over rows is cut: every page of every query once, in runs as even as promised.
#include "kernels/cuda/row_work.h"

#include <algorithm>
#include <map>
#include <vector>

#include "gtest/gtest.h"

namespace slim::cuda {
namespace {

// Sequences of so many rows, each read by as many queries of a slice of their own.
class Sequences {
 public:
  explicit Sequences(const std::vector<int64_t>& rows, int64_t readers = 1) {
    memory_.resize(100'000);
    tables_.reserve(rows.size());
    int64_t tokens = 0;
    for (const int64_t count : rows) {
      std::vector<std::byte*>& table = tables_.emplace_back();
      for (int64_t row = 0; row < count; row += kPageRows) table.push_back(&memory_[used_++]);
      for (int64_t i = 0; i < readers; ++i) {
        slices_.push_back({tokens++, 1, count, table.data()});
      }
    }
  }

  std::vector<Slice>& slices() { return slices_; }

 private:
  std::vector<std::byte> memory_;
  size_t used_ = 0;
  std::vector<std::vector<std::byte*>> tables_;
  std::vector<Slice> slices_;
};

int64_t longest_run(const RowWork& work) {
  int64_t longest = 0;
  for (int64_t cluster = 0; cluster < work.clusters(); ++cluster) {
    int64_t pages = 0;
    const auto at = static_cast<size_t>(cluster);
    for (int32_t i = work.cluster_segments[at]; i < work.cluster_segments[at + 1]; ++i) {
      pages += work.segments[static_cast<size_t>(i)].page_count;
    }
    longest = std::max(longest, pages);
  }
  return longest;
}

// Each token's segments, by slot: its pages in order, and rows to the last.
void expect_whole(const RowWork& work, const std::vector<Slice>& slices, bool causal) {
  std::map<int32_t, std::map<int32_t, RowSegment>> by_token;
  for (const RowSegment& segment : work.segments) {
    EXPECT_TRUE(by_token[segment.token].emplace(segment.slot, segment).second);
  }
  for (const Slice& slice : slices) {
    for (int64_t i = 0; i < slice.count; ++i) {
      const auto token = static_cast<int32_t>(slice.first + i);
      int64_t rows = 0;
      for (const auto& [slot, segment] : by_token[token]) {
        EXPECT_EQ(rows % kPageRows, 0);
        for (int32_t page = 0; page < segment.page_count; ++page) {
          EXPECT_EQ(work.pages.at(static_cast<size_t>(segment.first_place + page)),
                    slice.pages[rows / kPageRows + page]);
        }
        rows += segment.rows;
      }
      EXPECT_EQ(rows, causal ? slice.rows - slice.count + i + 1 : slice.rows) << token;
    }
  }
  ASSERT_EQ(work.first_slot.size(), work.merged.size() + 1);
  for (size_t i = 0; i < work.merged.size(); ++i) {
    int32_t slot = work.first_slot[i];
    for (const auto& [number, segment] : by_token[work.merged[i]]) EXPECT_EQ(number, slot++);
    EXPECT_EQ(slot, work.first_slot[i + 1]);
  }
}

TEST(RowWork, WholeQueriesWhereThatIsAsGood) {
  Sequences sequences(std::vector<int64_t>(64, 1500));
  const RowWork work = cut_rows(sequences.slices(), false, true, 66);
  EXPECT_EQ(work.clusters(), 64);
  EXPECT_EQ(work.slots(), 0);
  EXPECT_TRUE(work.merged.empty());
  expect_whole(work, sequences.slices(), false);
}

TEST(RowWork, ShortSequencesUseAllClusters) {
  Sequences sequences({64, 64, 128, 1, 64});
  const RowWork work = cut_rows(sequences.slices(), false, true, 66);
  EXPECT_EQ(longest_run(work), 2);
  EXPECT_EQ(work.clusters(), 5);
  EXPECT_EQ(work.slots(), 0);
  expect_whole(work, sequences.slices(), false);
}

TEST(RowWork, EqualRunsWhereQueriesAreFew) {
  Sequences sequences({1500, 1500, 1500, 1500, 1500, 1500, 1500, 1500});
  const RowWork work = cut_rows(sequences.slices(), false, true, 66);
  EXPECT_EQ(longest_run(work), 3);
  EXPECT_EQ(work.slots(), 64);
  EXPECT_EQ(std::ssize(work.merged), 8);
  expect_whole(work, sequences.slices(), false);
}

TEST(RowWork, ReadersOfTheSameRowsWalkThemTogether) {
  Sequences sequences(std::vector<int64_t>(64, 1500), 5);
  const RowWork work = cut_rows(sequences.slices(), false, true, 66);
  EXPECT_EQ(work.clusters(), 65);
  EXPECT_EQ(longest_run(work), 120);
  for (size_t cluster = 0; cluster < 65; cluster += 5) {
    for (size_t i = 1; i < 5; ++i) {
      const RowSegment& first = work.segments[static_cast<size_t>(work.cluster_segments[cluster])];
      const RowSegment& other =
          work.segments[static_cast<size_t>(work.cluster_segments[cluster + i])];
      EXPECT_EQ(other.first_place, first.first_place);
      EXPECT_EQ(other.token, first.token + static_cast<int32_t>(i));
    }
  }
  expect_whole(work, sequences.slices(), false);
}

TEST(RowWork, EveryPageOnceWhateverTheShape) {
  for (const int64_t clusters : {1, 3, 66, 132}) {
    for (const int64_t readers : {1, 2, 5}) {
      Sequences sequences({64, 1, 1500, 700, 65, 6400, 128, 129}, readers);
      for (const bool at_once : {false, true}) {
        const RowWork work = cut_rows(sequences.slices(), false, at_once, clusters);
        EXPECT_LE(work.clusters(), clusters);
        expect_whole(work, sequences.slices(), false);
      }
    }
  }
}

TEST(RowWork, TokensOfAPromptSeeTheirOwnRows) {
  Sequences sequences({130, 66});
  sequences.slices()[0].count = 4;
  sequences.slices()[1].first = 4;
  sequences.slices()[1].count = 3;
  expect_whole(cut_rows(sequences.slices(), true, true, 7), sequences.slices(), true);
  expect_whole(cut_rows(sequences.slices(), false, true, 7), sequences.slices(), false);
}

TEST(RowWork, QueriesThatSeeNothingAreMergedFromNothing) {
  Sequences sequences({0, 64, 0});
  const RowWork work = cut_rows(sequences.slices(), false, true, 66);
  EXPECT_EQ(work.segments.size(), 1);
  EXPECT_EQ(work.merged, (std::vector<int32_t>{0, 2}));
  expect_whole(work, sequences.slices(), false);
  Sequences none({0});
  EXPECT_EQ(cut_rows(none.slices(), false, true, 66).clusters(), 0);
}

}  // namespace
}  // namespace slim::cuda
