// What all attention layers share: where their planes lie, and re-opening a sealed page.
#include "attention/pages.h"
#include "attention/scheme.h"

namespace slim {

void Attention::place(PageLayout& layout) {
  const std::vector<RowFormat> formats = rows();
  bool seals = false;
  for (const RowFormat& format : formats) seals = seals || format.sealed();
  std::vector<Plane> planes;
  std::vector<Plane> hot;
  for (const RowFormat& format : formats) {
    planes.push_back(layout.add(format));
    hot.push_back(seals ? layout.add_hot(format) : Plane{});
  }
  place(std::move(planes), std::move(hot));
}

void Attention::reopen(Kernels& kernels, std::byte* const* pages, std::byte* hot,
                       int64_t rows) const {
  const int64_t begin = rows / kPageRows * kPageRows;
  Slice slice;
  slice.rows = rows;
  slice.pages = pages;
  for (size_t i = 0; i < hot_planes_.size(); ++i) {
    const Plane& to = hot_planes_[i];
    const int64_t width = to.format.width;
    if (width == 0) continue;
    kernels.load_rows({.plane = planes_.at(i),
                       .slice = slice,
                       .begin = begin,
                       .y = {hot + to.offset, DType::f32, rows - begin, width, width}});
  }
}

}  // namespace slim
