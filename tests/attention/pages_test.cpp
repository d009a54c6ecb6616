// Pages against a model that cannot be wrong: each table as a plain list of the numbers written to
// its rows. Random operations, forks and failures included, must never make the two differ.
#include "attention/pages.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "slim/error.h"

namespace slim {
namespace {

// A row holds one number, so that a page is 64 of them.
constexpr int64_t kRowBytes = sizeof(int64_t);
constexpr int64_t kPageBytes = kPageRows * kRowBytes;

std::byte* row_of(const PageTable& table, int64_t row) {
  return table.pages()[row / kPageRows] + row % kPageRows * kRowBytes;
}

std::byte* hot_row_of(const PageTable& table, int64_t row) {
  return table.hot() + row % kPageRows * kRowBytes;
}

// Rows go into the hot page as a layer that seals would put them there: each page's over those of
// the page before.
void append(PageTable& table, std::vector<int64_t>& model, int64_t count, int64_t& next) {
  table.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = table.rows() + i;
    const bool paged = row / kPageRows < table.page_count();
    if (paged) std::memcpy(row_of(table, row), &next, kRowBytes);
    if (table.hot() != nullptr) {
      std::memcpy(hot_row_of(table, row), &next, kRowBytes);
      const bool full = row % kPageRows == kPageRows - 1;
      if (full) std::memcpy(table.pages()[row / kPageRows], table.hot(), kPageBytes);
    }
    model.push_back(next++);
  }
  table.advance(count);
}

// Re-opens as Model::truncate does.
void truncate(PageTable& table, std::vector<int64_t>& model, int64_t rows) {
  table.truncate(rows);
  model.resize(static_cast<size_t>(rows));
  if (!table.needs_reopening()) return;
  std::byte* hot = table.reopen();
  std::memcpy(hot, table.pages()[rows / kPageRows],
              static_cast<size_t>(rows % kPageRows * kRowBytes));
}

// `only_sealed`: the rows of the open page are in the hot page alone.
void expect_same(const PageTable& table, const std::vector<int64_t>& model,
                 bool only_sealed = false) {
  ASSERT_EQ(table.rows(), static_cast<int64_t>(model.size()));
  for (int64_t row = 0; row < table.rows(); ++row) {
    int64_t value = 0;
    const bool hot_alone = only_sealed && row / kPageRows == table.rows() / kPageRows;
    if (!hot_alone) {
      std::memcpy(&value, row_of(table, row), kRowBytes);
      ASSERT_EQ(value, model[static_cast<size_t>(row)]) << "row " << row;
    }
    ASSERT_TRUE(!hot_alone || table.hot() != nullptr) << "row " << row;
    if (table.hot() == nullptr || row / kPageRows != table.rows() / kPageRows) continue;
    std::memcpy(&value, hot_row_of(table, row), kRowBytes);
    ASSERT_EQ(value, model[static_cast<size_t>(row)]) << "hot row " << row;
  }
}

// A device that has room for a given number of pages.
class SmallDevice final : public Device {
 public:
  explicit SmallDevice(int64_t pages) : room_(pages) {}
  std::string_view name() const override { return "small"; }

 protected:
  std::byte* acquire(size_t bytes) override {
    return room_-- > 0 ? new std::byte[bytes] : (++room_, nullptr);
  }
  void release(std::byte* data, size_t /*bytes*/) noexcept override {
    ++room_;
    delete[] data;
  }

