// Pages: where rows live. A page holds kPageRows tokens of *all* planes of one side (the
// decoder's own rows, or the encoder's), so that a sequence has one page table whatever its layers
// store. Pages are reference-counted: forks (beams, shared prefixes) share them, and the first
// write to a shared page copies it.
//
// Planes that are sealed (tensor/row_format.h) keep the f32 rows of a sequence's last, unfilled
// page in one *hot* page beside. While a step runs, each layer fills and seals page after page of
// it, so one hot page is enough for steps of any length. Where every plane is sealed, a page exists
// from when it is sealed: the open one is the hot page alone.
//
// Pages are not larger than what can come, where only the processor reads them (kernels of other
// devices copy whole pages): where no sequence has kPageRows rows, planes lie as close as the most
// there are; and where a page is one plane, the last one of rows that are known to be the last
// (encoder rows) ends with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "tensor/device.h"

namespace slim {

// The planes of a page, each aligned to 64 bytes.
class PageLayout {
 public:
  // `rows`: the most that a sequence has, or kPageRows.
  explicit PageLayout(int64_t rows = kPageRows) : rows_(rows) {}
  // Adds a plane and says where it lies.
  Plane add(const RowFormat& format);
  // Where in the hot page the rows of a plane lie: in f32 if it is sealed, else as they are.
  Plane add_hot(const RowFormat& format);
  int64_t page_bytes() const noexcept { return page_bytes_; }
  int64_t hot_bytes() const noexcept { return hot_bytes_; }   // of the hot page; 0: none
  bool only_sealed() const noexcept { return only_sealed_; }  // and has planes
  int64_t rows() const noexcept { return rows_; }             // of a page
  // Of a row, where it is all that a page holds of a token, and rows stand alone; else 0.
  int64_t row_bytes() const noexcept { return row_bytes_; }

 private:
  int64_t plane_bytes(const RowFormat& format) const;

  int64_t rows_;
  int64_t row_bytes_ = 0;
  int64_t page_bytes_ = 0;
  int64_t hot_bytes_ = 0;
  bool only_sealed_ = false;
};

// Allocates pages of one size, and shorter ones; keeps freed ones of that size for reuse. In the
// host's memory, after the first 4 MiB or so, pages of that size come by slabs of as much, which
// may be huge pages. Thread-safe. Must outlive its tables.
class PagePool {
 public:
  // `row_bytes`: PageLayout::row_bytes(), if pages may end after any row; else 0.
  PagePool(Device& device, int64_t page_bytes, int64_t page_rows = kPageRows,
           int64_t row_bytes = 0);
  ~PagePool();

  int64_t page_bytes() const noexcept { return page_bytes_; }
  int64_t page_rows() const noexcept { return page_rows_; }
  int64_t pages_in_use() const;  // pages held by tables, shared ones counted once
  void trim();  // gives free pages back to the device, and slabs without a page in use

 private:
  friend class PageTable;
  struct Page;
  // For the first `rows` rows of a page. One reference; throws Error{out_of_memory}.
  Page* take(int64_t rows = kPageRows);
  void retain(Page* page) noexcept;
  void release(Page* page) noexcept;  // the last release makes it free
  bool shared(const Page* page) const;
  // More free pages: one of so many bytes, or a slab of whole ones.
  void add_page(int64_t bytes);
  void add_slab();
  void copy(std::byte* to, const std::byte* from);  // a whole page's bytes

  Device& device_;
  int64_t page_bytes_;
  int64_t page_rows_;
  int64_t row_bytes_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Page>> pages_;
  std::vector<Page*> free_;
};

// The rows of one sequence. Not thread-safe: it belongs to one request.
class PageTable {
 public:
  // `hot`: pool of hot pages, or null if no plane is sealed. `only_sealed`: every plane is.
  explicit PageTable(PagePool& pool, PagePool* hot = nullptr, bool only_sealed = false);
  ~PageTable();
  PageTable(PageTable&& other) noexcept;
  PageTable& operator=(PageTable&& other) noexcept;
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;

  int64_t rows() const noexcept { return rows_; }
  // Makes `count` more rows writable: allocates pages, copies a shared last page and a shared hot
  // page. On Error{out_of_memory} the table is as before. Forking ends the reservation: reserve
  // again.
  void reserve(int64_t count);
  // The same, of the last rows that this table will have.
  void reserve_last(int64_t count);
  // Counts `count` reserved rows as present, once the step that wrote them has run. Where they are
  // the last reserved and fill a page, the hot page is given back: its rows are sealed.
  void advance(int64_t count);
  // Forgets all rows from `rows` on; frees their pages, and reserved ones. If that leaves part of a
  // page that was sealed, needs_reopening() says so, and no row can be reserved until reopen().
  void truncate(int64_t rows);
  bool needs_reopening() const noexcept { return needs_reopening_; }
  // A hot page for the caller to fill from the page that was sealed (Attention::reopen, every
  // layer; Model::truncate does it). On Error{out_of_memory} the table is as before.
  std::byte* reopen();
  // Another table over the same rows; O(pages), copies none.
  PageTable fork() const;

  // One pointer a page, for Slice; valid until the table next changes.
  std::byte* const* pages() const noexcept { return data_.data(); }
  int64_t page_count() const noexcept { return static_cast<int64_t>(data_.size()); }
  // The hot page, or null: at a page's end nothing needs to be hot.
  std::byte* hot() const noexcept;
  int64_t held_bytes() const noexcept;  // hot page included

 private:
  size_t open_page() const noexcept { return static_cast<size_t>(rows_ / kPageRows); }
  bool page_begun() const noexcept { return rows_ % kPageRows != 0; }
  size_t pages_for(int64_t rows) const noexcept;
  void add(int64_t rows, bool last);
  void add_pages(int64_t rows, bool last);
  void drop_pages(size_t from) noexcept;
  void replace_hot(PagePool::Page* page) noexcept;

  PagePool* pool_;
  PagePool* hot_pool_;
  bool only_sealed_;
  int64_t rows_ = 0;
  int64_t reserved_ = 0;  // rows present and reserved
  std::vector<PagePool::Page*> pages_;
  std::vector<std::byte*> data_;  // what kernels read
  PagePool::Page* hot_ = nullptr;
  bool needs_reopening_ = false;
};

}  // namespace slim
