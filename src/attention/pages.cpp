// Page layouts, the pool and the tables. Reference counts are guarded by the pool's mutex: tables
// that share pages may live in different threads, and a step takes the lock once a sequence.
#include "attention/pages.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace slim {
namespace {

size_t pages_for(int64_t rows) { return static_cast<size_t>((rows + kPageRows - 1) / kPageRows); }

}  // namespace

Plane PageLayout::add(const RowFormat& format) {
  check(format.valid(), "a plane's rows have a width that their type can hold");
  // Sixty-four rows of whole bytes end on a multiple of 64, so that no padding is ever needed.
  static_assert(kPageRows % 64 == 0);
  const Plane plane{format, page_bytes_};
  token_bytes_ += format.bytes();
  page_bytes_ += kPageRows * format.bytes();
  return plane;
}

struct PagePool::Page {
  std::shared_ptr<Buffer> bytes;
  int64_t references = 0;
};

PagePool::PagePool(Device& device, int64_t page_bytes) : device_(device), page_bytes_(page_bytes) {
  check(page_bytes > 0, "a page has bytes");
}

PagePool::~PagePool() = default;

int64_t PagePool::pages_in_use() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(pages_.size() - free_.size());
}

void PagePool::trim() {
  const std::lock_guard lock(mutex_);
  std::erase_if(pages_, [](const std::unique_ptr<Page>& page) { return page->references == 0; });
  free_.clear();
}

PagePool::Page* PagePool::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    auto page = std::make_unique<Page>();
    page->bytes = device_.allocate(static_cast<size_t>(page_bytes_));
    free_.reserve(pages_.size() + 1);  // so that release() never allocates
    pages_.push_back(std::move(page));
    free_.push_back(pages_.back().get());
  }
  Page* page = free_.back();
  free_.pop_back();
  page->references = 1;
  return page;
}

void PagePool::retain(Page* page) noexcept {
  const std::lock_guard lock(mutex_);
  ++page->references;
}

void PagePool::release(Page* page) noexcept {
  const std::lock_guard lock(mutex_);
  if (--page->references == 0) free_.push_back(page);
}

bool PagePool::shared(const Page* page) const {
  const std::lock_guard lock(mutex_);
  return page->references > 1;
}

PageTable::PageTable(PagePool& pool) : pool_(&pool) {}

PageTable::~PageTable() { drop_pages(0); }

PageTable::PageTable(PageTable&& other) noexcept
    : pool_(other.pool_),
      rows_(std::exchange(other.rows_, 0)),
      pages_(std::exchange(other.pages_, {})),
      data_(std::exchange(other.data_, {})) {}

PageTable& PageTable::operator=(PageTable&& other) noexcept {
  PageTable moved(std::move(other));
  std::swap(pool_, moved.pool_);
  std::swap(rows_, moved.rows_);
  std::swap(pages_, moved.pages_);
  std::swap(data_, moved.data_);
  return *this;
}

void PageTable::reserve(int64_t count) {
  check(count >= 0, "rows are reserved, not taken back");
  if (count == 0) return;
  const size_t before = pages_.size();
  const size_t after = std::max(before, pages_for(rows_ + count));
  // The page that the next row falls into, where it holds rows already, is the only one that this
  // table writes and a fork may share.
  const auto open = static_cast<size_t>(rows_ / kPageRows);
  const bool copies = rows_ % kPageRows != 0 && pool_->shared(pages_[open]);
  const size_t taken = after + (copies ? 1 : 0);
  pages_.reserve(taken);
  data_.reserve(taken);
  try {
    while (pages_.size() < taken) {
      pages_.push_back(pool_->take());
      data_.push_back(pages_.back()->bytes->data());
    }
  } catch (...) {
    drop_pages(before);
    throw;
  }
  if (!copies) return;
  std::memcpy(data_.back(), data_[open], static_cast<size_t>(pool_->page_bytes()));
  std::swap(pages_.back(), pages_[open]);
  std::swap(data_.back(), data_[open]);
  drop_pages(after);
}

void PageTable::advance(int64_t count) {
  check(count >= 0 && pages_for(rows_ + count) <= pages_.size(), "only reserved rows are counted");
  rows_ += count;
}

void PageTable::truncate(int64_t rows) {
  check(rows >= 0 && rows <= rows_, "truncation only forgets");
  rows_ = rows;
  drop_pages(pages_for(rows));
}

PageTable PageTable::fork() const {
  PageTable other(*pool_);
  const auto count = static_cast<std::ptrdiff_t>(pages_for(rows_));
  other.data_.assign(data_.begin(), data_.begin() + count);
  other.pages_.assign(pages_.begin(), pages_.begin() + count);
  for (PagePool::Page* page : other.pages_) pool_->retain(page);
  other.rows_ = rows_;
  return other;
}

void PageTable::drop_pages(size_t from) noexcept {
  for (size_t i = from; i < pages_.size(); ++i) pool_->release(pages_[i]);
  pages_.resize(std::min(from, pages_.size()));
  data_.resize(pages_.size());
}

int64_t PageTable::held_bytes() const noexcept {
  return static_cast<int64_t>(pages_.size()) * pool_->page_bytes();
}

}  // namespace slim
