// Tests, methods, functions and what operators need; filters are in template_filters.cpp.
#include "text/template_functions.h"

#include <algorithm>
#include <array>
#include <utility>

#include "slim/error.h"
#include "text/characters.h"
#include "text/template_strings.h"
#include "text/template_syntax.h"

namespace slim {
namespace {

const std::string& text_of(const Value& value, const TemplateRun& run) {
  if (value.text() == nullptr) {
    run.fail("uses " + std::string(value.kind()) + " where a string must stand");
  }
  return *value.text();
}

std::optional<std::string> optional_text(const Value& value, const TemplateRun& run) {
  if (value.is_undefined() || value.is_none()) return std::nullopt;
  return text_of(value, run);
}

int64_t integer_or(const Value& value, int64_t otherwise, const TemplateRun& run) {
  if (value.is_undefined()) return otherwise;
  if (!value.is_integer()) run.fail("uses " + std::string(value.kind()) + " as a number");
  return value.as_integer();
}

// str.startswith and str.endswith, which also take a list of texts.
template <typename Holds>
bool any_affix(const Value& affixes, const TemplateRun& run, Holds&& holds) {
  if (affixes.list() == nullptr) return holds(text_of(affixes, run));
  return std::any_of(affixes.list()->begin(), affixes.list()->end(),
                     [&](const Value& affix) { return holds(text_of(affix, run)); });
}

Value text_list(std::vector<std::string> texts, TemplateRun& run) {
  Value::List values;
  for (std::string& text : texts) values.push_back(run.text(std::move(text)));
  return run.list(std::move(values));
}

Value text_method(const std::string& text, const std::string& name,
                  const TemplateArguments& arguments, TemplateRun& run) {
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const auto set = optional_text(arguments.bound({"chars"}, 0, run)[0], run);
    return run.text(strip_text(text, set, name != "rstrip", name != "lstrip"));
  }
  if (name == "split") {
    const auto bound = arguments.bound({"sep", "maxsplit"}, 0, run);
    const auto separator = optional_text(bound[0], run);
    if (separator && separator->empty()) run.fail("splits a string at an empty one");
    return text_list(split_text(text, separator, integer_or(bound[1], -1, run)), run);
  }
  if (name == "startswith") {
    return Value::boolean(any_affix(arguments.bound({"prefix"}, 1, run)[0], run,
                                    [&](const std::string& p) { return text.starts_with(p); }));
  }
  if (name == "endswith") {
    return Value::boolean(any_affix(arguments.bound({"suffix"}, 1, run)[0], run,
                                    [&](const std::string& s) { return text.ends_with(s); }));
  }
  if (name == "replace") {
    const auto bound = arguments.bound({"old", "new", "count"}, 2, run);
    if (text_of(bound[0], run).empty()) run.fail("replaces an empty string");
    run.spend(text.size() / bound[0].text()->size() * text_of(bound[1], run).size());
    return run.text(
        replace_text(text, *bound[0].text(), *bound[1].text(), integer_or(bound[2], -1, run)));
  }
  if (name == "join") {
    std::string out;
    const Value::List items = template_items(arguments.bound({"items"}, 1, run)[0], run);
    for (size_t i = 0; i < items.size(); ++i) {
      run.spend(text.size() + items[i].weight());
      out += (i > 0 ? text : "") + text_of(items[i], run);
    }
    return run.text(std::move(out));
  }
  if (name == "find" || name == "count") {
    const std::string part = text_of(arguments.bound({"part"}, 1, run)[0], run);
    if (part.empty()) run.fail("looks for an empty string");
    if (name == "count") {
      return Value::integer(static_cast<int64_t>(split_text(text, part, -1).size()) - 1);
    }
    const size_t at = text.find(part);
    return Value::integer(
        at == std::string::npos ? -1 : static_cast<int64_t>(character_count(text.substr(0, at))));
  }
  arguments.bound({}, 0, run);
  if (name == "upper") return run.text(upper_case(text));
  if (name == "lower") return run.text(lower_case(text));
  if (name == "title") return run.text(title_case(text, false));
  if (name == "capitalize") return run.text(capitalized(text));
  run.fail("calls the method '" + name + "' of a string, which is not supported");
}

Value dict_method(const Value& dict, const std::string& name, const TemplateArguments& arguments,
                  TemplateRun& run) {
  if (name == "get") {
    const auto bound = arguments.bound({"key", "default"}, 1, run);
    Value found = dict.entry(text_of(bound[0], run));
    if (!found.is_undefined()) return found;
    return bound[1].is_undefined() ? Value::none() : bound[1];
  }
  if (name != "keys" && name != "values" && name != "items") {
    run.fail("calls the method '" + name + "' of a dict, which is not supported");
  }
  arguments.bound({}, 0, run);
  Value::List values;
  for (const auto& [key, value] : *dict.dict()) {
    if (name == "keys") values.push_back(run.text(key));
    if (name == "values") values.push_back(value);
    if (name == "items") values.push_back(run.list({run.text(key), value}));
  }
  return run.list(std::move(values));
}

Value range(const TemplateArguments& arguments, TemplateRun& run) {
  const auto bound = arguments.bound({"start", "stop", "step"}, 1, run);
  const bool one = bound[1].is_undefined();
  const int64_t first = one ? 0 : integer_or(bound[0], 0, run);
  const int64_t last = integer_or(one ? bound[0] : bound[1], 0, run);
  const int64_t step = integer_or(bound[2], 1, run);
  if (step == 0) run.fail("makes a range with steps of 0");
  Value::List values;
  for (int64_t i = first; step > 0 ? i < last : i > last;) {
    run.spend_entries(1);
    values.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return Value::list(std::move(values));
}

Value time_text(const std::string& format, const TemplateRun& run) {
  std::tm fields{};
  gmtime_r(&*run.now(), &fields);
  std::array<char, 256> buffer{};
  const size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &fields);
  if (size == 0 && !format.empty()) run.fail("writes the time in a form of more than 255 bytes");
  return Value::text(std::string(buffer.data(), size));
}

constexpr std::string_view kTests[] = {
    "defined", "undefined",   "none",     "string", "number", "integer", "float", "boolean",
    "mapping", "sequence",    "iterable", "true",   "false",  "even",    "odd",   "in",
    "eq",      "equalto",     "==",       "ne",     "!=",     "gt",      "lt",    "ge",
    "le",      "divisibleby", "callable", "lower",  "upper"};

// Tests that compare with an argument.
bool compared(const std::string& name, const Value& input, const Value& other, TemplateRun& run) {
  if (name == "in") return is_in(input, other, run);
  if (name == "eq" || name == "equalto" || name == "==") return run.equal(input, other);
  if (name == "ne" || name == "!=") return !run.equal(input, other);
  if (name == "gt") return is_less(other, input, run);
  if (name == "lt") return is_less(input, other, run);
  if (name == "ge") return !is_less(input, other, run);
  if (name == "le") return !is_less(other, input, run);
  const int64_t divisor = integer_or(other, 0, run);
  if (divisor == 0) run.fail("divides by zero");
  return divisor == -1 || integer_or(input, 0, run) % divisor == 0;
}

}  // namespace

