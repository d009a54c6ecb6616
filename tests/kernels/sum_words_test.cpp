// Sums of memory, exact: every length around those that vectors, blocks and tasks end at, and
// nothing beside them.
#include <vector>

#include "kernels/parity.h"

namespace slim {
namespace {

class SumWordsParity : public ParityTest {};

TEST_P(SumWordsParity, EveryWordCountsOnce) {
  // Two tasks of the CPU and a bit; several blocks of a card.
  std::vector<uint32_t> all((std::size_t{1} << 19) + 16);
  uint32_t state = 1;
  for (uint32_t& word : all) word = state = state * 1664525U + 1013904223U;
  for (const int64_t count : {0, 1, 3, 4, 5, 1023, 1024, 1027, 4096, (1 << 19) + 3}) {
    // At a multiple of 16 bytes, which a vector's beginning is.
    uint32_t expected = 77;
    uint32_t actual = 77;
    reference_->sum_words({.words = all.data(), .count = count, .sum = &expected});
    kernels_->sum_words({.words = all.data(), .count = count, .sum = &actual});
    EXPECT_EQ(actual, expected) << count;
  }
}

TEST(SumWordsReference, AddsModuloTwoToThe32) {
  const auto reference = make_kernels("reference", 1);
  alignas(16) const uint32_t words[] = {0xFFFFFFFFU, 2U, 5U};
  uint32_t sum = 10;
  reference->sum_words({.words = words, .count = 3, .sum = &sum});
  EXPECT_EQ(sum, 16U);
}

INSTANTIATE_TEST_SUITE_P(Kernels, SumWordsParity, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
