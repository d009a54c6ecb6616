// Pages that come by slabs: what is allocated, when it is given back, and that they are as good as
// pages of their own.
#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <set>
#include <vector>

#include "attention/pages.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int64_t kSlab = int64_t{4} << 20;

// Has so many bytes, and says which processor can read them.
class SizedDevice final : public Device {
 public:
  explicit SizedDevice(int64_t bytes, bool host = true) : left_(bytes), host_(host) {}
  std::string_view name() const override { return "sized"; }
  bool host() const noexcept override { return host_; }

 protected:
  std::byte* acquire(size_t bytes) override {
    if (static_cast<int64_t>(bytes) > left_) return nullptr;
    left_ -= static_cast<int64_t>(bytes);
    return static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}));
  }
  void release(std::byte* data, size_t bytes) noexcept override {
    left_ += static_cast<int64_t>(bytes);
    ::operator delete (data, std::align_val_t{64});
  }

 private:
  int64_t left_;
  bool host_;
};

TEST(PageSlabs, ComeAfterTheFirstPages) {
  constexpr int64_t kPage = kSlab / 4;
  SizedDevice device(16 * kSlab);
  PagePool pool(device, kPage);
  PageTable table(pool);
  std::set<std::byte*> places;
  for (int64_t i = 1; i <= 12; ++i) {
    table.reserve(kPageRows);
    table.advance(kPageRows);
    EXPECT_EQ(table.held_bytes(), i * kPage);
    EXPECT_EQ(pool.pages_in_use(), i);
    EXPECT_EQ(device.allocated_bytes(), (i + 3) / 4 * 4 * kPage - (i < 4 ? (4 - i) * kPage : 0));
    std::memset(table.pages()[i - 1], static_cast<int>(i), kPage);
    places.insert(table.pages()[i - 1]);
  }
  EXPECT_EQ(places.size(), 12U);
  for (int64_t i = 1; i <= 12; ++i) {
    for (const int64_t at : {int64_t{0}, kPage / 2, kPage - 1}) {
      EXPECT_EQ(table.pages()[i - 1][at], static_cast<std::byte>(i));
    }
  }
}

TEST(PageSlabs, GoBackWhenNoPageIsInUse) {
  constexpr int64_t kPage = kSlab / 4;
  SizedDevice device(16 * kSlab);
  PagePool pool(device, kPage);
  PageTable first(pool);
  first.reserve(4 * kPageRows);
  PageTable second(pool);
  second.reserve(3 * kPageRows);
  PageTable third(pool);
  third.reserve(kPageRows);
  EXPECT_EQ(device.allocated_bytes(), 2 * kSlab);
  first = PageTable(pool);
  second = PageTable(pool);
  pool.trim();
  EXPECT_EQ(device.allocated_bytes(), kSlab) << "one page of it is the third table's";
  EXPECT_EQ(pool.pages_in_use(), 1);
  second.reserve(3 * kPageRows);
  EXPECT_EQ(device.allocated_bytes(), kSlab) << "its others are taken again";
  second = PageTable(pool);
  third = PageTable(pool);
  pool.trim();
  EXPECT_EQ(device.allocated_bytes(), 0);
}

TEST(PageSlabs, AreAsLongAsTheirPages) {
  constexpr int64_t kPage = kSlab / 7 / 64 * 64;
  SizedDevice device(16 * kSlab);
  PagePool pool(device, kPage);
  PageTable table(pool);
  table.reserve(21 * kPageRows);
  EXPECT_EQ(device.allocated_bytes(), 21 * kPage);
  for (int64_t i = 0; i < 21; ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(table.pages()[i]) % 64, 0U);
    std::memset(table.pages()[i], static_cast<int>(i), kPage);
  }
  for (int64_t i = 0; i < 21; ++i) {
    EXPECT_EQ(table.pages()[i][0], static_cast<std::byte>(i));
    EXPECT_EQ(table.pages()[i][kPage - 1], static_cast<std::byte>(i));
  }
}

TEST(PageSlabs, AreNotForLargePagesNorForCards) {
  SizedDevice device(16 * kSlab);
  PagePool large(device, kSlab / 2 + 64);
  PageTable table(large);
  table.reserve(5 * kPageRows);
  EXPECT_EQ(device.allocated_bytes(), 5 * (kSlab / 2 + 64));
  SizedDevice card(16 * kSlab, false);
  PagePool pool(card, kSlab / 4);
  PageTable other(pool);
  other.reserve(7 * kPageRows);
  EXPECT_EQ(card.allocated_bytes(), 7 * kSlab / 4);
}

TEST(PageSlabs, ThatDoNotFitLeaveTheTableAsItWas) {
  SizedDevice device(kSlab + kSlab / 2);
  PagePool pool(device, kSlab / 4);
  PageTable table(pool);
  table.reserve(4 * kPageRows);
  table.advance(4 * kPageRows);
  EXPECT_THROW(table.reserve(1), Error);
  EXPECT_EQ(table.held_bytes(), kSlab);
  EXPECT_EQ(pool.pages_in_use(), 4);
  table.truncate(kPageRows);
  table.reserve(kPageRows);
  EXPECT_EQ(device.allocated_bytes(), kSlab);
}

}  // namespace
}  // namespace slim
