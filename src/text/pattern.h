// Pattern: a compiled regular expression (PCRE2 in UTF mode, with its JIT where the system allows
// that; ^ and $ are those of lines). Matcher: the working space for searching in one thread.
// Character classes follow the Unicode version of the PCRE2 in use.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace slim {

class Pattern {
 public:
  // An expression of Slim's own, in PCRE2's syntax. Throws Error{internal} if it is malformed.
  explicit Pattern(const std::string& expression);
  // An expression from a tokenizer file, in the syntax of Oniguruma, which the `tokenizers` library
  // uses. Throws Error{unsupported_model} quoting the expression if it is malformed or has a
  // construct that means something else here; `place` names file and field.
  static Pattern from_file(std::string_view expression, const std::string& place);
  // This text itself.
  static Pattern literal(std::string_view text);

 private:
  friend class Matcher;
  Pattern() = default;
  // What was wrong; "" if nothing.
  std::string compile(const std::string& expression);

  std::shared_ptr<const void> code_;
};

class Matcher {
 public:
  struct Match {
    size_t begin, end;
  };
  Matcher();

  // The first match at or after `from`. `text` must be UTF-8: it is not checked; `from` is at a
  // character. Throws Error{out_of_memory}, or Error{bad_request} if the expression takes more than
  // PCRE2's ten million steps.
  std::optional<Match> find(const Pattern& pattern, std::string_view text, size_t from = 0);

 private:
  std::shared_ptr<void> data_;
};

}  // namespace slim
