// Bpe against the definition: of all pairs that may merge take the lowest rank, leftmost first.
#include "text/bpe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <utility>

namespace slim {
namespace {

std::vector<int32_t> encode(const Bpe& bpe, std::string_view word) {
  Bpe::Scratch scratch;
  std::vector<int32_t> start;
  for (const char byte : word) start.push_back(static_cast<uint8_t>(byte));
  std::vector<int32_t> ids;
  bpe.encode(start, scratch, ids);
  return ids;
}

// Scans all pairs for each merge: quadratic, and plainly what the words say.
std::vector<int32_t> naive(const std::vector<Bpe::Merge>& merges, std::string_view word) {
  std::map<std::pair<int32_t, int32_t>, const Bpe::Merge*> table;
  for (const Bpe::Merge& merge : merges) table[{merge.left, merge.right}] = &merge;
  std::vector<int32_t> ids;
  for (const char byte : word) ids.push_back(static_cast<uint8_t>(byte));
  while (true) {
    const Bpe::Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = table.find({ids[i], ids[i + 1]});
      if (found != table.end() && (best == nullptr || found->second->rank < best->rank)) {
        best = found->second;
        at = i;
      }
    }
    if (best == nullptr) return ids;
    ids[at] = best->result;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  Bpe bpe(3);
  EXPECT_TRUE(bpe.add({'b', 'c', 300, 0}));
  EXPECT_TRUE(bpe.add({'a', 'b', 301, 1}));
  EXPECT_TRUE(bpe.add({'a', 'a', 302, 2}));
  EXPECT_FALSE(bpe.add({'a', 'b', 303, 3}));
  EXPECT_EQ(encode(bpe, ""), (std::vector<int32_t>{}));
  EXPECT_EQ(encode(bpe, "z"), (std::vector<int32_t>{'z'}));
  EXPECT_EQ(encode(bpe, "abc"), (std::vector<int32_t>{'a', 300}));
  EXPECT_EQ(encode(bpe, "ab"), (std::vector<int32_t>{301}));
  EXPECT_EQ(encode(bpe, "aaa"), (std::vector<int32_t>{302, 'a'}));
  EXPECT_EQ(encode(bpe, "aaab"), (std::vector<int32_t>{302, 301}));
}

TEST(Bpe, EqualsTheDefinitionOnRandomMerges) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    // Merges in any order, even ones whose sides come to be only by later ranks.
    std::vector<Bpe::Merge> merges;
    std::map<std::string, int32_t> tokens{{"a", 'a'}, {"b", 'b'}};
    std::vector<std::string> names{"a", "b"};
    Bpe bpe(40);
    std::vector<Bpe::Merge> shuffled;
    for (int i = 0; i < 40; ++i) {
      const std::string left = names[random() % names.size()];
      const std::string right = names[random() % names.size()];
      const auto [entry, fresh] =
          tokens.emplace(left + right, 256 + static_cast<int32_t>(tokens.size()));
      if (fresh) names.push_back(left + right);
      shuffled.push_back({tokens[left], tokens[right], entry->second, 0});
    }
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    // In every other round pairs share ranks, as those of one score do.
    const int32_t shared = round % 2 == 0 ? 1 : 4;
    for (Bpe::Merge& merge : shuffled) {
      merge.rank = static_cast<int32_t>(merges.size()) / shared;
      if (bpe.add(merge)) merges.push_back(merge);
    }
    for (int word = 0; word < 20; ++word) {
      std::string text(random() % 60, 'a');
      for (char& c : text) c = random() % 3 == 0 ? 'b' : 'a';
      ASSERT_EQ(encode(bpe, text), naive(merges, text)) << text;
    }
  }
}

}  // namespace
}  // namespace slim
