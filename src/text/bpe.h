// Bpe: byte-pair encoding of one word. Symbols start as the word's bytes; of all neighbours that
// may merge, the pair of lowest rank does (the leftmost of equals), until none may. O(n log n) in
// the word's length: candidates wait in a heap, symbols are a linked list.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace slim {

class Bpe {
 public:
  struct Merge {
    int32_t left, right, result;
  };
  // Working space, reused from word to word by one thread.
  struct Scratch {
    struct Symbol {
      int32_t id;  // -1: merged into an earlier symbol
      int32_t previous, next;
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> candidates;
  };

  // `byte_ids`: the token of each byte. `merges`: how many add() will be called for at most.
  Bpe(const std::array<int32_t, 256>& byte_ids, size_t merges);
  // Adds the merge of the next rank. False if the pair has a rank already.
  [[nodiscard]] bool add(const Merge& merge);

  // Appends the word's tokens. At most 2^31 - 1 bytes.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  // The rank at which two tokens merge; -1 if they do not.
  int32_t rank(int32_t left, int32_t right) const;
  size_t slot(int32_t left, int32_t right) const;
  void propose(int32_t at, Scratch& scratch) const;
  void merge_next(Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Merge> merges_;
  std::vector<int32_t> table_;  // open addressing: ranks by pair; -1 is free
  int shift_;                   // keeps as many bits of a hash as the table has
};

}  // namespace slim