 private:
  int64_t room_;
};

TEST(PageLayout, LaysPlanesOneAfterAnotherAligned) {
  PageLayout layout;
  const Plane first = layout.add({DType::bf16, 5});
  const Plane second = layout.add({DType::i8, 96});
  const Plane third = layout.add({DType::f32, 1});
  EXPECT_EQ(first.offset, 0);
  EXPECT_EQ(second.offset, 64 * 10);
  EXPECT_EQ(third.offset, second.offset + 64 * (96 + 12));
  EXPECT_EQ(second.offset % 64, 0);
  EXPECT_EQ(third.offset % 64, 0);
  EXPECT_EQ(layout.page_bytes(), 64 * (10 + 108 + 4));
  EXPECT_EQ(layout.hot_bytes(), 0);
  EXPECT_FALSE(layout.only_sealed());
  // Sealed planes are padded to 64 bytes, and their rows are f32 while hot.
  const RowFormat sealed{DType::f32, 40, 10, Scaling::channel};
  const Plane fourth = layout.add(sealed);
  EXPECT_EQ(layout.page_bytes() - fourth.offset, sealed.page_bytes());
  EXPECT_EQ(layout.page_bytes() % 64, 0);
  EXPECT_EQ(layout.add_hot(sealed).format, (RowFormat{DType::f32, 40}));
  EXPECT_EQ(layout.add_hot({DType::f32, 1}).offset, 64 * 40 * 4);
  EXPECT_EQ(layout.hot_bytes(), 64 * 41 * 4);
  EXPECT_FALSE(layout.only_sealed());
  PageLayout keys;
  keys.add(sealed);
  keys.add(sealed);
  EXPECT_TRUE(keys.only_sealed());
  keys.add({DType::f32, 1});
  EXPECT_FALSE(keys.only_sealed());
  EXPECT_THROW(layout.add({DType::i8, 33}), Error);
}

class RandomTables {
 public:
  RandomTables(PagePool& pool, PagePool* hot, bool only_sealed, uint32_t seed)
      : pool_(pool), hot_(hot), only_sealed_(only_sealed), random_(seed), next_(seed * 1000000) {
    grow();
  }

  void step() {
    const size_t chosen = pick(tables_.size());
    PageTable& table = tables_[chosen];
    std::vector<int64_t>& model = models_[chosen];
    switch (pick(8)) {
      case 0:
      case 1:
      case 2:
        append(table, model, 1, next_);
        break;
      case 3:
        append(table, model, static_cast<int64_t>(pick(150)), next_);
        break;
      case 4:  // reserved, never used
        table.reserve(static_cast<int64_t>(pick(100)));
        break;
      case 5:
        truncate(table, model, static_cast<int64_t>(pick(model.size() + 1)));
        break;
      case 6:
        if (tables_.size() < 6) {
          tables_.push_back(table.fork());
          models_.push_back(models_[chosen]);
        } else {
          tables_[pick(6)] = PageTable(pool_, hot_, only_sealed_);
          for (size_t i = 0; i < 6; ++i) models_[i].resize(static_cast<size_t>(tables_[i].rows()));
        }
        break;
      default:
        if (tables_.size() > 1) {
          tables_.erase(tables_.begin() + static_cast<std::ptrdiff_t>(chosen));
          models_.erase(models_.begin() + static_cast<std::ptrdiff_t>(chosen));
        }
    }
  }

  void expect_all() const {
    for (size_t i = 0; i < tables_.size(); ++i) {
      expect_same(tables_[i], models_[i], only_sealed_);
      if (hot_ != nullptr && tables_[i].rows() % kPageRows != 0) {
        ASSERT_NE(tables_[i].hot(), nullptr) << "the rows of an open page are hot";
      }
    }
  }

 private:
  size_t pick(size_t count) { return random_() % count; }
  void grow() {
    tables_.emplace_back(pool_, hot_, only_sealed_);
    models_.emplace_back();
  }

