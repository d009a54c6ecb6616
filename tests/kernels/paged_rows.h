// PagedRows: the rows of one sequence, in pages of their own. What a test hands to kernels where
// the engine would hand a PageTable; it needs no pool and says what every byte is.
#pragma once

#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace slim {

class PagedRows {
 public:
  // Pages for `rows` rows, with a plane for each format; planes start at multiples of 64 bytes, and
  // a page ends where its last plane does, so that a sanitizer sees a read beyond it. All bytes are
  // 0xFF at first: NaN in every row type, so a row that nobody wrote is noticed when it is read.
  PagedRows(std::span<const RowFormat> formats, int64_t rows) : rows_(rows) {
    for (const RowFormat& format : formats) {
      page_bytes_ = (page_bytes_ + 63) / 64 * 64;
      planes_.push_back({format, page_bytes_});
      page_bytes_ += format.page_bytes();
    }
    for (int64_t first = 0; first < rows; first += kPageRows) {
      buffers_.push_back(host_device().allocate(static_cast<size_t>(page_bytes_)));
      pages_.push_back(buffers_.back()->data());
      std::memset(pages_.back(), 0xFF, static_cast<size_t>(page_bytes_));
    }
  }

  const Plane& plane(size_t index) const { return planes_.at(index); }
  int64_t rows() const { return rows_; }
  int64_t page_bytes() const { return page_bytes_; }
  std::byte* const* pages() const { return pages_.data(); }

  // A slice over the first `rows` rows, `count` of them from this step's tokens at `first`.
  Slice slice(int64_t first, int64_t count, int64_t rows) const {
    return {first, count, rows, pages_.data()};
  }
  Slice slice(int64_t first, int64_t count) const { return slice(first, count, rows_); }

  // Another sequence over the same pages, as after a fork: writes to one show in both.
  PagedRows fork() const { return *this; }

  // Of planes whose rows stand alone.
  void set_row(size_t plane, int64_t row, const float* values) {
    encode_row(planes_.at(plane).format, values, address(plane, row));
  }
  std::vector<float> row(size_t plane, int64_t row) const {
    const RowFormat& format = planes_.at(plane).format;
    std::vector<float> values(static_cast<size_t>(format.width));
    if (format.sealed()) {
      decode_sealed_row(format, sealed(plane, row / kPageRows), row % kPageRows, values.data());
    } else {
      decode_row(format, address(plane, row), values.data());
    }
    return values;
  }
  // The plane in one page, where it is sealed.
  std::byte* sealed(size_t plane, int64_t page) const {
    return pages_.at(static_cast<size_t>(page)) + planes_.at(plane).offset;
  }

 private:
  std::byte* address(size_t plane, int64_t row) const {
    const Plane& at = planes_.at(plane);
    return pages_.at(static_cast<size_t>(row / kPageRows)) + at.offset +
           row % kPageRows * at.format.bytes();
  }

  int64_t rows_ = 0;
  int64_t page_bytes_ = 0;
  std::vector<Plane> planes_;
  std::vector<std::shared_ptr<Buffer>> buffers_;
  std::vector<std::byte*> pages_;
};

}  // namespace slim
