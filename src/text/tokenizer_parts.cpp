// What the readers of all kinds of tokenizer files do with added tokens.
#include "text/tokenizer_parts.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "slim/error.h"
#include "text/utf8.h"

namespace slim {

void add_tokens(std::vector<AddedToken> tokens, const TokenDecoder& decoder, Vocabulary& vocabulary,
                std::vector<AddedToken>& list, const std::string& place) {
  const auto reject = [&](const AddedToken& token, const std::string& why) {
    throw Error(ErrorCode::bad_file,
                "The added token " + std::to_string(token.id) + " " + why + ".", place);
  };
  std::unordered_set<std::string> seen;
  for (const AddedToken& token : list) seen.insert(token.content);
  for (AddedToken& token : tokens) {
    if (token.content.empty() || token.content.size() > kMaximumContent ||
        utf8_prefix(token.content) < token.content.size()) {
      reject(token, "must have 1 to " + std::to_string(kMaximumContent) + " bytes of UTF-8");
    }
    if (token.id < 0 || token.id >= kMaximumTokens) reject(token, "has an id beyond 2^20");
    const auto known = vocabulary.id(token.content);
    if (known != token.id && (known || !vocabulary.add(token.id, token.content, {}))) {
      reject(token, "contradicts the vocabulary or another added token");
    }
    Vocabulary::Token& entry = vocabulary.at(token.id);
    entry.special = token.special;
    entry.added = true;
    entry.bytes = decoder.bytes(token.content, true);
    if (seen.insert(token.content).second) list.push_back(std::move(token));
  }
}

std::vector<AddedToken> normalized_tokens(std::vector<AddedToken> tokens,
                                          const Normalizer& normalizer) {
  if (normalizer.changes_nothing()) return tokens;
  Matcher matcher;
  std::unordered_set<std::string> seen;
  std::vector<AddedToken> out;
  for (AddedToken& token : tokens) {
    PiecePlace place;
    token.content = normalizer.apply(token.content, place, matcher);
    if (token.content.empty() || !seen.insert(token.content).second) continue;
    out.push_back(std::move(token));
  }
  return out;
}

}  // namespace slim
