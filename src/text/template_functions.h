// What chat templates call by name: filters, tests, methods of strings and dicts, functions. Their
// results are Jinja's and Python's.
#pragma once

#include <cstdint>
#include <ctime>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/template_value.h"

namespace slim {

// One rendering: how much it may still do, and where it is for messages.
class TemplateRun {
 public:
  TemplateRun(size_t budget, std::optional<std::time_t> now) : left_(budget), now_(now) {}

  // Counts `amount` of work: an expression or a byte of text. Throws Error{unsupported_model} once
  // the budget is spent.
  void spend(size_t amount);
  void spend_entries(size_t count);  // of a list or dict
  // A text or list counts what it has.
  Value text(std::string value);
  Value list(Value::List values);
  Value dict(Value::Dict values);
  // What these look at counts, before they do.
  std::string print(const Value& value);
  bool equal(const Value& left, const Value& right);

  // Error{unsupported_model}: the template does what has no meaning or is not supported.
  [[noreturn]] void fail(const std::string& what) const;
  const std::optional<std::time_t>& now() const { return now_; }

  int line = 0;

 private:
  void check_depth(const Value& value) const;

  size_t left_;
  std::optional<std::time_t> now_;
};

// The arguments of one call: by position, then by name.
struct TemplateArguments {
  std::vector<Value> values;
  std::vector<std::string> names;  // "" by position

  // One value for each parameter, undefined where there is none. Fails for others, and for less
  // than `required`.
  std::vector<Value> bound(std::initializer_list<std::string_view> parameters, size_t required,
                           const TemplateRun& run) const;
};

bool is_template_filter(std::string_view name);
bool is_template_test(std::string_view name);

Value call_filter(const std::string& name, const Value& input, const TemplateArguments& arguments,
                  TemplateRun& run);
bool call_test(const std::string& name, const Value& input, const TemplateArguments& arguments,
               TemplateRun& run);
Value call_method(const Value& object, const std::string& name, const TemplateArguments& arguments,
                  TemplateRun& run);
// range, namespace, dict, raise_exception and strftime_now. raise_exception throws
// Error{bad_request} with the template's own words.
Value call_function(const std::string& name, const TemplateArguments& arguments, TemplateRun& run);
// A global function as a value; undefined if there is none of that name.
Value global_function(const std::string& name, const TemplateRun& run);

// The values that a loop over `value` visits; fails if it has none.
Value::List template_items(const Value& value, TemplateRun& run);
// a in b.
bool is_in(const Value& item, const Value& container, TemplateRun& run);
// a < b, for numbers and for texts.
bool is_less(const Value& left, const Value& right, const TemplateRun& run);

}  // namespace slim
