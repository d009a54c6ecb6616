// The walk by pages.
#include "attention/sealed_rows.h"

#include <algorithm>

#include "base/check.h"

namespace slim {
namespace {

// The part of a slice that starts with its token `done` and stays within that token's page.
struct PagePart {
  int64_t page = 0;
  int64_t begin = 0;  // row of the page that the first token takes
  int64_t count = 0;

  bool fills() const { return begin + count == kPageRows; }
};

PagePart part_at(const Slice& slice, int64_t done) {
  const int64_t row = slice.rows - slice.count + done;
  const int64_t begin = row % kPageRows;
  return {row / kPageRows, begin, std::min(slice.count - done, kPageRows - begin)};
}

// Rounds over slices: the hot pages of each, and which of them it fills.
class Rounds {
 public:
  explicit Rounds(std::span<const Slice> slices) : slices_(slices), done_(slices.size(), 0) {}

  bool next() {
    hot_.clear();
    full_.clear();
    for (size_t i = 0; i < slices_.size(); ++i) {
      const Slice& slice = slices_[i];
      if (done_[i] == slice.count) continue;
      check(slice.hot != nullptr, "a slice over sealed planes has a hot page");
      const PagePart part = part_at(slice, done_[i]);
      Slice hot = slice;
      hot.first += done_[i];
      hot.count = part.count;
      hot.rows = part.begin + part.count;
      hot.pages = &slice.hot;
      hot.position += done_[i];
      hot.base += part.page * kPageRows;
      hot_.push_back(hot);
      if (part.fills()) full_.push_back({slice.hot, slice.pages[part.page]});
      done_[i] += part.count;
    }
    return !hot_.empty();
  }

  std::span<const Slice> hot() const { return hot_; }
  std::span<const SealPages::Page> full() const { return full_; }

 private:
  std::span<const Slice> slices_;
  std::vector<int64_t> done_;  // tokens of each slice
  std::vector<Slice> hot_;
  std::vector<SealPages::Page> full_;
};

void attend(Kernels& kernels, const SealedStep& step, Attend over, bool hot) {
  const auto plane = [&](size_t index) -> const Plane& {
    return hot ? step.rows[index].hot : step.rows[index].plane;
  };
  over.keys = plane(step.keys);
  over.values = plane(step.values);
  over.key_factors = step.factors ? &plane(*step.factors) : nullptr;
  over.causal = hot;
  over.merge = !hot;
  over.keep_lse = false;  // sealed rows come last
  if (step.shared) {
    kernels.attend_shared(over);
  } else {
    kernels.attend_pair(over);
  }
}

void seal(Kernels& kernels, const SealedStep& step, std::span<const SealPages::Page> pages) {
  if (pages.empty()) return;
  for (const NewRows& rows : step.rows) {
    if (!rows.plane.format.sealed()) continue;
    kernels.seal_pages(
        {.from = rows.hot, .to = rows.plane, .shaping = rows.shaping, .pages = pages});
  }
}

}  // namespace

void attend_sealed(Kernels& kernels, const SealedStep& step, StepScratch& scratch) {
  Attend over = step.attend;
  const std::span<const Slice> slices = over.slices;
  over.lse = scratch.matrix(over.queries.rows, over.heads);
  for (const NewRows& rows : step.rows) {
    check(rows.hot.format.width == rows.plane.format.width, "every plane is in the hot page too");
    if (rows.plane.format.sealed()) continue;
    kernels.store_rows({.x = rows.rows, .plane = rows.plane, .slices = slices});
  }
  for (Rounds rounds(slices); rounds.next();) {
    for (const NewRows& rows : step.rows) {
      kernels.store_rows({.x = rows.rows, .plane = rows.hot, .slices = rounds.hot()});
    }
    over.slices = rounds.hot();
    attend(kernels, step, over, true);
    seal(kernels, step, rounds.full());
  }
  const std::vector<Slice> before = sealed_before(slices, over.window);
  over.slices = before;
  if (!before.empty()) attend(kernels, step, over, false);
}

std::vector<Slice> sealed_before(std::span<const Slice> slices, int64_t window) {
  std::vector<Slice> before;
  for (const Slice& slice : slices) {
    for (int64_t done = 0; done < slice.count;) {
      const PagePart part = part_at(slice, done);
      Slice sealed = slice;
      sealed.first += done;
      sealed.count = part.count;
      sealed.rows = part.page * kPageRows;
      sealed.position += done;
      done += part.count;
      if (window > 0) {
        const int64_t hidden = std::max<int64_t>(0, sealed.position - window + 1 - sealed.base);
        const int64_t skipped = std::min(hidden / kPageRows, part.page);
        sealed.pages += skipped;
        sealed.base += skipped * kPageRows;
        sealed.rows -= skipped * kPageRows;
      }
      if (sealed.rows > 0) before.push_back(sealed);
    }
  }
  return before;
}

}  // namespace slim