void TemplateRun::spend(size_t amount) {
  if (amount > left_) fail("takes more steps or memory than a chat may");
  left_ -= amount;
}

void TemplateRun::spend_entries(size_t count) {
  // A Value has 48 bytes, and comes with a string or an expression that counts too.
  spend(16 * count);
}

Value TemplateRun::text(std::string value) {
  spend(value.size());
  return Value::text(std::move(value));
}

void TemplateRun::check_depth(const Value& value) const {
  if (value.depth() > Value::kMaximumDepth) fail("nests lists or dicts too deep");
}

Value TemplateRun::list(Value::List values) {
  spend_entries(values.size());
  Value list = Value::list(std::move(values));
  check_depth(list);
  return list;
}

Value TemplateRun::dict(Value::Dict values) {
  spend_entries(values.size());
  Value dict = Value::dict(std::move(values));
  check_depth(dict);
  return dict;
}

std::string TemplateRun::print(const Value& value) {
  spend(value.weight());
  return value.print();
}

bool TemplateRun::equal(const Value& left, const Value& right) {
  spend(std::min(left.weight(), right.weight()));
  return left.equals(right);
}

void TemplateRun::fail(const std::string& what) const {
  throw Error(ErrorCode::unsupported_model, "The chat template " + what + ".",
              template_place(line));
}

std::vector<Value> TemplateArguments::bound(std::initializer_list<std::string_view> parameters,
                                            size_t required, const TemplateRun& run) const {
  std::vector<Value> out(parameters.size());
  for (size_t i = 0; i < values.size(); ++i) {
    size_t at = i;
    if (!names[i].empty()) {
      const auto* found = std::find(parameters.begin(), parameters.end(), names[i]);
      at = static_cast<size_t>(found - parameters.begin());
    }
    if (at >= out.size()) run.fail("calls something with an argument that is not supported");
    out[at] = values[i];
  }
  if (values.size() < required) run.fail("calls something with too few arguments");
  return out;
}

bool is_template_test(std::string_view name) {
  return std::find(std::begin(kTests), std::end(kTests), name) != std::end(kTests);
}

