// Pretokenizer: the steps recurse, so that no list of all words is ever made.
#include "text/pretokenizer.h"

#include <algorithm>

namespace slim {
namespace {

struct Segment {
  size_t begin, end;
  bool match;
};

// The text as matches and what lies between them. Empty matches only cut.
std::vector<Segment> segments_of(const Pretokenizer::Split& split, std::string_view text,
                                 Matcher& matcher) {
  std::vector<Segment> segments;
  size_t done = 0;
  const auto add = [&](size_t end, bool match) {
    if (end > done) segments.push_back({done, end, match != split.invert});
    done = end;
  };
  size_t from = 0;
  while (from < text.size()) {
    const auto found = matcher.find(split.pattern, text, from);
    if (!found) break;
    add(found->begin, false);
    add(found->end, true);
    from = found->end;
    if (found->end > found->begin) continue;
    ++from;
    while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xC0) == 0x80) ++from;
  }
  add(text.size(), false);
  return segments;
}

using Segments = std::vector<Segment>;

// Joins neighbours where joins(left, right).
template <typename Joins>
Segments joined(const Segments& segments, Joins&& joins) {
  Segments out;
  for (size_t i = 0; i < segments.size(); ++i) {
    if (i > 0 && joins(segments, i)) {
      out.back().end = segments[i].end;
    } else {
      out.push_back(segments[i]);
    }
  }
  return out;
}

Segments arranged(Segments segments, Pretokenizer::Behavior behavior) {
  using enum Pretokenizer::Behavior;
  switch (behavior) {
    case isolated:
      return segments;
    case removed:
      std::erase_if(segments, [](const Segment& s) { return s.match; });
      return segments;
    case contiguous:
      return joined(segments,
                    [](const Segments& s, size_t i) { return s[i].match == s[i - 1].match; });
    // A match that follows another match stays alone.
    case merged_with_previous:
      return joined(segments,
                    [](const Segments& s, size_t i) { return s[i].match && !s[i - 1].match; });
    case merged_with_next:
      return joined(segments,
                    [](const Segments& s, size_t i) { return s[i - 1].match && !s[i].match; });
  }
  return segments;
}

std::string with_marks(std::string_view text, const std::string& mark) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    if (c == ' ') {
      out += mark;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

struct Pretokenizer::Run {
  Matcher& matcher;
  FunctionRef<void(std::string_view)> word;
};

void Pretokenizer::each_word(std::string_view text, PiecePlace place, Matcher& matcher,
                             FunctionRef<void(std::string_view)> word) const {
  run(0, text, place, {matcher, word});
}

void Pretokenizer::run(size_t step, std::string_view text, PiecePlace place,
                       const Run& shared) const {
  if (text.empty()) return;
  if (step == steps_.size()) return shared.word(text);
  if (const auto* split = std::get_if<Split>(&steps_[step])) {
    for (const Segment& s : arranged(segments_of(*split, text, shared.matcher), split->behavior)) {
      const PiecePlace inner{place.first && s.begin == 0, place.continues && s.begin == 0};
      run(step + 1, text.substr(s.begin, s.end - s.begin), inner, shared);
    }
  } else if (std::holds_alternative<PrefixSpace>(steps_[step])) {
    if (text.starts_with(' ') || place.continues) return run(step + 1, text, place, shared);
    const std::string prefixed = " " + std::string(text);
    run(step + 1, prefixed, place, shared);
  } else {
    const auto& metaspace = std::get<Metaspace>(steps_[step]);
    std::string marked = with_marks(text, metaspace.mark);
    const bool wanted = metaspace.prepend == Metaspace::Prepend::always ||
                        (metaspace.prepend == Metaspace::Prepend::first && place.first);
    if (wanted && !place.continues && !marked.starts_with(metaspace.mark)) {
      marked.insert(0, metaspace.mark);
    }
    run(step + 1, marked, place, shared);
  }
}

Pretokenizer::Split byte_level_split() {
  static const Pattern pattern = Pattern::from_file(
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", "");
  return {pattern};
}

}  // namespace slim
