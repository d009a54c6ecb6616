// Bpe: byte-pair encoding of one word. The word starts as symbols (its bytes or characters); of all
// neighbours that may merge, the pair of lowest rank does (the leftmost of equals), until none may.
// O(n log n) in the word's length: candidates wait in a heap, symbols are a linked list.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace slim {

class Bpe {
 public:
  struct Merge {
    int32_t left, right, result;
    int32_t rank;  // not negative; several merges may share one
  };
  // Working space, reused from word to word by one thread.
  struct Scratch {
    struct Symbol {
      int32_t id;  // -1: merged into an earlier symbol
      int32_t previous, next;
    };
    std::vector<int32_t> start;  // for the caller to put a word's symbols in
    std::vector<Symbol> symbols;
    std::vector<uint64_t> candidates;
  };

  // `merges`: how many add() will be called for at most.
  explicit Bpe(size_t merges);
  // False if the pair merges already.
  [[nodiscard]] bool add(const Merge& merge);

  // Appends the tokens that the symbols become. At most 2^31 - 1 symbols.
  void encode(std::span<const int32_t> start, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  // The merge of two tokens; nullptr if they do not merge.
  const Merge* find(int32_t left, int32_t right) const;
  size_t slot(int32_t left, int32_t right) const;
  void propose(int32_t at, Scratch& scratch) const;
  void merge_next(Scratch& scratch) const;

  std::vector<Merge> merges_;
  std::vector<int32_t> table_;  // open addressing: indices of merges_ by pair; -1 is free
  int shift_;                   // keeps as many bits of a hash as the table has
};

}  // namespace slim
