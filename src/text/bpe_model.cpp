// BpeModel: the first symbols of a word, and Bpe for the rest.
#include "text/bpe_model.h"

#include <limits>
#include <utility>

#include "base/check.h"
#include "slim/error.h"
#include "text/byte_alphabet.h"
#include "text/characters.h"
#include "text/utf8.h"

namespace slim {
namespace {

constexpr std::string_view kDigits = "0123456789ABCDEF";

int digit_of(char c) {
  const size_t at = kDigits.find(static_cast<char>(c >= 'a' && c <= 'f' ? c - 'a' + 'A' : c));
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

}  // namespace

std::string byte_token(uint8_t byte) {
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
}

int byte_of_token(std::string_view content) {
  if (content.size() != 6 || !content.starts_with("<0x") || content[5] != '>') return -1;
  const int high = digit_of(content[3]);
  const int low = digit_of(content[4]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

BpeModel::BpeModel(const Vocabulary& vocabulary, const Settings& settings, Bpe bpe,
                   const std::string& place)
    : settings_(settings), bpe_(std::move(bpe)) {
  for (size_t i = 0; i < byte_ids_.size(); ++i) {
    const auto byte = static_cast<uint8_t>(i);
    byte_ids_[i] = -1;
    if (!settings_.byte_level && !settings_.byte_fallback) continue;
    const std::string symbol = settings_.byte_level ? byte_symbol(byte) : byte_token(byte);
    byte_ids_[i] = vocabulary.model_id(symbol).value_or(-1);
    if (byte_ids_[i] < 0 && !settings_.byte_level && !settings_.unknown) {
      throw Error(ErrorCode::unsupported_model,
                  "There is no token '" + symbol + "' for byte " + std::to_string(byte) +
                      ", so not every text can be encoded.",
                  place);
    }
  }
  if (settings_.byte_level) return;
  if (!settings_.byte_fallback && !settings_.unknown) {
    throw Error(
        ErrorCode::unsupported_model,
        "There is neither an unknown token nor a token for each byte, so not every text can "
        "be encoded.",
        place);
  }
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const auto content = vocabulary.content(id);
    if (content.empty() || vocabulary.model_id(content) != id) continue;
    const Utf8Part part = utf8_part(content);
    if (part.kind != Utf8Kind::character || part.size != content.size()) continue;
    characters_.emplace(code_point(content), id);
  }
}

int32_t BpeModel::byte_id(uint8_t byte) const {
  const int32_t id = byte_ids_[byte];
  if (id >= 0) return id;
  if (settings_.unknown) return *settings_.unknown;
  throw Error(ErrorCode::bad_request, "The vocabulary has no token for byte " +
                                          std::to_string(byte) + ", which the text has.");
}

void BpeModel::start_with_bytes(std::string_view word, std::vector<int32_t>& symbols) const {
  for (const char byte : word) symbols.push_back(byte_id(static_cast<uint8_t>(byte)));
}

void BpeModel::start_with_characters(std::string_view word, std::vector<int32_t>& symbols) const {
  bool unknown_before = false;
  while (!word.empty()) {
    const std::string_view character = word.substr(0, utf8_part(word).size);
    word.remove_prefix(character.size());
    const auto found = characters_.find(code_point(character));
    bool unknown = false;
    if (found != characters_.end()) {
      symbols.push_back(found->second);
    } else {
      const size_t size = symbols.size();
      for (const char byte : character) {
        const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
        unknown = unknown || id < 0;
        symbols.push_back(id);
      }
      if (unknown) {
        symbols.resize(size);
        if (!unknown_before || !settings_.fuse_unknown) symbols.push_back(*settings_.unknown);
      }
    }
    unknown_before = unknown;
  }
}

void BpeModel::encode(std::string_view word, const Vocabulary& vocabulary, Scratch& scratch,
                      std::vector<int32_t>& ids) const {
  if (settings_.ignore_merges) {
    std::string content;
    if (settings_.byte_level) {
      for (const char byte : word) content += byte_symbol(static_cast<uint8_t>(byte));
    }
    const auto whole = vocabulary.model_id(settings_.byte_level ? content : word);
    if (whole) return ids.push_back(*whole);
  }
  if (word.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    throw Error(ErrorCode::bad_request, "A text grew beyond 2 GiB when it was normalised.");
  }
  std::vector<int32_t>& start = scratch.bpe.start;
  start.clear();
  settings_.byte_level ? start_with_bytes(word, start) : start_with_characters(word, start);
  bpe_.encode(start, scratch.bpe, ids);
}

}  // namespace slim