  PagePool& pool_;
  PagePool* hot_;
  bool only_sealed_;
  std::mt19937 random_;
  int64_t next_;
  std::vector<PageTable> tables_;
  std::vector<std::vector<int64_t>> models_;
};

TEST(PageTable, BehavesAsListsOfRowsUnderRandomOperations) {
  PagePool pool(host_device(), kPageBytes);
  PagePool hot(host_device(), kPageBytes);
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    RandomTables tables(pool, seed % 3 > 0 ? &hot : nullptr, seed % 3 == 2, seed);
    for (int i = 0; i < 300; ++i) {
      tables.step();
      if (i % 10 == 0) tables.expect_all();
    }
    tables.expect_all();
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
  EXPECT_EQ(pool.pages_in_use(), 0);
  EXPECT_EQ(hot.pages_in_use(), 0);
}

TEST(PageTable, TwoThreadsShareAPool) {
  PagePool pool(host_device(), kPageBytes);
  PagePool hot(host_device(), kPageBytes);
  // Both start as forks of one table, so that they race to copy the same open page.
  PageTable origin(pool, &hot);
  std::vector<int64_t> origin_model;
  int64_t next = 0;
  append(origin, origin_model, 100, next);
  const auto work = [&](PageTable table, std::vector<int64_t> model, uint32_t seed) {
    int64_t number = seed * 1000000;
    for (int i = 0; i < 200; ++i) {
      append(table, model, i % 70, number);
      PageTable fork = table.fork();
      std::vector<int64_t> fork_model = model;
      append(fork, fork_model, 3, number);
      expect_same(fork, fork_model);
      truncate(table, model, table.rows() / 2);
      if (i % 50 == 0) pool.trim();
    }
    expect_same(table, model);
  };
  std::thread first(work, origin.fork(), origin_model, 1);
  std::thread second(work, origin.fork(), origin_model, 2);
  first.join();
  second.join();
  expect_same(origin, origin_model);
  EXPECT_EQ(pool.pages_in_use(), 2);
  EXPECT_EQ(hot.pages_in_use(), 1);
}

TEST(PageTable, ForksShareUntilTheFirstWrite) {
  PagePool pool(host_device(), kPageBytes);
  PageTable table(pool);
  std::vector<int64_t> model;
  int64_t next = 1;
  append(table, model, 130, next);
  EXPECT_EQ(pool.pages_in_use(), 3);
  PageTable fork = table.fork();
  std::vector<int64_t> fork_model = model;
  EXPECT_EQ(pool.pages_in_use(), 3);
  EXPECT_EQ(fork.held_bytes(), 3 * kPageBytes);
  append(fork, fork_model, 1, next);  // copies the open page, no other
  EXPECT_EQ(pool.pages_in_use(), 4);
  EXPECT_EQ(fork.pages()[1], table.pages()[1]);
  append(table, model, 1, next);  // its own again
  EXPECT_EQ(pool.pages_in_use(), 4);
  expect_same(table, model);
  expect_same(fork, fork_model);

  PageTable moved = std::move(fork);
  EXPECT_EQ(moved.rows(), 131);
  moved = PageTable(pool);
  EXPECT_EQ(pool.pages_in_use(), 3);
}

TEST(PageTable, FailsWithoutATrace) {
  SmallDevice device(3);
  PagePool pool(device, kPageBytes);
  PageTable table(pool);
  std::vector<int64_t> model;
  int64_t next = 1;
  append(table, model, 65, next);
  const PageTable fork = table.fork();
  // A copy of the open page and two more: one page is left.
  try {
    table.reserve(128);
    FAIL() << "there were only three pages";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
  }
  expect_same(table, model);
  EXPECT_EQ(table.held_bytes(), 2 * kPageBytes);
  EXPECT_EQ(pool.pages_in_use(), 2);
  append(table, model, 63, next);  // the copy alone fits
  expect_same(table, model);
  EXPECT_THROW(table.reserve(1), Error);
  expect_same(fork, {model.begin(), model.begin() + 65});
}

TEST(PageTable, HoldsOneHotPageWhileAPageIsOpen) {
  PagePool pool(host_device(), kPageBytes);
  PagePool hot(host_device(), 2 * kPageBytes);
  PageTable table(pool, &hot);
  std::vector<int64_t> model;
  int64_t next = 1;
  EXPECT_EQ(table.hot(), nullptr);
  append(table, model, 64, next);
  EXPECT_EQ(table.hot(), nullptr);
  EXPECT_EQ(table.held_bytes(), kPageBytes);
  table.reserve(70);  // a long step in two parts
  table.advance(64);
  EXPECT_NE(table.hot(), nullptr) << "rows are reserved that will be hot";
  table.truncate(64);
  EXPECT_EQ(table.hot(), nullptr);
  append(table, model, 6, next);
  EXPECT_EQ(table.held_bytes(), 2 * kPageBytes + 2 * kPageBytes);

  PageTable fork = table.fork();
  std::vector<int64_t> fork_model = model;
  EXPECT_EQ(fork.hot(), table.hot());
  EXPECT_EQ(hot.pages_in_use(), 1);
  append(fork, fork_model, 1, next);
  EXPECT_NE(fork.hot(), table.hot());
  EXPECT_EQ(hot.pages_in_use(), 2);
  append(table, model, 1, next);
  expect_same(table, model);
  expect_same(fork, fork_model);
  append(table, model, 57, next);
  EXPECT_EQ(table.rows(), 128);
  EXPECT_EQ(hot.pages_in_use(), 1);
  EXPECT_EQ(table.fork().hot(), nullptr);
}

// Where nothing stands alone in a page, the open page is the hot one, and a page comes as it fills.
TEST(PageTable, OfSealedRowsAloneHoldsNoOpenPage) {
  PagePool pool(host_device(), kPageBytes);
  PagePool hot(host_device(), 2 * kPageBytes);
  PageTable table(pool, &hot, true);
  std::vector<int64_t> model;
  int64_t next = 1;
  append(table, model, 63, next);
  EXPECT_EQ(table.held_bytes(), 2 * kPageBytes);
  PageTable fork = table.fork();
  std::vector<int64_t> fork_model = model;
  append(table, model, 1, next);
  EXPECT_EQ(table.held_bytes(), kPageBytes);
  append(fork, fork_model, 70, next);
  EXPECT_EQ(fork.held_bytes(), 2 * kPageBytes + 2 * kPageBytes);
  expect_same(table, model, true);
  expect_same(fork, fork_model, true);
  // What is reopened stays until its page is full again; a fork that fills it, too, copies it.
  truncate(table, model, 10);
  EXPECT_EQ(table.held_bytes(), kPageBytes + 2 * kPageBytes);
  fork = table.fork();
  fork_model = model;
  append(fork, fork_model, 54, next);
  append(table, model, 60, next);
  expect_same(table, model, true);
  expect_same(fork, fork_model, true);
  EXPECT_THROW(PageTable(pool, nullptr, true), Error);
}

TEST(PageTable, SaysWhenASealedPageHasToBeReopened) {
  PagePool pool(host_device(), kPageBytes);
  PagePool hot(host_device(), kPageBytes);
  PageTable table(pool, &hot);
  std::vector<int64_t> model;
  int64_t next = 1;
  append(table, model, 140, next);
  table.truncate(130);
  EXPECT_FALSE(table.needs_reopening());
  EXPECT_NE(table.hot(), nullptr);
  EXPECT_THROW(table.reopen(), Error);
  table.truncate(100);
  EXPECT_TRUE(table.needs_reopening());
  EXPECT_EQ(table.hot(), nullptr);
  EXPECT_THROW(table.reserve(1), Error);
  EXPECT_TRUE(table.fork().needs_reopening());
  table.truncate(90);
  EXPECT_TRUE(table.needs_reopening());
  EXPECT_NE(table.reopen(), nullptr);
  EXPECT_FALSE(table.needs_reopening());
  table.truncate(64);
  EXPECT_FALSE(table.needs_reopening());
  EXPECT_EQ(hot.pages_in_use(), 0);
  PageTable plain(pool);
  plain.reserve(140);
  plain.advance(140);
  plain.truncate(100);
  EXPECT_FALSE(plain.needs_reopening());
}

TEST(PageTable, FailsWithoutATraceForWantOfHotPages) {
  SmallDevice device(1);
  PagePool pool(host_device(), kPageBytes);
  PagePool hot(device, kPageBytes);
  PageTable table(pool, &hot);
  std::vector<int64_t> model;
  int64_t next = 1;
  append(table, model, 70, next);
  PageTable fork = table.fork();
  const auto fails = [](auto&& action) {
    try {
      action();
      FAIL() << "there was only one hot page";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_memory);
    }
  };
  fails([&] { fork.reserve(100); });
  EXPECT_EQ(pool.pages_in_use(), 2);
  expect_same(fork, model);
  expect_same(table, model);
  fork.truncate(40);
  fails([&] { fork.reopen(); });
  EXPECT_TRUE(fork.needs_reopening());
  table = PageTable(pool, &hot);
  EXPECT_NE(fork.reopen(), nullptr);
  // And the other way round: hot pages enough, but no others.
  SmallDevice few(1);
  PagePool small(few, kPageBytes);
  PagePool plenty(host_device(), kPageBytes);
  PageTable other(small, &plenty);
  fails([&] { other.reserve(100); });
  EXPECT_EQ(other.held_bytes(), 0);
  EXPECT_EQ(plenty.pages_in_use(), 0);
}

