// Attention over rows that stand alone and that every head reads whole, in the shapes that a card
// reads once: against the reference, alone and in company. Probabilities are f16 there (or two of
// bf16) and their sum is that of the rounded ones, so that an element may stray by 2^-11 of the
// distance between its channel's values and itself: 2^-10 of the largest value of the channel. The
// logarithm of the sum strays by 2^-11. What scores stray by (2^-16 of their products and less) is
// far below.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kBefore = 0.5F;  // what is there, where results are merged

struct Sequence {
  int64_t rows, queries;
};

class RowRead : public ParityTest {};

// A call with all its memory.
class Call {
 public:
  Call(const RowFormat& format, const std::vector<Sequence>& sequences)
      : format_(format),
        heads_(format.width / 64),
        largest_(static_cast<size_t>(format.width), 0.0F),
        queries_(TestMatrix(DType::f32, 0, 1)) {
    // The rows lie between other planes of a page.
    const RowFormat formats[] = {{DType::f32, 3}, format, {DType::f16, 5}};
    int64_t tokens = 0;
    unsigned seed = 17;
    for (const Sequence& sequence : sequences) {
      pages_.emplace_back(formats, sequence.rows);
      fill(seed++);
      slices_.push_back(pages_.back().slice(tokens, sequence.queries));
      tokens += sequence.queries;
    }
    make_queries(tokens);
  }

  // Each sequence's queries as slices of their own, as beams have them.
  void split() {
    std::vector<Slice> all;
    for (const Slice& slice : slices_) {
      for (int64_t i = 0; i < slice.count; ++i) {
        all.push_back({slice.first + i, 1, slice.rows, slice.pages});
      }
    }
    slices_ = all;
  }

  struct Result {
    TestMatrix mixed, lse;
  };

  Result run(Kernels& kernels, bool causal, bool merge, std::span<const Slice> slices) const {
    Attend attend;
    Result result{queries_.map([](float) { return kBefore; }),
                  TestMatrix(DType::f32, queries_.rows(), heads_).map([](float) { return 1.0F; })};
    attend.queries = queries_.view();
    attend.mixed = result.mixed.view();
    if (merge) attend.lse = result.lse.view();
    attend.slices = slices;
    attend.keys = attend.values = pages_.front().plane(1);
    attend.heads = heads_;
    attend.key_width = attend.value_width = format_.width;
    attend.scale = 0.125F;
    attend.causal = causal;
    attend.merge = merge;
    kernels.attend_shared(attend);
    return result;
  }
  Result run(Kernels& kernels, bool causal, bool merge) const {
    return run(kernels, causal, merge, slices_);
  }
  std::span<const Slice> slices() const { return slices_; }

  void spoil_row(size_t sequence, int64_t row) {
    const std::vector<float> nothing(static_cast<size_t>(format_.width), std::nanf(""));
    pages_[sequence].set_row(1, row, nothing.data());
  }

  TestMatrix bounds() const {
    TestMatrix bounds = queries_;
    for (int64_t row = 0; row < bounds.rows(); ++row) {
      for (int64_t c = 0; c < bounds.columns(); ++c) {
        const float most = std::max(kBefore, largest_[static_cast<size_t>(c % format_.width)]);
        bounds.set(row, c, 0x1p-10F * most);
      }
    }
    return bounds;
  }
  TestMatrix lse_bounds() const {
    return TestMatrix(DType::f32, queries_.rows(), heads_).map([](float) { return 0x1p-10F; });
  }

 private:
  // Uniform noise around a channel's own middle; a few channels are eight times as large.
  void fill(unsigned seed) {
    PagedRows& pages = pages_.back();
    const auto noise = TestMatrix::random(seed, DType::f32, pages.rows(), format_.width);
    std::vector<float> row(static_cast<size_t>(format_.width));
    for (int64_t s = 0; s < pages.rows(); ++s) {
      for (int64_t c = 0; c < format_.width; ++c) {
        const float middle = 0.1F * static_cast<float>(c % 9) - 0.4F;
        const float size = c % 97 == 5 ? 8.0F : 1.0F;
        const auto at = static_cast<size_t>(c);
        row[at] = size * (noise.at(s, c) + middle);
        largest_[at] = std::max(largest_[at], std::fabs(row[at]));
      }
      pages.set_row(1, s, row.data());
    }
  }

