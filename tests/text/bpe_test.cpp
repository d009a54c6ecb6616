// Bpe against the definition: of all pairs that may merge take the lowest rank, leftmost first.
#include "text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>

namespace slim {
namespace {

std::array<int32_t, 256> identity() {
  std::array<int32_t, 256> ids{};
  for (int32_t i = 0; i < 256; ++i) ids[static_cast<size_t>(i)] = i;
  return ids;
}

std::vector<int32_t> encode(const Bpe& bpe, std::string_view word) {
  Bpe::Scratch scratch;
  std::vector<int32_t> ids;
  bpe.encode(word, scratch, ids);
  return ids;
}

// Scans all pairs for each merge: quadratic, and plainly what the words say.
std::vector<int32_t> naive(const std::vector<Bpe::Merge>& merges, std::string_view word) {
  std::map<std::pair<int32_t, int32_t>, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[{merges[i].left, merges[i].right}] = i;
  std::vector<int32_t> ids;
  for (const char byte : word) ids.push_back(static_cast<uint8_t>(byte));
  while (true) {
    size_t best = merges.size();
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = ranks.find({ids[i], ids[i + 1]});
      if (found != ranks.end() && found->second < best) {
        best = found->second;
        at = i;
      }
    }
    if (best == merges.size()) return ids;
    ids[at] = merges[best].result;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  Bpe bpe(identity(), 3);
  EXPECT_TRUE(bpe.add({'b', 'c', 300}));
  EXPECT_TRUE(bpe.add({'a', 'b', 301}));
  EXPECT_TRUE(bpe.add({'a', 'a', 302}));
  EXPECT_FALSE(bpe.add({'a', 'b', 303}));
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
    Bpe bpe(identity(), 40);
    std::vector<Bpe::Merge> shuffled;
    for (int i = 0; i < 40; ++i) {
      const std::string left = names[random() % names.size()];
      const std::string right = names[random() % names.size()];
      const auto [entry, fresh] =
          tokens.emplace(left + right, 256 + static_cast<int32_t>(tokens.size()));
      if (fresh) names.push_back(left + right);
      shuffled.push_back({tokens[left], tokens[right], entry->second});
    }
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    for (const Bpe::Merge& merge : shuffled) {
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
