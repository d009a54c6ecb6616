// The syntax tree of a chat template, and the parser that makes it: the part of Jinja that chat
// templates use. What is left out is refused by name, not passed over:
//   statements   if/elif/else, for (with if, else, break, continue), set (also as a block), macro,
//                generation
//   expressions  all but ** and tuples' printed form; filters and tests by name
// White space is handled as Transformers sets Jinja up: trim_blocks and lstrip_blocks are on.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template_value.h"

namespace slim {

struct TemplateExpression;
using ExpressionPointer = std::unique_ptr<TemplateExpression>;

enum class ExpressionKind {
  constant,     // value
  name,         // text
  list,         // parts
  dict,         // parts: key, value, key, value, ...
  attribute,    // parts[0].text
  index,        // parts[0][parts[1]]
  slice,        // parts[0][parts[1]:parts[2]:parts[3]]; those left out are null
  call,         // parts[0](arguments)
  filter,       // parts[0] | text(arguments)
  test,         // parts[0] is text(arguments)
  negation,     // not parts[0]
  minus,        // -parts[0]
  binary,       // parts[0] text parts[1], with text one of + - * / // % ~
  both,         // parts[0] and parts[1]
  either,       // parts[0] or parts[1]
  comparison,   // parts[0] names[0] parts[1] names[1] parts[2] ...: a < b < c
  conditional,  // parts[0] if parts[1] else parts[2]; without else it is null
};

struct TemplateExpression {
  ExpressionKind kind;
  int line;
  std::string text;
  Value value;
  std::vector<ExpressionPointer> parts;
  std::vector<std::string> names;  // of comparison; of arguments (parts from 1 on), "" by position
  int depth = 0;                   // of the tree below
};

enum class StatementKind {
  text,    // text
  output,  // value
  choice,  // if value: body, else: otherwise
  loop,    // for targets in value if condition: body, else: otherwise
  set,     // targets = value, or the text of body; with attribute: targets[0].attribute
  macro,   // text(targets) with defaults
  body,    // body
  break_loop,
  next_round,
};

struct TemplateStatement {
  StatementKind kind;
  int line;
  std::string text;
  std::string attribute;
  std::vector<std::string> targets;
  std::vector<ExpressionPointer> defaults;  // of the last targets
  ExpressionPointer value;
  ExpressionPointer condition;
  std::vector<TemplateStatement> body;
  std::vector<TemplateStatement> otherwise;
};

// Throws Error{unsupported_model} naming line and construct, also for a source above 1 MiB or one
// that is nested too deep.
std::vector<TemplateStatement> parse_template(std::string_view source);

// The place of an Error about a template.
std::string template_place(int line);

}  // namespace slim