TEST(PagePool, KeepsFreedPagesUntilTrimmed) {
  SmallDevice device(8);
  PagePool pool(device, kPageBytes);
  PageTable table(pool);
  table.reserve(8 * kPageRows);
  EXPECT_EQ(table.held_bytes(), 8 * kPageBytes);
  table.truncate(0);
  EXPECT_EQ(pool.pages_in_use(), 0);
  EXPECT_EQ(device.allocated_bytes(), 8 * kPageBytes);
  table.reserve(1);
  pool.trim();
  EXPECT_EQ(device.allocated_bytes(), kPageBytes);
  EXPECT_EQ(pool.pages_in_use(), 1);
}

// Encoder rows: their number is known, and a page holds one number of each.
TEST(PageTable, EndsWithRowsThatAreTheLast) {
  SmallDevice device(8);
  PagePool pool(device, kPageBytes, kPageRows, kRowBytes);
  for (const int64_t rows : {1, 63, 64, 65, 129}) {
    PageTable table(pool);
    table.reserve_last(rows);
    table.advance(rows);
    EXPECT_EQ(table.held_bytes(), rows * kRowBytes);
    EXPECT_EQ(device.allocated_bytes(), table.held_bytes()) << "nothing is kept that is short";
    const PageTable fork = table.fork();
    EXPECT_EQ(fork.held_bytes(), table.held_bytes());
    if (rows % kPageRows != 0) {
      EXPECT_THROW(table.reserve(1), Error);
    }
    table = PageTable(pool);
    EXPECT_EQ(pool.pages_in_use(), (rows + 63) / 64) << "the fork's";
    pool.trim();
  }
  pool.trim();
  EXPECT_EQ(device.allocated_bytes(), 0);
  // Where planes follow one another in a page, or a device wants it whole, it is.
  PagePool whole(device, kPageBytes);
  PageTable table(whole);
  table.reserve_last(65);
  EXPECT_EQ(table.held_bytes(), 2 * kPageBytes);
}

