// The part of the chat templates' parser that reads expressions; the statements' part builds on it.
// Recursive descent by Jinja's precedence, from weakest to strongest:
//   a if b else c | or | and | not | comparisons, in | + - | ~ | * / // % | - | . [] () | filters,
//   is
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/template_lexer.h"
#include "text/template_syntax.h"

namespace slim {

class TemplateExpressionParser {
 protected:
  using Kind = TemplateTokenKind;
  // Of expressions and of statements; real templates have 10.
  static constexpr int kMaximumNesting = 100;

  explicit TemplateExpressionParser(std::string_view source) : tokens_(template_tokens(source)) {}

  const TemplateToken& token() const { return tokens_[at_]; }
  bool is(Kind kind, std::string_view text) const {
    return token().kind == kind && token().text == text;
  }
  bool sign(std::string_view text) const { return is(Kind::sign, text); }
  bool word(std::string_view text) const { return is(Kind::name, text); }
  bool take_sign(std::string_view text) { return take(Kind::sign, text); }
  bool take_word(std::string_view text) { return take(Kind::name, text); }
  void expect_sign(std::string_view text);
  std::string name();
  std::string shown() const;  // the token, for messages
  [[noreturn]] void fail(const std::string& what) const;

  // One level of nesting, for as long as one of these lives.
  struct Level {
    explicit Level(TemplateExpressionParser& parser);
    ~Level() { --parser_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    TemplateExpressionParser& parser_;
  };

  ExpressionPointer expression();
  // An expression without a condition of its own.
  ExpressionPointer either();
  // Commas without brackets make a list, as in {% set a, b = 1, 2 %}.
  ExpressionPointer list_or_expression();

  std::vector<TemplateToken> tokens_;
  size_t at_ = 0;

 private:
  bool take(Kind kind, std::string_view text);
  template <typename... Parts>
  ExpressionPointer node(ExpressionKind kind, std::string text, Parts... parts);
  void add_part(TemplateExpression& whole, ExpressionPointer part);
  ExpressionPointer constant(Value value);
  ExpressionPointer both();
  ExpressionPointer negation();
  std::string comparison_sign();
  ExpressionPointer comparison();
  ExpressionPointer binary(std::initializer_list<std::string_view> signs,
                           ExpressionPointer (TemplateExpressionParser::*operand)());
  ExpressionPointer sum();
  ExpressionPointer joined();
  ExpressionPointer product();
  ExpressionPointer with_filters();
  ExpressionPointer unary();
  ExpressionPointer filters(ExpressionPointer value);
  ExpressionPointer test(ExpressionPointer value);
  bool starts_argument() const;
  void arguments(TemplateExpression& call);
  ExpressionPointer postfix(ExpressionPointer value);
  ExpressionPointer subscript(ExpressionPointer value);
  ExpressionPointer primary();
  ExpressionPointer named(const std::string& name);
  ExpressionPointer number();
  ExpressionPointer bracketed();
  ExpressionPointer list();
  ExpressionPointer dict();

  int level_ = 0;
};

}  // namespace slim
