// The lexer of chat templates: text and tags, and the words within tags. Takes care of white space:
//   -%} {%-  strips all of it on that side      +%} {%+  leaves it
//   %}       takes a line end after it away      {%       the spaces before it, if the line has no
//   more
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace slim {

enum class TemplateTokenKind {
  text,
  output_begin,  // {{
  output_end,
  statement_begin,  // {%
  statement_end,
  name,
  integer,
  real,
  string,  // without quotes, escapes resolved
  sign,    // an operator or a bracket
  end,
};

struct TemplateToken {
  TemplateTokenKind kind;
  std::string text;
  int line;
};

// Ends with a token of kind `end`. Throws Error{unsupported_model} naming the line.
std::vector<TemplateToken> template_tokens(std::string_view source);

}  // namespace slim