TEST(PageTable, HasNoMoreRowsThanItsPagesAreMadeFor) {
  PageLayout layout(3);
  EXPECT_EQ(layout.add({DType::f16, 40}).offset, 0);
  EXPECT_EQ(layout.row_bytes(), 80);
  EXPECT_EQ(layout.add({DType::i8, 64}).offset, 256);
  EXPECT_EQ(layout.row_bytes(), 0) << "a page holds more";
  // Of factors of keys, which kernels read a page at a time.
  EXPECT_EQ(layout.add({DType::f32, 1}).offset, 256 + 256);
  EXPECT_EQ(layout.page_bytes(), 256 + 256 + 64 * 4);
  PagePool pool(host_device(), layout.page_bytes(), layout.rows());
  PageTable table(pool);
  table.reserve(3);
  table.advance(2);
  EXPECT_EQ(table.held_bytes(), layout.page_bytes());
  EXPECT_THROW(table.reserve(2), Error);
}

TEST(PageTable, RefusesWhatOnlyABugWouldAsk) {
  PagePool pool(host_device(), kPageBytes);
  PageTable table(pool);
  EXPECT_THROW(table.advance(1), Error);
  EXPECT_THROW(table.reserve(-1), Error);
  EXPECT_THROW(table.truncate(1), Error);
  table.reserve(1);
  EXPECT_THROW(table.advance(65), Error);
}

}  // namespace
}  // namespace slim
