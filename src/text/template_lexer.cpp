// The lexer of chat templates.
#include "text/template_lexer.h"

#include <algorithm>
#include <cstdint>

#include "slim/error.h"
#include "text/characters.h"
#include "text/template_syntax.h"
#include "text/utf8.h"

namespace slim {
namespace {

using Kind = TemplateTokenKind;

bool is_space(char c) { return is_python_space(static_cast<uint8_t>(c)) && (c & 0x80) == 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Line ends as \n, and the last one taken away.
std::string with_line_ends(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      out += '\n';
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(with_line_ends(source)) {}

  std::vector<TemplateToken> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      text_before(tag);
      if (tag == std::string::npos) break;
      const char kind = source_[tag + 1];
      advance(tag + 2);
      if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) advance(at_ + 1);
      kind == '#' ? comment() : words(kind);
    }
    add(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::unsupported_model, "The chat template has " + what + ".",
                template_place(line_));
  }
  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  bool next_is(std::string_view text) const {
    return std::string_view(source_).substr(at_).starts_with(text);
  }

  size_t next_tag() const {
    for (size_t at = source_.find('{', at_); at != std::string::npos;
         at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() &&
          std::string_view("{%#").find(source_[at + 1]) != std::string::npos) {
        return at;
      }
    }
    return std::string::npos;
  }

  // The text up to a tag, less what the tag strips.
  void text_before(size_t tag) {
    const size_t end = std::min(tag, source_.size());
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (tag != std::string::npos) {
      const char mark = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      if (mark == '-') {
        while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
      } else if (mark != '+' && source_[tag + 1] != '{') {
        const size_t line = text.rfind('\n') + 1;
        const bool blank =
            std::all_of(text.begin() + static_cast<ptrdiff_t>(line), text.end(), is_space);
        if ((line > 0 || at_line_start_) && blank) text = text.substr(0, line);
      }
    }
    if (!text.empty()) add(Kind::text, std::string(text));
    advance(end);
  }

  // What stands after a tag: "-" before its end strips white space, none a line end.
  void strip_after(char mark, bool strips_line_end) {
    const size_t begin = at_;
    size_t to = at_;
    if (mark == '-') {
      while (to < source_.size() && is_space(source_[to])) ++to;
    } else if (mark != '+' && strips_line_end && next_is("\n")) {
      ++to;
    }
    at_line_start_ = to > begin && source_[to - 1] == '\n';
    advance(to);
  }

  void comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos) fail("a comment without an end");
    const char mark = end > at_ ? source_[end - 1] : ' ';
    advance(end + 2);
    strip_after(mark, true);
  }

  // The words of a tag up to its end; an end within brackets is none.
  void words(char kind) {
    const bool output = kind == '{';
    const std::string_view close = output ? "}}" : "%}";
    add(output ? Kind::output_begin : Kind::statement_begin, "");
    int depth = 0;
    while (true) {
      while (at_ < source_.size() && is_space(source_[at_])) advance(at_ + 1);
      if (at_ >= source_.size()) fail("a tag without an end");
      const char mark = source_[at_];
      const bool marked = mark == '-' || (mark == '+' && !output);
      const size_t skip = marked ? 1 : 0;
      if (depth == 0 && std::string_view(source_).substr(at_ + skip).starts_with(close)) {
        add(output ? Kind::output_end : Kind::statement_end, "");
        advance(at_ + skip + 2);
        return strip_after(marked ? mark : ' ', !output);
      }
      word(depth);
    }
  }

  void word(int& depth) {
    const char c = source_[at_];
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < source_.size() && (is_name_start(source_[end]) || is_digit(source_[end]))) ++end;
      add(Kind::name, source_.substr(at_, end - at_));
      return advance(end);
    }
    if (is_digit(c)) return number();
    if (c == '\'' || c == '"') return string(c);
    for (const std::string_view sign : {"**", "//", "==", "!=", "<=", ">="}) {
      if (!next_is(sign)) continue;
      add(Kind::sign, std::string(sign));
      return advance(at_ + 2);
    }
    if (std::string_view("+-*/%~<>=.,:|()[]{}").find(c) == std::string::npos) {
      fail("the character '" +
           source_.substr(at_, utf8_part(std::string_view(source_).substr(at_)).size) +
           "' in a tag");
    }
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') depth = std::max(depth - 1, 0);
    add(Kind::sign, std::string(1, c));
    advance(at_ + 1);
  }

  void number() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && is_digit(source_[end])) ++end;
    };
    digits();
    const size_t whole = end;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] | 0x20) == 'e') {
      const size_t sign = end + 1;
      const bool has_sign = sign < source_.size() && (source_[sign] == '-' || source_[sign] == '+');
      const size_t digit = sign + (has_sign ? 1 : 0);
      if (digit < source_.size() && is_digit(source_[digit])) {
        end = digit;
        digits();
      }
    }
    const bool real = end > whole;
    if (end < source_.size() && is_name_start(source_[end])) fail("a number of an unknown form");
    add(real ? Kind::real : Kind::integer, source_.substr(at_, end - at_));
    advance(end);
  }

  void string(char quote) {
    std::string text;
    size_t at = at_ + 1;
    while (true) {
      if (at >= source_.size()) fail("a string without an end");
      if (source_[at] == quote) break;
      if (source_[at] == '\\' && at + 1 < source_.size()) {
        escape(at, text);
      } else {
        text += source_[at++];
      }
    }
    add(Kind::string, std::move(text));
    advance(at + 1);
  }

  // Python's escapes; a backslash before another character stands for itself.
  void escape(size_t& at, std::string& text) {
    constexpr std::string_view kLetters = "ntr\\'\"abfv\n";
    constexpr std::string_view kMeanings = "\n\t\r\\'\"\a\b\f\v";
    const char letter = source_[at + 1];
    const size_t found = kLetters.find(letter);
    at += 2;
    if (found < kMeanings.size()) {
      text += kMeanings[found];
    } else if (letter == 'x' || letter == 'u') {
      hexadecimal(at, letter == 'x' ? 2 : 4, text);
    } else if (is_digit(letter) || letter == 'U' || letter == 'N' || letter == '\n') {
      fail("an escape of an unknown form in a string");
    } else {
      text += '\\';
      text += letter;
    }
  }

  void hexadecimal(size_t& at, size_t digits, std::string& text) {
    char32_t code = 0;
    for (size_t i = 0; i < digits; ++i, ++at) {
      const size_t found =
          std::string_view("0123456789abcdefABCDEF").find(at < source_.size() ? source_[at] : ' ');
      if (found == std::string_view::npos) fail("an escape of an unknown form in a string");
      const size_t digit = found < 16 ? found : found - 6;
      code = code << 4 | static_cast<char32_t>(digit);
    }
    if (code >= 0xD800 && code < 0xE000) fail("half of a surrogate pair in a string");
    append_code_point(code, text);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool at_line_start_ = true;
  std::vector<TemplateToken> tokens_;
};

}  // namespace

std::vector<TemplateToken> template_tokens(std::string_view source) { return Lexer(source).run(); }

}  // namespace slim
