// Pattern: a compiled regular expression (PCRE2 in UTF mode, with its JIT where the system allows
// that). Matcher: the working space for matching it in one thread. Character classes follow the
// Unicode version of the PCRE2 in use.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace slim {

class Pattern {
 public:
  // Throws Error{internal} if the expression is malformed, Error{out_of_memory}.
  explicit Pattern(const std::string& expression);

 private:
  friend class Matcher;
  std::shared_ptr<const void> code_;
};

class Matcher {
 public:
  explicit Matcher(const Pattern& pattern);

  // The length of the match at the very start of `text`; 0 if there is none. `text` must be UTF-8:
  // it is not checked. Throws Error{out_of_memory} or Error{internal} if PCRE2 gives up.
  size_t match(std::string_view text);

 private:
  std::shared_ptr<const void> code_;
  std::shared_ptr<void> data_;
};

// Unicode's White_Space, to be put inside [ ]. PCRE2's own \s also counts U+180E, which has not
// been white space since Unicode 6.3.
const std::string& white_space();

}  // namespace slim
