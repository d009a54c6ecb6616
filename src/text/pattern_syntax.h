// The translation of regular expressions from Oniguruma's syntax, in which tokenizer.json has them,
// to PCRE2's. Most of the two is the same; what differs:
//   \s \d \w (and \S \D \W)   Unicode's classes there; here spelled out, since \s differs
//   \h \v                     a hexadecimal digit and U+000B there; other sets here
//   [a[bc]d]                  a union there; here the inner brackets are taken away
#pragma once

#include <string>
#include <string_view>

namespace slim {

// The expression for PCRE2. Sets `wrong` to a phrase if something in it has no equal.
std::string pcre_expression(std::string_view oniguruma, std::string& wrong);

}  // namespace slim
