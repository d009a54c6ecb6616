// Page layouts, the pool and the tables. Reference counts are guarded by the pool's mutex: tables
// that share pages may live in different threads, and a step takes the lock once a sequence.
#include "attention/pages.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/check.h"

namespace slim {

// Single numbers (factors of keys) are read a page at a time, whether or not they came.
int64_t PageLayout::plane_bytes(const RowFormat& format) const {
  // Sixty-four rows of whole bytes end on a multiple of 64, so that no padding is needed.
  static_assert(kPageRows % 64 == 0);
  if (format.sealed() || format.width == 1) return format.page_bytes();
  return (rows_ * format.bytes() + 63) / 64 * 64;
}

Plane PageLayout::add(const RowFormat& format) {
  check(format.valid(), "a plane's rows have a width that their type can hold");
  const bool first = page_bytes_ == 0;
  only_sealed_ = format.sealed() && (only_sealed_ || first);
  row_bytes_ = first && !format.sealed() ? format.bytes() : 0;
  const Plane plane{format, page_bytes_};
  page_bytes_ += plane_bytes(format);
  return plane;
}

Plane PageLayout::add_hot(const RowFormat& format) {
  const RowFormat rows = format.sealed() ? format.hot() : format;
  check(rows.valid(), "a plane's rows have a width that their type can hold");
  const Plane plane{rows, hot_bytes_};
  hot_bytes_ += plane_bytes(rows);
  return plane;
}

struct PagePool::Page {
  std::shared_ptr<Buffer> memory;  // its own, or a slab's
  std::span<std::byte> bytes;
  int64_t references = 0;
};

namespace {

constexpr int64_t kSlabBytes = int64_t{4} << 20;

}  // namespace

PagePool::PagePool(Device& device, int64_t page_bytes, int64_t page_rows, int64_t row_bytes)
    : device_(device), page_bytes_(page_bytes), page_rows_(page_rows), row_bytes_(row_bytes) {
  check(page_bytes > 0 && page_rows > 0 && page_rows <= kPageRows, "a page has bytes and rows");
  check(row_bytes >= 0 && page_rows * row_bytes <= page_bytes, "a page holds its rows");
}

PagePool::~PagePool() = default;

int64_t PagePool::pages_in_use() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(pages_.size() - free_.size());
}

void PagePool::trim() {
  const std::lock_guard lock(mutex_);
  std::map<const Buffer*, int64_t> used;
  for (const auto& page : pages_) used[page->memory.get()] += page->references;
  const auto idle = [&](const Page& page) { return used.at(page.memory.get()) == 0; };
  std::erase_if(free_, [&](const Page* page) { return idle(*page); });
  std::erase_if(pages_, [&](const std::unique_ptr<Page>& page) { return idle(*page); });
}

void PagePool::add_slab() {
  const int64_t count = kSlabBytes / page_bytes_;
  const std::shared_ptr<Buffer> slab = device_.allocate(static_cast<size_t>(count * page_bytes_));
  free_.reserve(pages_.size() + static_cast<size_t>(count));
  pages_.reserve(pages_.size() + static_cast<size_t>(count));
  for (int64_t i = count - 1; i >= 0; --i) {
    pages_.push_back(std::make_unique<Page>(
        Page{slab, {slab->data() + i * page_bytes_, static_cast<size_t>(page_bytes_)}}));
    free_.push_back(pages_.back().get());
  }
}

void PagePool::add_page(int64_t bytes) {
  auto page = std::make_unique<Page>();
  page->memory = device_.allocate(static_cast<size_t>(bytes));
  page->bytes = {page->memory->data(), page->memory->size()};
  free_.reserve(pages_.size() + 1);  // so that release() never allocates
  pages_.push_back(std::move(page));
  free_.push_back(pages_.back().get());
}

