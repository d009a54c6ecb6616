// CharacterMap. A unit of the array has its label in bits 0 to 7 and 31, whether a value follows in
// bit 8, and the distance to its children in bits 10 to 30, times 256 if bit 9 is set; a value has
// bit 31. The child for a byte is at (place of the unit ^ distance) ^ byte.
#include "text/character_map.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>

#include "slim/error.h"
#include "text/characters.h"
#include "text/utf8.h"

namespace slim {
namespace {

constexpr size_t kMaximumTable = size_t{64} << 20;  // 250 times those in use
constexpr size_t kLongestCluster = 5;
constexpr size_t kLongestText =
    1024;  // of a sequence, or of what takes its place: 20 times those in use

[[noreturn]] void refuse(const std::string& why, const std::string& place) {
  throw Error(ErrorCode::bad_file, "The table of characters " + why + ".", place);
}

uint32_t number_at(std::string_view bytes, size_t at) {
  uint32_t number = 0;
  for (size_t i = 4; i-- > 0;) number = number << 8 | static_cast<uint8_t>(bytes[at + i]);
  return number;
}

size_t distance(uint32_t unit) { return (unit >> 10) << ((unit & 0x200U) >> 6); }
uint32_t label(uint32_t unit) { return unit & 0x800000FFU; }
bool has_value(uint32_t unit) { return (unit & 0x100U) != 0; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFFU; }

bool is_continuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

int digit_of_base64(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

}  // namespace

CharacterMap::CharacterMap(std::vector<uint32_t> units, std::string texts)
    : units_(std::move(units)), texts_(std::move(texts)) {}

std::shared_ptr<const CharacterMap> CharacterMap::read(std::string_view bytes,
                                                       const std::string& place) {
  if (bytes.size() > kMaximumTable) refuse("has more than 64 MiB", place);
  if (bytes.size() < 4) refuse("has no size", place);
  const size_t size = number_at(bytes, 0);
  bytes.remove_prefix(4);
  if (size % 4 != 0 || size == 0 || size > bytes.size()) {
    refuse("has " + std::to_string(bytes.size()) + " bytes, but its array takes " +
               std::to_string(size),
           place);
  }
  std::vector<uint32_t> units(size / 4);
  for (size_t i = 0; i < units.size(); ++i) units[i] = number_at(bytes, 4 * i);
  const std::shared_ptr<const CharacterMap> map(
      new CharacterMap(std::move(units), std::string(bytes.substr(size))));
  map->check(place);
  return map;
}

std::shared_ptr<const CharacterMap> CharacterMap::read_base64(std::string_view text,
                                                              const std::string& place) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string bytes;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const int digit = digit_of_base64(c);
    if (digit < 0) refuse("is not written in base 64", place);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> held & 0xFF);
  }
  return read(bytes, place);
}

// So that what comes out is UTF-8, whatever the array says.
void CharacterMap::check(const std::string& place) const {
  if (utf8_prefix(texts_) < texts_.size()) refuse("has texts that are not UTF-8", place);
  for (size_t begin = 0; begin < texts_.size();) {
    const size_t end = std::min(texts_.find('\0', begin), texts_.size());
    if (end - begin > kLongestText) refuse("has a text of unlikely length", place);
    begin = end + 1;
  }
  for (size_t i = 0; i < units_.size(); ++i) {
    const uint32_t unit = units_[i];
    if (!has_value(unit) || label(unit) > 0xFF) continue;
    const size_t at = i ^ distance(unit);
    const uint32_t value = at < units_.size() ? value_of(units_[at]) : UINT32_MAX;
    if (value >= texts_.size() || is_continuation(texts_[value])) {
      refuse("has a sequence without a text", place);
    }
  }
}

std::string_view CharacterMap::text_at(uint32_t value) const {
  const std::string_view text = std::string_view(texts_).substr(value);
  return text.substr(0, text.find('\0'));
}

CharacterMap::Match CharacterMap::match(std::string_view text, bool longest) const {
  Match found;
  size_t at = distance(units_[0]);
  for (size_t i = 0; i < std::min(text.size(), kLongestText); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    at ^= byte;
    if (byte == 0 || at >= units_.size() || label(units_[at]) != byte) break;
    const uint32_t unit = units_[at];
    at ^= distance(unit);
    // Whole characters only.
    if (!has_value(unit) || (i + 1 < text.size() && is_continuation(text[i + 1]))) continue;
    found = {i + 1, text_at(value_of(units_[at]))};
    if (!longest) break;
  }
  return found;
}

std::string CharacterMap::apply(std::string_view text, const PrefixTree* kept) const {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    Match found;
    const size_t same = kept == nullptr ? 0 : kept->longest_prefix(text);
    if (same == 0) found = match(text, true);
    const size_t used = same > 0 ? same : found.length > 0 ? found.length : utf8_part(text).size;
    out += found.length > 0 ? found.text : text.substr(0, used);
    text.remove_prefix(used);
  }
  return out;
}

void CharacterMap::append_grapheme(std::string_view cluster, std::string& out) const {
  if (cluster.size() <= kLongestCluster) {
    const Match whole = match(cluster, false);
    if (whole.length > 0) {
      out += whole.text;
      return;
    }
  }
  while (!cluster.empty()) {
    const std::string_view character = cluster.substr(0, utf8_part(cluster).size);
    const Match found = match(character, false);
    out += found.length > 0 ? found.text : character;
    cluster.remove_prefix(character.size());
  }
}

std::string CharacterMap::apply_to_graphemes(std::string_view text) const {
  std::string out;
  out.reserve(text.size());
  utf8proc_int32_t state = 0;
  size_t begin = 0;
  size_t at = 0;
  utf8proc_int32_t before = 0;
  while (at < text.size()) {
    const std::string_view character = text.substr(at, utf8_part(text.substr(at)).size);
    const auto code = static_cast<utf8proc_int32_t>(code_point(character));
    if (at > begin && utf8proc_grapheme_break_stateful(before, code, &state)) {
      append_grapheme(text.substr(begin, at - begin), out);
      begin = at;
    }
    before = code;
    at += character.size();
  }
  append_grapheme(text.substr(begin), out);
  return out;
}

}  // namespace slim
