// The evaluator: a walk over the tree. Every expression and every byte it makes counts against the
// run's budget, and every level of recursion against kMaximumLevel.
#include "text/template_evaluator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "text/template_strings.h"

namespace slim {
namespace {

// Above what one template can nest (100 levels of each kind); macros that call themselves end here.
constexpr int kMaximumLevel = 400;

Value loop_value(const Value::List& items, size_t at) {
  const auto number = [](size_t value) { return Value::integer(static_cast<int64_t>(value)); };
  const size_t left = items.size() - at;
  return Value::dict({{"index", number(at + 1)},
                      {"index0", number(at)},
                      {"first", Value::boolean(at == 0)},
                      {"last", Value::boolean(left == 1)},
                      {"length", number(items.size())},
                      {"revindex", number(left)},
                      {"revindex0", number(left - 1)},
                      {"previtem", at > 0 ? items[at - 1] : Value::undefined("previtem")},
                      {"nextitem", left > 1 ? items[at + 1] : Value::undefined("nextitem")}});
}

}  // namespace

struct TemplateEvaluator::Level {
  Level(TemplateEvaluator& evaluator, int line) : evaluator_(evaluator) {
    evaluator_.run_.line = line;
    evaluator_.run_.spend(1);
    if (evaluator_.level_ == kMaximumLevel) evaluator_.run_.fail("calls itself too deep");
    ++evaluator_.level_;
  }
  ~Level() { --evaluator_.level_; }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  TemplateEvaluator& evaluator_;
};

TemplateEvaluator::TemplateEvaluator(Values globals, TemplateRun& run)
    : run_(run), top_{std::move(globals), nullptr} {}

std::string TemplateEvaluator::render(const std::vector<TemplateStatement>& body) {
  std::string out;
  execute(body, top_, out);
  return out;
}

TemplateEvaluator::Flow TemplateEvaluator::execute(const std::vector<TemplateStatement>& body,
                                                   Scope& scope, std::string& out) {
  for (const TemplateStatement& statement : body) {
    const Flow flow = execute(statement, scope, out);
    if (flow != Flow::onward) return flow;
  }
  return Flow::onward;
}

TemplateEvaluator::Flow TemplateEvaluator::execute(const TemplateStatement& statement, Scope& scope,
                                                   std::string& out) {
  const Level level(*this, statement.line);
  switch (statement.kind) {
    case StatementKind::text:
      run_.spend(statement.text.size());
      out += statement.text;
      break;
    case StatementKind::output:
      out += run_.print(evaluate(*statement.value, scope));
      break;
    case StatementKind::choice:
      return execute(
          evaluate(*statement.value, scope).truth() ? statement.body : statement.otherwise, scope,
          out);
    case StatementKind::loop:
      return loop(statement, scope, out);
    case StatementKind::set:
      set(statement, scope);
      break;
    case StatementKind::macro:
      scope.values[statement.text] = Value::function(statement.text, &statement);
      break;
    case StatementKind::body:
      return execute(statement.body, scope, out);
    case StatementKind::break_loop:
      return Flow::leave_loop;
    case StatementKind::next_round:
      return Flow::next_round;
  }
  return Flow::onward;
}

void TemplateEvaluator::bind(const TemplateStatement& statement, const Value& item, Scope& scope) {
  if (statement.targets.size() == 1) {
    scope.values[statement.targets[0]] = item;
    return;
  }
  const Value::List parts = template_items(item, run_);
  if (parts.size() != statement.targets.size()) {
    run_.fail("takes " + std::to_string(parts.size()) + " values apart into " +
              std::to_string(statement.targets.size()) + " names");
  }
  for (size_t i = 0; i < parts.size(); ++i) scope.values[statement.targets[i]] = parts[i];
}

Value::List TemplateEvaluator::loop_items(const TemplateStatement& statement, Scope& scope) {
  Value::List items = template_items(evaluate(*statement.value, scope), run_);
  if (statement.condition == nullptr) return items;
  Value::List kept;
  for (Value& item : items) {
    Scope inner{{}, &scope};
    bind(statement, item, inner);
    if (evaluate(*statement.condition, inner).truth()) kept.push_back(std::move(item));
  }
  return kept;
}

TemplateEvaluator::Flow TemplateEvaluator::loop(const TemplateStatement& statement, Scope& scope,
                                                std::string& out) {
  const Value::List items = loop_items(statement, scope);
  if (items.empty()) return execute(statement.otherwise, scope, out);
  for (size_t i = 0; i < items.size(); ++i) {
    Scope inner{{}, &scope};
    bind(statement, items[i], inner);
    inner.values["loop"] = loop_value(items, i);
    if (execute(statement.body, inner, out) == Flow::leave_loop) break;
  }
  return Flow::onward;
}

void TemplateEvaluator::set(const TemplateStatement& statement, Scope& scope) {
  Value value;
  if (statement.value != nullptr) {
    value = evaluate(*statement.value, scope);
  } else {
    Scope inner{{}, &scope};
    std::string text;
    execute(statement.body, inner, text);
    value = run_.text(std::move(text));
  }
  if (statement.attribute.empty()) return bind(statement, value, scope);
  const Value object = lookup(statement.targets[0], scope);
  if (object.name_space_values() == nullptr) {
    run_.fail("sets an attribute of " + std::string(object.kind()));
  }
  object.name_space_values()->values[statement.attribute] = storable(std::move(value));
}

Value TemplateEvaluator::storable(Value value) const {
  if (value.name_space_values() != nullptr) run_.fail("puts a namespace into another value");
  return value;
}

Value TemplateEvaluator::lookup(const std::string& name, const Scope& scope) const {
  for (const Scope* at = &scope; at != nullptr; at = at->outer) {
    const auto found = at->values.find(name);
    if (found != at->values.end()) return found->second;
  }
  return global_function(name, run_);
}

Value TemplateEvaluator::evaluate(const TemplateExpression& expression, Scope& scope) {
  const Level level(*this, expression.line);
  const auto part = [&](size_t i) { return evaluate(*expression.parts[i], scope); };
  switch (expression.kind) {
    case ExpressionKind::constant:
      return expression.value;
    case ExpressionKind::name:
      return lookup(expression.text, scope);
    case ExpressionKind::list: {
      Value::List values;
      for (size_t i = 0; i < expression.parts.size(); ++i) values.push_back(storable(part(i)));
      return run_.list(std::move(values));
    }
    case ExpressionKind::dict: {
      Value::Dict values;
      for (size_t i = 0; i < expression.parts.size(); i += 2) {
        const Value key = part(i);
        if (key.text() == nullptr) run_.fail("has a dict with a key that is no string");
        values.emplace_back(*key.text(), storable(part(i + 1)));
      }
      return run_.dict(std::move(values));
    }
    case ExpressionKind::attribute:
      return attribute(part(0), expression.text);
    case ExpressionKind::index:
      return index(part(0), part(1));
    case ExpressionKind::slice:
      return slice(expression, scope);
    case ExpressionKind::call:
      return call(expression, scope);
    case ExpressionKind::filter:
      return call_filter(expression.text, part(0), arguments(expression, scope), run_);
    case ExpressionKind::test:
      return Value::boolean(
          call_test(expression.text, part(0), arguments(expression, scope), run_));
    case ExpressionKind::negation:
      return Value::boolean(!part(0).truth());
    case ExpressionKind::minus:
      return arithmetic("-", Value::integer(0), part(0));
    case ExpressionKind::binary:
      return binary(expression.text, part(0), part(1));
    case ExpressionKind::both: {
      Value left = part(0);
      return left.truth() ? part(1) : left;
    }
    case ExpressionKind::either: {
      Value left = part(0);
      return left.truth() ? left : part(1);
    }
    case ExpressionKind::comparison: {
      Value left = part(0);
      for (size_t i = 0; i < expression.names.size(); ++i) {
        Value right = part(i + 1);
        if (!compare(expression.names[i], left, right)) return Value::boolean(false);
        left = std::move(right);
      }
      return Value::boolean(true);
    }
    case ExpressionKind::conditional:
      if (part(1).truth()) return part(0);
      return expression.parts[2] == nullptr ? Value() : part(2);
  }
  return Value();
}

Value TemplateEvaluator::attribute(const Value& object, const std::string& name) const {
  if (object.is_undefined()) {
    run_.fail("uses '" + object.undefined_name() + "', which is undefined");
  }
  return object.entry(name);
}

Value TemplateEvaluator::index(const Value& object, const Value& key) {
  if (key.text() != nullptr) return attribute(object, *key.text());
  if (object.is_undefined()) {
    run_.fail("uses '" + object.undefined_name() + "', which is undefined");
  }
  if (!key.is_integer() || (object.list() == nullptr && object.text() == nullptr)) return Value();
  const Value::List items = object.list() ? Value::List() : template_items(object, run_);
  const Value::List& all = object.list() ? *object.list() : items;
  const auto size = static_cast<int64_t>(all.size());
  const int64_t at = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
  return at < 0 || at >= size ? Value() : all[static_cast<size_t>(at)];
}

// Python's rule: bounds beyond the ends are the ends, negative ones count from the end.
Value TemplateEvaluator::slice(const TemplateExpression& expression, Scope& scope) {
  const Value object = evaluate(*expression.parts[0], scope);
  if (object.list() == nullptr && object.text() == nullptr) {
    run_.fail("takes a slice of " + std::string(object.kind()));
  }
  const Value::List all = template_items(object, run_);
  const auto size = static_cast<int64_t>(all.size());
  const auto bound = [&](size_t part, int64_t otherwise) {
    if (expression.parts[part] == nullptr) return otherwise;
    const Value value = evaluate(*expression.parts[part], scope);
    if (value.is_none()) return otherwise;
    if (!value.is_integer()) run_.fail("takes a slice at " + std::string(value.kind()));
    return value.as_integer();
  };
  const int64_t step = std::clamp<int64_t>(bound(3, 1), -size - 1, size + 1);
  if (step == 0) run_.fail("takes a slice with steps of 0");
  const int64_t low = step > 0 ? 0 : -1;
  const int64_t high = step > 0 ? size : size - 1;
  const auto placed = [&](int64_t at, bool given) {
    if (given && at < 0) at = at < -size ? -1 - size : at + size;
    return std::clamp(at, low, high);
  };
  int64_t at = placed(bound(1, step > 0 ? low : high), expression.parts[1] != nullptr);
  const int64_t end = expression.parts[2] == nullptr
                          ? (step > 0 ? high : low)
                          : placed(bound(2, step > 0 ? high : low), true);
  Value::List kept;
  for (; step > 0 ? at < end : at > end; at += step) kept.push_back(all[static_cast<size_t>(at)]);
  if (object.list() != nullptr) return run_.list(std::move(kept));
  std::string text;
  for (const Value& character : kept) text += *character.text();
  return run_.text(std::move(text));
}

bool TemplateEvaluator::compare(const std::string& sign, const Value& left, const Value& right) {
  if (sign == "==") return run_.equal(left, right);
  if (sign == "!=") return !run_.equal(left, right);
  if (sign == "in") return is_in(left, right, run_);
  if (sign == "not in") return !is_in(left, right, run_);
  if (sign == "<") return is_less(left, right, run_);
  if (sign == ">") return is_less(right, left, run_);
  if (sign == "<=") return !is_less(right, left, run_);
  return !is_less(left, right, run_);
}

Value TemplateEvaluator::binary(const std::string& sign, const Value& left, const Value& right) {
  if (sign == "~") return run_.text(run_.print(left) + run_.print(right));
  if (left.is_number() && right.is_number()) return arithmetic(sign, left, right);
  if (sign == "+" && left.text() && right.text()) return run_.text(*left.text() + *right.text());
  if (sign == "+" && left.list() && right.list()) {
    Value::List values = *left.list();
    values.insert(values.end(), right.list()->begin(), right.list()->end());
    return run_.list(std::move(values));
  }
  if (sign == "*" && left.text() && right.is_integer()) {
    const int64_t times = std::max<int64_t>(right.as_integer(), 0);
    std::string text;
    for (int64_t i = 0; i < times; ++i) {
      run_.spend(left.text()->size() + 1);
      text += *left.text();
    }
    return Value::text(std::move(text));
  }
  for (const Value* side : {&left, &right}) {
    if (side->is_undefined())
      run_.fail("uses '" + side->undefined_name() + "', which is undefined");
  }
  run_.fail("has " + std::string(left.kind()) + " " + sign + " " + std::string(right.kind()));
}

Value TemplateEvaluator::arithmetic(const std::string& sign, const Value& left,
                                    const Value& right) {
  if (!left.is_number() || !right.is_number()) run_.fail("counts with what is no number");
  const bool real = left.is_real() || right.is_real() || sign == "/";
  const bool divides = sign == "/" || sign == "//" || sign == "%";
  if (divides && right.as_real() == 0) run_.fail("divides by zero");
  if (real) {
    const double a = left.as_real();
    const double b = right.as_real();
    if (sign == "+") return Value::real(a + b);
    if (sign == "-") return Value::real(a - b);
    if (sign == "*") return Value::real(a * b);
    if (sign == "/") return Value::real(a / b);
    return Value::real(sign == "//" ? std::floor(a / b) : a - b * std::floor(a / b));
  }
  const int64_t a = left.as_integer();
  const int64_t b = right.as_integer();
  int64_t result = 0;
  bool overflow = false;
  if (sign == "+") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (sign == "-") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (sign == "*") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (b == -1) {  // the one quotient that may overflow
    overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
    if (sign == "%") result = 0;
  } else {
    // Rounded down, and a remainder of the divisor's sign.
    const bool adjust = a % b != 0 && (a % b < 0) != (b < 0);
    result = sign == "//" ? a / b - (adjust ? 1 : 0) : a % b + (adjust ? b : 0);
  }
  if (overflow) run_.fail("has a number beyond 64 bits");
  return Value::integer(result);
}

TemplateArguments TemplateEvaluator::arguments(const TemplateExpression& expression, Scope& scope) {
  TemplateArguments arguments;
  arguments.names = expression.names;
  for (size_t i = 1; i < expression.parts.size(); ++i) {
    arguments.values.push_back(storable(evaluate(*expression.parts[i], scope)));
  }
  return arguments;
}

Value TemplateEvaluator::call(const TemplateExpression& expression, Scope& scope) {
  const TemplateExpression& callee = *expression.parts[0];
  if (callee.kind == ExpressionKind::attribute) {
    const Value object = evaluate(*callee.parts[0], scope);
    const TemplateArguments with = arguments(expression, scope);
    run_.line = expression.line;
    return call_method(object, callee.text, with, run_);
  }
  const Value value = evaluate(callee, scope);
  const TemplateArguments with = arguments(expression, scope);
  run_.line = expression.line;
  if (value.is_undefined()) run_.fail("calls '" + value.undefined_name() + "', which is undefined");
  if (value.function() == nullptr) run_.fail("calls " + std::string(value.kind()));
  if (value.function()->macro != nullptr) return call_macro(*value.function()->macro, with);
  return call_function(value.function()->name, with, run_);
}

Value TemplateEvaluator::call_macro(const TemplateStatement& macro,
                                    const TemplateArguments& arguments) {
  Scope inner{{}, &top_};
  const auto& names = macro.targets;
  for (size_t i = 0; i < arguments.values.size(); ++i) {
    const auto found = arguments.names[i].empty()
                           ? names.begin() + static_cast<ptrdiff_t>(std::min(i, names.size()))
                           : std::find(names.begin(), names.end(), arguments.names[i]);
    if (found == names.end()) {
      run_.fail("calls '" + macro.text + "' with an argument that it has not");
    }
    inner.values[*found] = arguments.values[i];
  }
  const size_t without = names.size() - macro.defaults.size();
  for (size_t i = 0; i < names.size(); ++i) {
    if (inner.values.contains(names[i])) continue;
    inner.values[names[i]] =
        i < without ? Value::undefined(names[i]) : evaluate(*macro.defaults[i - without], inner);
  }
  std::string text;
  execute(macro.body, inner, text);
  return run_.text(std::move(text));
}

}  // namespace slim