  // Scores of a deviation of about 3, of every third token 9; the third head of each scores 0.
  void make_queries(int64_t tokens) {
    queries_ = TestMatrix::random(5, DType::f32, tokens, heads_ * format_.width);
    const float size = 3.0F * 8.0F * 3.0F / std::sqrt(1.6F * static_cast<float>(format_.width));
    for (int64_t token = 0; token < tokens; ++token) {
      for (int64_t c = 0; c < queries_.columns(); ++c) {
        const float factor = c / format_.width == 2 ? 0.0F : token % 3 == 2 ? 3.0F * size : size;
        queries_.set(token, c, factor * queries_.at(token, c));
      }
    }
  }

  RowFormat format_;
  int64_t heads_;
  std::vector<float> largest_;  // of each channel
  TestMatrix queries_;
  std::vector<PagedRows> pages_;
  std::vector<Slice> slices_;
};

const std::vector<Sequence> kSequences = {{64, 1}, {700, 1}, {1, 1}, {65, 2}, {193, 1}};

void expect_agreement(const Call& call, Kernels& kernels, Kernels& reference, bool causal,
                      bool merge) {
  const Call::Result expected = call.run(reference, causal, merge);
  const Call::Result actual = call.run(kernels, causal, merge);
  EXPECT_TRUE(agrees(actual.mixed, expected.mixed, call.bounds()));
  EXPECT_TRUE(agrees(actual.lse, expected.lse, call.lse_bounds()));
}

TEST_P(RowRead, AgreesWithTheReferenceInEveryShape) {
  for (const DType type : {DType::f16, DType::bf16}) {
    for (const int64_t width : {384, 512, 768, 1024, 1280}) {
      SCOPED_TRACE(testing::Message() << name_of(type) << " rows of " << width);
      expect_agreement(Call({type, width}, kSequences), *kernels_, *reference_, true, false);
    }
  }
}

// More sequences than clusters: each is read whole. Fewer: they are cut, and merged.
TEST_P(RowRead, ReadsManySequencesAndLongOnes) {
  std::vector<Sequence> many(150, {70, 1});
  expect_agreement(Call({DType::f16, 384}, many), *kernels_, *reference_, false, false);
  expect_agreement(Call({DType::f16, 512}, {{1500, 1}}), *kernels_, *reference_, false, false);
}

TEST_P(RowRead, MergesWithWhatIsThere) {
  for (const int64_t width : {384, 1280}) {
    expect_agreement(Call({DType::f16, width}, kSequences), *kernels_, *reference_, true, true);
  }
}

TEST_P(RowRead, BeamsReadTheSameRows) {
  for (const int64_t width : {512, 1280}) {
    Call call({DType::f16, width}, {{200, 5}, {200, 5}, {100, 5}});
    call.split();
    expect_agreement(call, *kernels_, *reference_, false, false);
  }
}

// Neighbours decide where a sequence's pages are cut, which changes no more than rounding.
TEST_P(RowRead, CompanyChangesOnlyRounding) {
  const Call call({DType::f16, 512}, kSequences);
  const TestMatrix bounds = call.bounds();
  const Call::Result together = call.run(*kernels_, true, false);
  for (const Slice& slice : call.slices()) {
    const Call::Result alone = call.run(*kernels_, true, false, {&slice, 1});
    for (int64_t token = slice.first; token < slice.first + slice.count; ++token) {
      for (int64_t c = 0; c < alone.mixed.columns(); ++c) {
        ASSERT_NEAR(alone.mixed.at(token, c), together.mixed.at(token, c), bounds.at(token, c))
            << token;
      }
    }
  }
}

TEST_P(RowRead, NoRowsLeaveWhatWasThere) {
  const Call call({DType::f16, 512}, {{0, 1}, {64, 1}, {0, 2}});
  const Call::Result result = call.run(*kernels_, false, true);
  for (const int64_t token : {0, 2, 3}) {
    EXPECT_EQ(result.mixed.at(token, 0), kBefore);
    EXPECT_EQ(result.lse.at(token, 0), 1.0F);
  }
}

TEST_P(RowRead, WhatIsNotANumberStaysOne) {
  Call call({DType::f16, 512}, {{65, 1}, {64, 1}});
  const TestMatrix expected = call.run(*kernels_, false, false).mixed;
  call.spoil_row(0, 64);
  const TestMatrix actual = call.run(*kernels_, false, false).mixed;
  for (int64_t c = 0; c < actual.columns(); ++c) {
    EXPECT_TRUE(std::isnan(actual.at(0, c)));
    EXPECT_EQ(actual.at(1, c), expected.at(1, c));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, RowRead, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