PagePool::Page* PagePool::take(int64_t rows) {
  const std::lock_guard lock(mutex_);
  const bool many = static_cast<int64_t>(pages_.size() + 1) * page_bytes_ > kSlabBytes;
  if (row_bytes_ > 0 && rows < page_rows_) {
    add_page(rows * row_bytes_);
  } else if (free_.empty() && many && device_.host() && 2 * page_bytes_ <= kSlabBytes) {
    add_slab();
  } else if (free_.empty()) {
    add_page(page_bytes_);
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
  if (--page->references > 0) return;
  if (page->bytes.size() == static_cast<size_t>(page_bytes_)) {
    free_.push_back(page);
  } else {
    std::erase_if(pages_, [page](const auto& one) { return one.get() == page; });
  }
}

void PagePool::copy(std::byte* to, const std::byte* from) {
  device_.copy(to, from, static_cast<size_t>(page_bytes_));
}

bool PagePool::shared(const Page* page) const {
  const std::lock_guard lock(mutex_);
  return page->references > 1;
}

PageTable::PageTable(PagePool& pool, PagePool* hot, bool only_sealed)
    : pool_(&pool), hot_pool_(hot), only_sealed_(only_sealed) {
  check(hot != nullptr || !only_sealed, "sealed rows have a hot page");
}

PageTable::~PageTable() {
  drop_pages(0);
  replace_hot(nullptr);
}

PageTable::PageTable(PageTable&& other) noexcept
    : pool_(other.pool_),
      hot_pool_(other.hot_pool_),
      only_sealed_(other.only_sealed_),
      rows_(std::exchange(other.rows_, 0)),
      reserved_(std::exchange(other.reserved_, 0)),
      pages_(std::exchange(other.pages_, {})),
      data_(std::exchange(other.data_, {})),
      hot_(std::exchange(other.hot_, nullptr)),
      needs_reopening_(std::exchange(other.needs_reopening_, false)) {}

PageTable& PageTable::operator=(PageTable&& other) noexcept {
  PageTable moved(std::move(other));
  std::swap(pool_, moved.pool_);
  std::swap(hot_pool_, moved.hot_pool_);
  std::swap(only_sealed_, moved.only_sealed_);
  std::swap(rows_, moved.rows_);
  std::swap(reserved_, moved.reserved_);
  std::swap(pages_, moved.pages_);
  std::swap(data_, moved.data_);
  std::swap(hot_, moved.hot_);
  std::swap(needs_reopening_, moved.needs_reopening_);
  return *this;
}

void PageTable::reserve(int64_t count) { add(count, false); }

void PageTable::reserve_last(int64_t count) { add(count, true); }

void PageTable::add(int64_t count, bool last) {
  check(count >= 0, "rows are reserved, not taken back");
  if (count == 0) return;
  check(!needs_reopening_, "a sealed page is reopened before rows are added to it");
  check(hot_pool_ == nullptr || !page_begun() || hot_ != nullptr,
        "the rows of an open page are hot");
  PagePool::Page* hot = nullptr;
  if (hot_pool_ != nullptr && (hot_ == nullptr || hot_pool_->shared(hot_))) hot = hot_pool_->take();
  try {
    add_pages(count, last);
    if (hot != nullptr && page_begun()) hot_pool_->copy(hot->bytes.data(), hot_->bytes.data());
  } catch (...) {
    if (hot != nullptr) hot_pool_->release(hot);
    throw;
  }
  reserved_ = std::max(reserved_, rows_ + count);
  if (hot != nullptr) replace_hot(hot);
}

// That hold `rows` rows.
size_t PageTable::pages_for(int64_t rows) const noexcept {
  return static_cast<size_t>((only_sealed_ ? rows : rows + kPageRows - 1) / kPageRows);
}

// Pages for `rows` more rows, the open one not shared with any fork. All or nothing.
void PageTable::add_pages(int64_t rows, bool last) {
  const size_t before = pages_.size();
  const int64_t most = pool_->page_rows();
  check(most == kPageRows || rows_ + rows <= most,
        "there are no more rows than pages are made for");
  check(before == 0 || pages_.back()->bytes.size() == static_cast<size_t>(pool_->page_bytes()),
        "nothing follows the last rows");
  const size_t after = std::max(before, pages_for(rows_ + rows));
  // The page that the next row falls into, where it holds rows already, is the only one that this
  // table writes and a fork may share.
  const bool copies = page_begun() && open_page() < before && pool_->shared(pages_[open_page()]);
  const size_t taken = after + (copies ? 1 : 0);
  pages_.reserve(taken);
  data_.reserve(taken);
  try {
    while (pages_.size() < taken) {
      const auto left = rows_ + rows - static_cast<int64_t>(pages_.size()) * kPageRows;
      pages_.push_back(pool_->take(last ? left : kPageRows));
      data_.push_back(pages_.back()->bytes.data());
    }
  } catch (...) {
    drop_pages(before);
    throw;
  }
  if (!copies) return;
  pool_->copy(data_.back(), data_[open_page()]);
  std::swap(pages_.back(), pages_[open_page()]);
  std::swap(data_.back(), data_[open_page()]);
  drop_pages(after);
}

void PageTable::advance(int64_t count) {
  check(count >= 0 && rows_ + count <= reserved_, "only reserved rows are counted");
  rows_ += count;
  if (!page_begun() && rows_ == reserved_) replace_hot(nullptr);
}

void PageTable::truncate(int64_t rows) {
  check(rows >= 0 && rows <= rows_, "truncation only forgets");
  const size_t open = open_page();
  rows_ = reserved_ = rows;
  needs_reopening_ =
      hot_pool_ != nullptr && page_begun() && (needs_reopening_ || open_page() < open);
  if (!page_begun() || needs_reopening_) replace_hot(nullptr);
  drop_pages(std::max(pages_for(rows), open_page() + (needs_reopening_ ? 1 : 0)));
}

std::byte* PageTable::reopen() {
  check(needs_reopening_, "only a page that was sealed is reopened");
  replace_hot(hot_pool_->take());
  needs_reopening_ = false;
  return hot();
}

PageTable PageTable::fork() const {
  PageTable other(*pool_, hot_pool_, only_sealed_);
  // A page that was reopened is there although its rows are hot.
  const size_t begun = open_page() + (page_begun() ? 1 : 0);
  const auto count = static_cast<std::ptrdiff_t>(std::min(begun, pages_.size()));
  other.data_.assign(data_.begin(), data_.begin() + count);
  other.pages_.assign(pages_.begin(), pages_.begin() + count);
  for (PagePool::Page* page : other.pages_) pool_->retain(page);
  other.rows_ = other.reserved_ = rows_;
  other.needs_reopening_ = needs_reopening_;
  if (page_begun() && hot_ != nullptr) {
    hot_pool_->retain(hot_);
    other.hot_ = hot_;
  }
  return other;
}

void PageTable::drop_pages(size_t from) noexcept {
  for (size_t i = from; i < pages_.size(); ++i) pool_->release(pages_[i]);
  pages_.resize(std::min(from, pages_.size()));
  data_.resize(pages_.size());
}

void PageTable::replace_hot(PagePool::Page* page) noexcept {
  if (hot_ != nullptr) hot_pool_->release(hot_);
  hot_ = page;
}

std::byte* PageTable::hot() const noexcept {
  return hot_ == nullptr ? nullptr : hot_->bytes.data();
}

int64_t PageTable::held_bytes() const noexcept {
  size_t bytes = hot_ == nullptr ? 0 : hot_->bytes.size();
  for (const PagePool::Page* page : pages_) bytes += page->bytes.size();
  return static_cast<int64_t>(bytes);
}

}  // namespace slim
