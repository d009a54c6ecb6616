// The parser of expressions in chat templates.
#include "text/template_expression_parser.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "slim/error.h"
#include "text/template_functions.h"

namespace slim {

bool TemplateExpressionParser::take(Kind kind, std::string_view text) {
  if (!is(kind, text)) return false;
  ++at_;
  return true;
}

void TemplateExpressionParser::expect_sign(std::string_view text) {
  if (!take_sign(text)) fail(shown() + " where '" + std::string(text) + "' must stand");
}

std::string TemplateExpressionParser::name() {
  if (token().kind != Kind::name) fail(shown() + " where a name must stand");
  return tokens_[at_++].text;
}

std::string TemplateExpressionParser::shown() const {
  switch (token().kind) {
    case Kind::output_end:
    case Kind::statement_end:
    case Kind::end:
      return "an end";
    default:
      return "'" + token().text + "'";
  }
}

void TemplateExpressionParser::fail(const std::string& what) const {
  throw Error(ErrorCode::unsupported_model, "The chat template has " + what + ".",
              template_place(token().line));
}

TemplateExpressionParser::Level::Level(TemplateExpressionParser& parser) : parser_(parser) {
  if (parser_.level_ == kMaximumNesting) parser_.fail("parts that are nested too deep");
  ++parser_.level_;
}

template <typename... Parts>
ExpressionPointer TemplateExpressionParser::node(ExpressionKind kind, std::string text,
                                                 Parts... parts) {
  auto made = std::make_unique<TemplateExpression>();
  made->kind = kind;
  made->line = token().line;
  made->text = std::move(text);
  (add_part(*made, std::move(parts)), ...);
  return made;
}
void TemplateExpressionParser::add_part(TemplateExpression& whole, ExpressionPointer part) {
  if (part != nullptr) whole.depth = std::max(whole.depth, part->depth + 1);
  // Chains of operators nest without the parser's recursion.
  if (whole.depth > kMaximumNesting) fail("an expression that is nested too deep");
  whole.parts.push_back(std::move(part));
}
ExpressionPointer TemplateExpressionParser::constant(Value value) {
  ExpressionPointer made = node(ExpressionKind::constant, "");
  made->value = std::move(value);
  return made;
}

// Commas without brackets make a list, as in {% set a, b = 1, 2 %}.
ExpressionPointer TemplateExpressionParser::list_or_expression() {
  ExpressionPointer first = expression();
  if (!sign(",")) return first;
  ExpressionPointer list = node(ExpressionKind::list, "", std::move(first));
  while (take_sign(",")) add_part(*list, expression());
  return list;
}

ExpressionPointer TemplateExpressionParser::expression() {
  const Level level(*this);
  ExpressionPointer value = either();
  while (take_word("if")) {
    ExpressionPointer condition = either();
    ExpressionPointer otherwise = take_word("else") ? expression() : nullptr;
    value = node(ExpressionKind::conditional, "", std::move(value), std::move(condition),
                 std::move(otherwise));
  }
  return value;
}

ExpressionPointer TemplateExpressionParser::either() {
  ExpressionPointer left = both();
  while (take_word("or")) left = node(ExpressionKind::either, "", std::move(left), both());
  return left;
}

ExpressionPointer TemplateExpressionParser::both() {
  ExpressionPointer left = negation();
  while (take_word("and")) left = node(ExpressionKind::both, "", std::move(left), negation());
  return left;
}

ExpressionPointer TemplateExpressionParser::negation() {
  const Level level(*this);
  if (take_word("not")) return node(ExpressionKind::negation, "", negation());
  return comparison();
}

std::string TemplateExpressionParser::comparison_sign() {
  for (const std::string_view text : {"==", "!=", "<=", ">=", "<", ">"}) {
    if (take_sign(text)) return std::string(text);
  }
  if (take_word("in")) return "in";
  const TemplateToken& next = tokens_[std::min(at_ + 1, tokens_.size() - 1)];
  if (word("not") && next.kind == Kind::name && next.text == "in") {
    at_ += 2;
    return "not in";
  }
  return {};
}
ExpressionPointer TemplateExpressionParser::comparison() {
  ExpressionPointer left = sum();
  std::string sign = comparison_sign();
  if (sign.empty()) return left;
  ExpressionPointer chain = node(ExpressionKind::comparison, "", std::move(left));
  for (; !sign.empty(); sign = comparison_sign()) {
    chain->names.push_back(sign);
    add_part(*chain, sum());
  }
  return chain;
}

ExpressionPointer TemplateExpressionParser::binary(
    std::initializer_list<std::string_view> signs,
    ExpressionPointer (TemplateExpressionParser::*operand)()) {
  ExpressionPointer left = (this->*operand)();
  while (token().kind == Kind::sign &&
         std::find(signs.begin(), signs.end(), token().text) != signs.end()) {
    std::string text = tokens_[at_++].text;
    ExpressionPointer right = (this->*operand)();
    left = node(ExpressionKind::binary, std::move(text), std::move(left), std::move(right));
  }
  return left;
}
ExpressionPointer TemplateExpressionParser::sum() {
  return binary({"+", "-"}, &TemplateExpressionParser::joined);
}
ExpressionPointer TemplateExpressionParser::joined() {
  return binary({"~"}, &TemplateExpressionParser::product);
}
ExpressionPointer TemplateExpressionParser::product() {
  return binary({"*", "/", "//", "%"}, &TemplateExpressionParser::with_filters);
}

ExpressionPointer TemplateExpressionParser::with_filters() { return filters(unary()); }

// The sign binds weaker than what stands behind a value, but stronger than a filter.
ExpressionPointer TemplateExpressionParser::unary() {
  const Level level(*this);
  if (take_sign("-")) return node(ExpressionKind::minus, "", unary());
  if (take_sign("+")) return unary();
  ExpressionPointer value = postfix(primary());
  if (sign("**")) fail("the operator '**', which is not supported");
  return value;
}

ExpressionPointer TemplateExpressionParser::filters(ExpressionPointer value) {
  while (true) {
    if (take_sign("|")) {
      std::string text = name();
      if (!is_template_filter(text)) fail("the filter '" + text + "', which is not supported");
      value = node(ExpressionKind::filter, std::move(text), std::move(value));
      if (take_sign("(")) arguments(*value);
    } else if (take_word("is")) {
      value = test(std::move(value));
    } else if (sign("(")) {
      value = postfix(std::move(value));
    } else {
      return value;
    }
  }
}

ExpressionPointer TemplateExpressionParser::test(ExpressionPointer value) {
  const bool negated = take_word("not");
  std::string text = name();
  if (!is_template_test(text)) fail("the test '" + text + "', which is not supported");
  ExpressionPointer test = node(ExpressionKind::test, std::move(text), std::move(value));
  if (take_sign("(")) {
    arguments(*test);
  } else if (starts_argument()) {
    test->names.emplace_back();
    add_part(*test, postfix(primary()));
  }
  return negated ? node(ExpressionKind::negation, "", std::move(test)) : std::move(test);
}
// A test may have one argument without brackets: x is divisibleby 3.
bool TemplateExpressionParser::starts_argument() const {
  switch (token().kind) {
    case Kind::name:
      return !word("else") && !word("or") && !word("and") && !word("is") && !word("if") &&
             !word("in") && !word("not");
    case Kind::integer:
    case Kind::real:
    case Kind::string:
      return true;
    default:
      return sign("[") || sign("{");
  }
}

// After the opening bracket.
void TemplateExpressionParser::arguments(TemplateExpression& call) {
  while (!sign(")")) {
    std::string keyword;
    const bool named = token().kind == Kind::name && tokens_[at_ + 1].kind == Kind::sign &&
                       tokens_[at_ + 1].text == "=";
    if (named) {
      keyword = name();
      ++at_;
    }
    if (sign("*") || sign("**")) fail("arguments from a list, which are not supported");
    call.names.push_back(std::move(keyword));
    add_part(call, expression());
    if (!take_sign(",")) break;
  }
  expect_sign(")");
}

ExpressionPointer TemplateExpressionParser::postfix(ExpressionPointer value) {
  while (true) {
    if (take_sign(".")) {
      if (token().kind == Kind::integer) fail("an index after a point");
      std::string text = name();
      value = node(ExpressionKind::attribute, std::move(text), std::move(value));
    } else if (take_sign("[")) {
      value = subscript(std::move(value));
    } else if (take_sign("(")) {
      value = node(ExpressionKind::call, "", std::move(value));
      arguments(*value);
    } else {
      return value;
    }
  }
}

// After the opening bracket.
ExpressionPointer TemplateExpressionParser::subscript(ExpressionPointer value) {
  const auto bound = [&]() -> ExpressionPointer {
    return sign(":") || sign("]") ? nullptr : expression();
  };
  ExpressionPointer first = bound();
  if (first != nullptr && take_sign("]")) {
    return node(ExpressionKind::index, "", std::move(value), std::move(first));
  }
  expect_sign(":");
  ExpressionPointer end = bound();
  ExpressionPointer step = take_sign(":") ? bound() : nullptr;
  expect_sign("]");
  return node(ExpressionKind::slice, "", std::move(value), std::move(first), std::move(end),
              std::move(step));
}

ExpressionPointer TemplateExpressionParser::primary() {
  const TemplateToken& token = tokens_[at_];
  switch (token.kind) {
    case Kind::name:
      return named(name());
    case Kind::string: {
      std::string text;
      while (this->token().kind == Kind::string) text += tokens_[at_++].text;
      return constant(Value::text(std::move(text)));
    }
    case Kind::integer:
    case Kind::real:
      return number();
    default:
      break;
  }
  if (take_sign("(")) return bracketed();
  if (take_sign("[")) return list();
  if (take_sign("{")) return dict();
  fail(shown() + " where a value must stand");
}

ExpressionPointer TemplateExpressionParser::named(const std::string& name) {
  if (name == "true" || name == "True") return constant(Value::boolean(true));
  if (name == "false" || name == "False") return constant(Value::boolean(false));
  if (name == "none" || name == "None") return constant(Value::none());
  return node(ExpressionKind::name, name);
}

ExpressionPointer TemplateExpressionParser::number() {
  const std::string& text = token().text;
  const char* end = text.data() + text.size();
  Value value;
  if (token().kind == Kind::integer) {
    int64_t integer = 0;
    if (std::from_chars(text.data(), end, integer).ec != std::errc()) fail("a number too large");
    value = Value::integer(integer);
  } else {
    double real = 0;
    if (std::from_chars(text.data(), end, real).ec != std::errc()) fail("a number too large");
    value = Value::real(real);
  }
  ++at_;
  return constant(std::move(value));
}

// After the opening bracket: an expression, or a tuple, which is treated as a list.
ExpressionPointer TemplateExpressionParser::bracketed() {
  if (take_sign(")")) return node(ExpressionKind::list, "");
  ExpressionPointer first = expression();
  if (take_sign(")")) return first;
  ExpressionPointer list = node(ExpressionKind::list, "", std::move(first));
  while (take_sign(",")) {
    if (sign(")")) break;
    add_part(*list, expression());
  }
  expect_sign(")");
  return list;
}

ExpressionPointer TemplateExpressionParser::list() {
  ExpressionPointer list = node(ExpressionKind::list, "");
  while (!sign("]")) {
    add_part(*list, expression());
    if (!take_sign(",")) break;
  }
  expect_sign("]");
  return list;
}

ExpressionPointer TemplateExpressionParser::dict() {
  ExpressionPointer dict = node(ExpressionKind::dict, "");
  while (!sign("}")) {
    add_part(*dict, expression());
    expect_sign(":");
    add_part(*dict, expression());
    if (!take_sign(",")) break;
  }
  expect_sign("}");
  return dict;
}

}  // namespace slim
