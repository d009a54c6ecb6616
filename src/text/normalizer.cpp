// Normalizer: the steps one after the other, each on the whole text.
#include "text/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "slim/error.h"
#include "text/characters.h"

namespace slim {
namespace {

std::string to_form(Normalizer::Form form, std::string text) {
  const bool ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
  if (ascii) return text;
  const bool compatible = form == Normalizer::Form::nfkc || form == Normalizer::Form::nfkd;
  const bool composed = form == Normalizer::Form::nfc || form == Normalizer::Form::nfkc;
  const int options = UTF8PROC_STABLE | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                      (compatible ? UTF8PROC_COMPAT : 0);
  utf8proc_uint8_t* mapped = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                             static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owned(mapped, &std::free);
  if (size < 0) {
    throw Error(ErrorCode::out_of_memory,
                std::string("Normalising text failed: ") + utf8proc_errmsg(size) + ".");
  }
  return {reinterpret_cast<const char*>(mapped), static_cast<size_t>(size)};
}

std::string replaced(const Normalizer::Replace& replace, std::string text, Matcher& matcher) {
  std::string out;
  size_t done = 0;
  size_t from = 0;
  while (from <= text.size()) {
    const auto match = matcher.find(replace.pattern, text, from);
    if (!match) break;
    if (match->end == match->begin) {  // an empty match replaces nothing
      from = match->end + 1;
      while (from < text.size() && (static_cast<uint8_t>(text[from]) & 0xC0) == 0x80) ++from;
      continue;
    }
    out.append(text, done, match->begin - done);
    out += replace.text;
    done = from = match->end;
  }
  if (done == 0 && out.empty()) return text;
  return out.append(text, done);
}

std::string stripped(const Normalizer::Strip& strip, std::string_view text, PiecePlace& place) {
  const auto codes = code_points(text);
  size_t left = 0;
  size_t right = codes.size();
  const bool strips_left = strip.left && !place.continues;
  while (strips_left && left < right && is_white_space(codes[left])) ++left;
  while (strip.right && right > left && is_white_space(codes[right - 1])) --right;
  place.first = place.first && left == 0;
  std::string out;
  for (size_t i = left; i < right; ++i) append_code_point(codes[i], out);
  return out;
}

}  // namespace

std::string Normalizer::apply(std::string_view text, PiecePlace& place, Matcher& matcher) const {
  std::string out(text);
  for (const Step& step : steps_) {
    if (const auto* form = std::get_if<Form>(&step)) {
      out = to_form(*form, std::move(out));
    } else if (std::holds_alternative<Lowercase>(step)) {
      out = lower_case(out);
    } else if (const auto* prepend = std::get_if<Prepend>(&step)) {
      const bool wanted = (place.first || !prepend->first_only) &&
                          (!out.empty() || (prepend->before_nothing && !text.empty()));
      if (wanted && !place.continues) out.insert(0, prepend->text);
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      out = replaced(*replace, std::move(out), matcher);
    } else if (const auto* characters = std::get_if<Characters>(&step)) {
      out = characters->by_graphemes ? characters->map->apply_to_graphemes(out)
                                     : characters->map->apply(out, characters->kept.get());
    } else {
      out = stripped(std::get<Strip>(step), out, place);
    }
  }
  return out;
}

}  // namespace slim
