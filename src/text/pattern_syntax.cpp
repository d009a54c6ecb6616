// The translator: one pass, with a bit of state for character classes. What it does not know is
// left for PCRE2, which refuses malformed expressions; what PCRE2 would take with another meaning
// is refused here.
#include "text/pattern_syntax.h"

#include <utility>

namespace slim {
namespace {

// White_Space as ranges, which match faster than the property does. PCRE2's own \s also has U+180E,
// which has not been white space since Unicode 6.3.
constexpr std::string_view kSpaces =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
// \w of UTS 18, annex C.
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control})";

class Translator {
 public:
  Translator(std::string_view source, std::string& wrong) : source_(source), wrong_(wrong) {}

  std::string run() {
    while (at_ < source_.size() && wrong_.empty()) {
      depth_ > 0 ? in_class() : outside();
    }
    return std::move(out_);
  }

 private:
  bool next_is(std::string_view text) const { return source_.substr(at_).starts_with(text); }
  void copy(size_t size) {
    out_ += source_.substr(at_, size);
    at_ += size;
  }

  void outside() {
    const char c = source_[at_];
    if (c == '\\') return escape();
    if (c == '[') return open_class();
    if (next_is("(?")) return group();
    if (next_is("}+")) {
      wrong_ = "'}+' repeats there and is possessive here";
    } else if (next_is("(*")) {
      wrong_ = "'(*'";
    }
    copy(1);
  }

  void group() {
    // Options: m means "dot matches newline" there; only i and its absence are the same.
    size_t end = at_ + 2;
    while (end < source_.size() && (source_[end] == '-' || (source_[end] | 0x20) >= 'a') &&
           (source_[end] | 0x20) <= 'z') {
      if (source_[end] != 'i' && source_[end] != '-') {
        wrong_ = std::string("the option '") + source_[end] + "'";
        return;
      }
      ++end;
    }
    if (end == source_.size() ||
        std::string_view("):=!<>").find(source_[end]) == std::string::npos) {
      wrong_ = "a group of an unknown kind";
      return;
    }
    copy(end - at_);
  }

  void open_class() {
    depth_ = 1;
    const bool negated = next_is("[^");
    copy(negated ? 2 : 1);
  }

  void in_class() {
    const char c = source_[at_];
    if (c == '\\') return escape();
    if (c == ']') {
      if (--depth_ == 0) out_ += c;
      ++at_;
    } else if (c == '[') {
      if (next_is("[^") || next_is("[:")) wrong_ = "a negated or named class inside a class";
      ++depth_;
      ++at_;
    } else if (next_is("&&")) {
      wrong_ = "an intersection of classes";
    } else {
      copy(1);
    }
  }

  void escape() {
    if (at_ + 1 == source_.size()) return copy(1);
    const char c = source_[at_ + 1];
    const bool set = depth_ > 0;
    switch (c) {
      case 's':
        return replace(std::string(kSpaces), !set);
      case 'S':
        return set ? replace(R"(\P{White_Space})", false)
                   : replace("^" + std::string(kSpaces), true);
      case 'd':
        return replace(R"(\p{Nd})", false);
      case 'D':
        return replace(R"(\P{Nd})", false);
      case 'w':
        return replace(std::string(kWord), !set);
      case 'W':
        if (set) break;
        return replace("^" + std::string(kWord), true);
      case 'h':
        return replace("0-9A-Fa-f", !set);
      case 'v':
        return replace(R"(\x{0B})", false);
      case 'u':
        return four_digits();
      default:
        // The same in both: properties, control characters, boundaries and escaped punctuation.
        if (std::string_view("pPrntfaexbBAzZ").find(c) != std::string::npos || is_punctuation(c)) {
          return copy_escape();
        }
    }
    wrong_ = std::string("the escape '\\") + c + "'" + (set ? " inside a class" : "");
  }

  // With the braces that belong to it, so that they are not taken for a repetition's.
  void copy_escape() {
    const bool braced = std::string_view("pPx").find(source_[at_ + 1]) != std::string::npos &&
                        source_.substr(at_ + 2).starts_with('{');
    const size_t end = braced ? source_.find('}', at_) : std::string_view::npos;
    copy(end == std::string_view::npos ? 2 : end + 1 - at_);
  }

  static bool is_punctuation(char c) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~') || c == ' ';
  }

  void replace(const std::string& text, bool bracketed) {
    at_ += 2;
    out_ += bracketed ? "[" + text + "]" : text;
  }

  void four_digits() {
    const std::string_view digits = source_.substr(at_ + 2, 4);
    if (digits.size() < 4) {
      wrong_ = "an incomplete \\u";
      return;
    }
    out_ += "\\x{" + std::string(digits) + "}";
    at_ += 6;
  }

  std::string_view source_;
  std::string& wrong_;
  std::string out_;
  size_t at_ = 0;
  int depth_ = 0;  // of brackets that are open
};

}  // namespace

std::string pcre_expression(std::string_view oniguruma, std::string& wrong) {
  return Translator(oniguruma, wrong).run();
}

}  // namespace slim
