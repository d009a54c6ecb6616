// Merge tables from lists and from scores.
#include "text/merges.h"

#include <algorithm>
#include <numeric>
#include <string_view>
#include <utility>

#include "slim/error.h"
#include "text/tokenizer_parts.h"

namespace slim {
namespace {

// sentencepiece trains up to 16 characters; Gemma's longest, 31 spaces, has 93 bytes.
constexpr size_t kLongestResult = 256;

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

}  // namespace

Bpe make_bpe(std::vector<std::vector<std::string>> merges, const Vocabulary& vocabulary,
             FunctionRef<void(size_t, const std::string&)> reject) {
  if (merges.size() >= kMaximumTokens) reject(kMaximumTokens, "is one too many");
  Bpe bpe(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    std::vector<std::string>& sides = merges[i];
    if (sides.size() == 1) {
      const std::string text = sides[0];
      const size_t space = text.find(' ');
      if (space == std::string::npos) reject(i, "must have a space between its two tokens");
      sides = {text.substr(0, space), text.substr(space + 1)};
    }
    if (sides.size() != 2 || sides[0].empty() || sides[1].empty()) {
      reject(i, "must have two tokens");
    }
    const auto id = [&](const std::string& token) {
      const auto found = vocabulary.model_id(token);
      if (!found) reject(i, "needs the token '" + token + "', which the vocabulary has not");
      return *found;
    };
    const Bpe::Merge merge{id(sides[0]), id(sides[1]), id(sides[0] + sides[1]),
                           static_cast<int32_t>(i)};
    if (!bpe.add(merge)) reject(i, "repeats an earlier merge");
  }
  return bpe;
}

Bpe make_bpe(const std::vector<float>& scores, const Vocabulary& vocabulary) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto score = [&](int32_t id) { return scores[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return score(a) > score(b); });
  std::vector<Bpe::Merge> merges;
  int32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const int32_t id = order[i];
    if (i > 0 && score(id) != score(order[i - 1])) ++rank;
    const std::string_view content = vocabulary.content(id);
    if (vocabulary.model_id(content) != id || content.size() > kLongestResult) continue;
    for (size_t cut = 1; cut < content.size(); ++cut) {
      if (is_continuation(content[cut])) continue;
      const auto left = vocabulary.model_id(content.substr(0, cut));
      const auto right = left ? vocabulary.model_id(content.substr(cut)) : std::nullopt;
      if (right) merges.push_back({*left, *right, id, rank});
    }
  }
  Bpe bpe(merges.size());
  for (const Bpe::Merge& merge : merges) {
    // Two pairs of contents that join to one are different pairs of ids, so none repeats.
    if (!bpe.add(merge)) throw Error(ErrorCode::internal, "A pair of tokens merges twice.");
  }
  return bpe;
}

}  // namespace slim