bool call_test(const std::string& name, const Value& input, const TemplateArguments& arguments,
               TemplateRun& run) {
  for (const std::string_view comparing :
       {"in", "eq", "equalto", "==", "ne", "!=", "gt", "lt", "ge", "le", "divisibleby"}) {
    if (name == comparing) return compared(name, input, arguments.bound({"other"}, 1, run)[0], run);
  }
  arguments.bound({}, 0, run);
  if (name == "defined") return !input.is_undefined();
  if (name == "undefined") return input.is_undefined();
  if (name == "none") return input.is_none();
  if (name == "string") return input.text() != nullptr;
  if (name == "number") return input.is_number();
  if (name == "integer") return input.is_integer();
  if (name == "float") return input.is_real();
  if (name == "boolean") return input.is_boolean();
  if (name == "mapping") return input.dict() != nullptr;
  if (name == "sequence" || name == "iterable") {
    return input.text() || input.list() || input.dict() || input.is_undefined();
  }
  if (name == "true") return input.is_boolean() && input.truth();
  if (name == "false") return input.is_boolean() && !input.truth();
  if (name == "callable") return input.function() != nullptr;
  if (name == "lower") return run.print(input) == lower_case(run.print(input));
  if (name == "upper") return run.print(input) == upper_case(run.print(input));
  const bool odd = integer_or(input, 0, run) % 2 != 0;
  return name == "odd" ? odd : !odd;
}

Value call_method(const Value& object, const std::string& name, const TemplateArguments& arguments,
                  TemplateRun& run) {
  if (object.text() != nullptr) {
    run.spend(object.text()->size());
    return text_method(*object.text(), name, arguments, run);
  }
  if (object.dict() != nullptr) {
    run.spend(object.dict()->size());
    return dict_method(object, name, arguments, run);
  }
  if (object.is_undefined()) run.fail("uses '" + object.undefined_name() + "', which is undefined");
  run.fail("calls the method '" + name + "' of " + std::string(object.kind()) +
           ", which is not supported");
}

Value global_function(const std::string& name, const TemplateRun& run) {
  const bool known = name == "range" || name == "namespace" || name == "dict" ||
                     name == "raise_exception" || (name == "strftime_now" && run.now());
  return known ? Value::function(name, nullptr) : Value::undefined(name);
}

Value call_function(const std::string& name, const TemplateArguments& arguments, TemplateRun& run) {
  if (name == "range") return range(arguments, run);
  if (name == "raise_exception") {
    const Value message = arguments.bound({"message"}, 1, run)[0];
    throw Error(ErrorCode::bad_request, run.print(message), template_place(run.line));
  }
  if (name == "strftime_now") {
    return time_text(text_of(arguments.bound({"format"}, 1, run)[0], run), run);
  }
  Value space = Value::name_space();
  Value::Dict dict;
  for (size_t i = 0; i < arguments.values.size(); ++i) {
    if (arguments.names[i].empty())
      run.fail("calls '" + name + "' with an argument without a name");
    dict.emplace_back(arguments.names[i], arguments.values[i]);
    space.name_space_values()->values[arguments.names[i]] = arguments.values[i];
  }
  return name == "dict" ? run.dict(std::move(dict)) : space;
}

Value::List template_items(const Value& value, TemplateRun& run) {
  Value::List items;
  if (const std::string* text = value.text()) {
    for (std::string& character : characters_of(*text)) {
      items.push_back(run.text(std::move(character)));
    }
  } else if (const Value::List* list = value.list()) {
    items = *list;
  } else if (const Value::Dict* dict = value.dict()) {
    for (const auto& [key, entry] : *dict) items.push_back(run.text(key));
  } else if (!value.is_undefined()) {
    run.fail("goes through " + std::string(value.kind()));
  }
  run.spend_entries(items.size());
  return items;
}

bool is_in(const Value& item, const Value& container, TemplateRun& run) {
  if (const std::string* text = container.text()) {
    run.spend(text->size());
    return text->find(text_of(item, run)) != std::string::npos;
  }
  if (container.dict() != nullptr) {
    run.spend(container.dict()->size());
    return item.text() != nullptr && !container.entry(*item.text()).is_undefined();
  }
  const Value::List items = template_items(container, run);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& v) { return run.equal(v, item); });
}

bool is_less(const Value& left, const Value& right, const TemplateRun& run) {
  if (left.is_number() && right.is_number()) {
    return left.is_real() || right.is_real() ? left.as_real() < right.as_real()
                                             : left.as_integer() < right.as_integer();
  }
  if (left.text() == nullptr || right.text() == nullptr) {
    run.fail("compares " + std::string(left.kind()) + " with " + std::string(right.kind()));
  }
  return *left.text() < *right.text();
}

}  // namespace slim
