// Bpe. A candidate is its rank and its left symbol's position packed into 64 bits, so that the
// heap's order is "lowest rank, then leftmost" with plain integers. Candidates are not removed when
// a neighbour changes: they are checked against the symbols when their turn comes.
#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/check.h"

namespace slim {

Bpe::Bpe(size_t merges) {
  // At most half full, so that probes stay short: 512 KiB for the 50,000 merges of GPT-2.
  const size_t size = std::bit_ceil(std::max<size_t>(2 * merges, 2));
  shift_ = 64 - std::countr_zero(size);
  table_.assign(size, -1);
  merges_.reserve(merges);
}

bool Bpe::add(const Merge& merge) {
  check(2 * merges_.size() < table_.size(), "no more merges than were announced");
  int32_t& place = table_[slot(merge.left, merge.right)];
  if (place >= 0) return false;
  place = static_cast<int32_t>(merges_.size());
  merges_.push_back(merge);
  return true;
}

size_t Bpe::slot(int32_t left, int32_t right) const {
  const uint64_t key =
      static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  // Fibonacci hashing: the high bits of the product depend on all of the key.
  size_t at = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (table_[at] >= 0) {
    const Merge& merge = merges_[static_cast<size_t>(table_[at])];
    if (merge.left == left && merge.right == right) break;
    at = (at + 1) & (table_.size() - 1);
  }
  return at;
}

const Bpe::Merge* Bpe::find(int32_t left, int32_t right) const {
  const int32_t index = table_[slot(left, right)];
  return index < 0 ? nullptr : &merges_[static_cast<size_t>(index)];
}

void Bpe::encode(std::span<const int32_t> start, Scratch& scratch,
                 std::vector<int32_t>& ids) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  scratch.candidates.clear();
  const auto size = static_cast<int32_t>(start.size());
  for (int32_t i = 0; i < size; ++i) {
    symbols.push_back({start[static_cast<size_t>(i)], i - 1, i + 1 < size ? i + 1 : -1});
  }
  for (int32_t i = 0; i + 1 < size; ++i) propose(i, scratch);
  while (!scratch.candidates.empty()) merge_next(scratch);
  for (const Scratch::Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

// Makes the symbol at a position and its successor a candidate, if they may merge.
void Bpe::propose(int32_t at, Scratch& scratch) const {
  const Scratch::Symbol& left = scratch.symbols[static_cast<size_t>(at)];
  if (left.next < 0) return;
  const Merge* merge = find(left.id, scratch.symbols[static_cast<size_t>(left.next)].id);
  if (merge == nullptr) return;
  scratch.candidates.push_back(static_cast<uint64_t>(merge->rank) << 32 |
                               static_cast<uint32_t>(at));
  std::push_heap(scratch.candidates.begin(), scratch.candidates.end(), std::greater<>());
}

void Bpe::merge_next(Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  std::pop_heap(scratch.candidates.begin(), scratch.candidates.end(), std::greater<>());
  const uint64_t candidate = scratch.candidates.back();
  scratch.candidates.pop_back();
  const auto at = static_cast<int32_t>(candidate & 0xFFFFFFFF);
  Scratch::Symbol& left = symbols[static_cast<size_t>(at)];
  if (left.id < 0 || left.next < 0) return;
  Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
  const Merge* merge = find(left.id, right.id);
  // Another pair stands here by now; it has its own candidate, unless it has this very rank.
  if (merge == nullptr || static_cast<uint64_t>(merge->rank) != candidate >> 32) return;
  left.id = merge->result;
  right.id = -1;
  left.next = right.next;
  if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = at;
  propose(at, scratch);
  if (left.previous >= 0) propose(left.previous, scratch);
}

}  // namespace slim
