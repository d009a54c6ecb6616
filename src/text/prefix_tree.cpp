// PrefixTree: a node stands for the range of sorted entries that share its bytes; its children cut
// that range by the next byte. O(bytes of all entries) after sorting.
#include "text/prefix_tree.h"

namespace slim {

PrefixTree::PrefixTree(std::vector<Entry> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.text < b.text; });
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, entries.size(), 0}};
  nodes_.emplace_back();
  for (size_t at = 0; at < nodes_.size(); ++at) {
    auto [begin, end, depth] = ranges[at];
    nodes_[at].first = static_cast<uint32_t>(nodes_.size());
    while (begin < end && entries[begin].text.size() == depth) {
      nodes_[at].value = entries[begin++].value;
    }
    while (begin < end) {
      const char byte = entries[begin].text[depth];
      size_t stop = begin;
      while (stop < end && entries[stop].text[depth] == byte) ++stop;
      Node node;
      node.byte = static_cast<uint8_t>(byte);
      nodes_.push_back(node);
      ranges.push_back({begin, stop, depth + 1});
      ++nodes_[at].count;
      begin = stop;
    }
  }
}

size_t PrefixTree::longest_prefix(std::string_view text) const {
  size_t longest = 0;
  each_prefix(text, [&](size_t length, int32_t) { longest = length; });
  return longest;
}

}  // namespace slim
