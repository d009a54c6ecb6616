// PrefixTree: a set of byte strings with a number each, to find all of them that a text starts
// with. Nodes lie in the order of their depth, so that the children of one are neighbours sorted by
// byte: 12 bytes a node, and one look-up a byte of the text.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace slim {

class PrefixTree {
 public:
  struct Entry {
    std::string_view text;  // not empty; not kept
    int32_t value;          // not negative
  };
  // Of entries with equal texts one counts.
  explicit PrefixTree(std::vector<Entry> entries);

  // Calls visit(length, value) for each entry that `text` starts with, the shortest first.
  template <typename Visit>
  void each_prefix(std::string_view text, Visit&& visit) const {
    const Node* node = nodes_.data();
    for (size_t i = 0; i < text.size(); ++i) {
      node = child(*node, static_cast<uint8_t>(text[i]));
      if (node == nullptr) return;
      if (node->value >= 0) visit(i + 1, node->value);
    }
  }
  // How long the longest of them is; 0: there is none.
  size_t longest_prefix(std::string_view text) const;

 private:
  struct Node {
    int32_t value = -1;
    uint32_t first = 0;  // child
    uint16_t count = 0;
    uint8_t byte = 0;
  };
  const Node* child(const Node& node, uint8_t byte) const {
    const Node* begin = nodes_.data() + node.first;
    const Node* end = begin + node.count;
    const Node* at =
        std::partition_point(begin, end, [byte](const Node& n) { return n.byte < byte; });
    return at != end && at->byte == byte ? at : nullptr;
  }

  std::vector<Node> nodes_;  // the first is the root
};

}  // namespace slim
