// Splitting at characters, then at spaces; merging marks.
#include "engine/words.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/check.h"
#include "text/utf8.h"

namespace slim {
namespace {

// Python's string.punctuation.
constexpr std::string_view kPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

bool contains(std::string_view marks, std::string_view text) {
  return marks.find(text) != std::string_view::npos;
}

// Tokens that end whole characters together.
struct Piece {
  std::string text;
  size_t end;  // token after its last
};

// A token ends a piece where its last byte ends a part (utf8.h) of the whole text.
std::vector<Piece> split_characters(const Tokenizer& tokenizer, std::span<const int32_t> text) {
  std::string bytes;
  std::vector<size_t> ends;
  for (const int32_t id : text) {
    bytes += tokenizer.bytes(id);
    ends.push_back(bytes.size());
  }
  std::vector<Piece> pieces;
  size_t begin = 0;  // of the piece
  size_t at = 0;     // end of a part
  for (size_t i = 0; i < ends.size(); ++i) {
    while (at < ends[i]) at += utf8_part(std::string_view(bytes).substr(at)).size;
    if (at > ends[i] && i + 1 < ends.size()) continue;
    pieces.push_back({valid_utf8(std::string_view(bytes).substr(begin, ends[i] - begin)), i + 1});
    begin = ends[i];
  }
  return pieces;
}

std::vector<Piece> join_at_spaces(std::vector<Piece> pieces) {
  std::vector<Piece> words;
  for (Piece& piece : pieces) {
    const bool begins = piece.text.starts_with(' ') || contains(kPunctuation, trimmed(piece.text));
    if (begins || words.empty()) {
      words.push_back(std::move(piece));
    } else {
      words.back().text += piece.text;
      words.back().end = piece.end;
    }
  }
  return words;
}

}  // namespace

bool written_without_spaces(std::string_view language) {
  static constexpr std::array<std::string_view, 6> kLanguages = {"zh", "ja", "th",
                                                                 "lo", "my", "yue"};
  return std::find(kLanguages.begin(), kLanguages.end(), language) != kLanguages.end();
}

std::vector<TimedWord> split_words(const Tokenizer& tokenizer, std::span<const int32_t> text,
                                   const TokenTimes& times, bool by_character) {
  check(times.at.size() == text.size() + 1 && times.probability.size() == text.size(),
        "every token has its time");
  std::vector<Piece> pieces = split_characters(tokenizer, text);
  if (!by_character) pieces = join_at_spaces(std::move(pieces));
  std::vector<TimedWord> words;
  size_t first = 0;
  for (Piece& piece : pieces) {
    const auto begin = times.probability.begin();
    const double sum = std::accumulate(begin + static_cast<ptrdiff_t>(first),
                                       begin + static_cast<ptrdiff_t>(piece.end), 0.0);
    words.push_back({std::move(piece.text), first, times.at[first], times.at[piece.end],
                     sum / static_cast<double>(piece.end - first)});
    first = piece.end;
  }
  return words;
}

void merge_punctuation(std::vector<TimedWord>& words, std::string_view prepended,
                       std::string_view appended) {
  if (words.empty()) return;
  size_t following = words.size() - 1;
  for (size_t i = words.size() - 1; i-- > 0;) {
    TimedWord& mark = words[i];
    if (mark.text.starts_with(' ') && contains(prepended, trimmed(mark.text))) {
      words[following].text.insert(0, mark.text);
      mark.text.clear();
    } else {
      following = i;
    }
  }
  size_t previous = 0;
  for (size_t i = 1; i < words.size(); ++i) {
    TimedWord& mark = words[i];
    if (!words[previous].text.ends_with(' ') && contains(appended, mark.text)) {
      words[previous].text += mark.text;
      mark.text.clear();
    } else {
      previous = i;
    }
  }
}

}  // namespace slim
