// Blocks and scratch memory, which no result may ever depend on.
#include <gtest/gtest.h>

#include <map>
#include <thread>
#include <tuple>
#include <vector>

#include "attention/blocks.h"
#include "attention/step_scratch.h"

namespace slim {
namespace {

// Which rows of which sequence a token sees, up to which one, and where it stands.
using Sight = std::map<int64_t, std::tuple<std::byte* const*, int64_t, int64_t>>;

void look(std::span<const Slice> slices, int64_t first, bool causal, Sight& seen) {
  for (const Slice& slice : slices) {
    for (int64_t i = 0; i < slice.count; ++i) {
      const int64_t rows = causal ? slice.rows - slice.count + i + 1 : slice.rows;
      EXPECT_TRUE(
          seen.emplace(first + slice.first + i, std::tuple(slice.pages, rows, slice.position + i))
              .second);
    }
  }
}

TEST(Blocks, EveryTokenSeesTheSameRows) {
  std::byte* pages[3] = {};
  std::vector<Slice> slices(4);
  int64_t placed = 0;
  for (size_t i = 0; i < 4; ++i) {
    constexpr int64_t kCounts[] = {7, 1, 0, 12};
    constexpr int64_t kRows[] = {9, 70, 4, 12};
    slices[i].first = placed;
    slices[i].count = kCounts[i];
    slices[i].rows = kRows[i];
    slices[i].position = kRows[i] - kCounts[i];
    slices[i].pages = pages + i % 3;
    placed += kCounts[i];
  }
  constexpr int64_t kTokens = 20;
  for (const bool causal : {true, false}) {
    Sight whole;
    look(slices, 0, causal, whole);
    for (int64_t limit = 1; limit <= kTokens + 1; ++limit) {
      Sight cut;
      int64_t next = 0;
      for_blocks(slices, kTokens, limit, causal,
                 [&](int64_t first, int64_t count, std::span<const Slice> part) {
                   EXPECT_EQ(first, next);
                   EXPECT_LE(count, limit);
                   next += count;
                   look(part, first, causal, cut);
                 });
      EXPECT_EQ(next, kTokens);
      EXPECT_EQ(cut, whole) << "blocks of " << limit;
    }
  }
}

class CountingDevice final : public Device {
 public:
  std::string_view name() const override { return "counting"; }
  int count = 0;

 protected:
  std::byte* acquire(size_t bytes) override {
    ++count;
    return new std::byte[bytes];
  }
  void release(std::byte* data, size_t /*bytes*/) noexcept override { delete[] data; }
};

// In a thread of its own, whose end frees what it kept.
TEST(StepScratch, KeepsItsMemoryAndNests) {
  CountingDevice device;
  std::thread([&] {
    const auto step = [&](int64_t tokens) {
      StepScratch outer(device);
      const Matrix a = outer.matrix(tokens, 8);
      const Matrix b = outer.matrix(tokens, 4);
      std::byte* inner = nullptr;
      {
        StepScratch nested(device);
        inner = nested.matrix(tokens, 2).data;
      }
      const Matrix c = outer.matrix(tokens, 2);
      EXPECT_NE(a.data, b.data);
      EXPECT_EQ(c.data, inner);  // free again
      EXPECT_EQ(a.columns, 8);
      EXPECT_EQ(a.stride, 8);
      EXPECT_EQ(a.rows, tokens);
    };
    step(10);
    EXPECT_EQ(device.count, 3);
    for (int64_t tokens = 0; tokens <= 10; ++tokens) step(tokens);
    EXPECT_EQ(device.count, 3);
    EXPECT_EQ(device.allocated_bytes(), 10 * (8 + 4 + 2) * 4);
    step(20);
    EXPECT_EQ(device.count, 6);
    EXPECT_EQ(device.allocated_bytes(), 20 * (8 + 4 + 2) * 4);
  }).join();
  EXPECT_EQ(device.allocated_bytes(), 0);
}

}  // namespace
}  // namespace slim
