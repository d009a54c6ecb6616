// The filters of chat templates, in a table by name.
#include <algorithm>
#include <charconv>
#include <utility>

#include "text/characters.h"
#include "text/template_functions.h"
#include "text/template_strings.h"

namespace slim {
namespace {

using Arguments = const TemplateArguments&;
using Filter = Value (*)(const Value&, Arguments, TemplateRun&);

int64_t integer_argument(const Value& value, int64_t otherwise, const TemplateRun& run) {
  if (value.is_undefined() || value.is_none()) return otherwise;
  if (!value.is_integer()) run.fail("uses " + std::string(value.kind()) + " as a number");
  return value.as_integer();
}

// The input as text, as the filters of strings take it.
std::string soft_text(const Value& input, TemplateRun& run) { return run.print(input); }

Value trim(const Value& input, Arguments arguments, TemplateRun& run) {
  const Value set = arguments.bound({"chars"}, 0, run)[0];
  const auto chars = set.text() ? std::optional(*set.text()) : std::nullopt;
  return run.text(strip_text(soft_text(input, run), chars, true, true));
}

template <std::string (*change)(std::string_view)>
Value changed(const Value& input, Arguments arguments, TemplateRun& run) {
  arguments.bound({}, 0, run);
  return run.text(change(soft_text(input, run)));
}

std::string same(std::string_view text) { return std::string(text); }
std::string title(std::string_view text) { return title_case(text, true); }

Value length(const Value& input, Arguments arguments, TemplateRun& run) {
  arguments.bound({}, 0, run);
  if (const std::string* text = input.text()) {
    run.spend(text->size());
    return Value::integer(static_cast<int64_t>(character_count(*text)));
  }
  if (input.list()) return Value::integer(static_cast<int64_t>(input.list()->size()));
  return Value::integer(static_cast<int64_t>(template_items(input, run).size()));
}

Value tojson(const Value& input, Arguments arguments, TemplateRun& run) {
  const auto bound = arguments.bound({"ensure_ascii", "indent"}, 0, run);
  const int64_t indent = integer_argument(bound[1], -1, run);
  if (indent > 64) run.fail("indents JSON by more than 64 spaces");
  if (bound[0].truth()) run.fail("asks for JSON in ASCII, which is not supported");
  run.spend(input.weight());
  // Each entry may stand on a line of its own.
  const auto margin = static_cast<size_t>(std::max<int64_t>(indent, 0));
  run.spend(input.weight() * margin * static_cast<size_t>(input.depth() + 1));
  std::string out;
  if (!to_json(input, static_cast<int>(std::max<int64_t>(indent, -1)), out)) {
    run.fail("writes as JSON what has none: " + std::string(input.kind()));
  }
  return run.text(std::move(out));
}

// The value of an attribute, which map and others name.
Value attribute_of(const Value& value, const Value& name, const TemplateRun& run) {
  if (name.is_integer() && value.list()) {
    const auto at = static_cast<size_t>(name.as_integer());
    return at < value.list()->size() ? (*value.list())[at] : Value();
  }
  if (name.text() == nullptr || name.text()->find('.') != std::string::npos) {
    run.fail("names an attribute in a form that is not supported");
  }
  return value.entry(*name.text());
}

Value join(const Value& input, Arguments arguments, TemplateRun& run) {
  const auto bound = arguments.bound({"d", "attribute"}, 0, run);
  const std::string separator = run.print(bound[0]);
  std::string out;
  bool first = true;
  for (const Value& item : template_items(input, run)) {
    run.spend(separator.size());
    if (!first) out += separator;
    first = false;
    out += run.print(bound[1].is_undefined() ? item : attribute_of(item, bound[1], run));
  }
  return run.text(std::move(out));
}

Value replace(const Value& input, Arguments arguments, TemplateRun& run) {
  const auto bound = arguments.bound({"old", "new", "count"}, 2, run);
  const std::string from = run.print(bound[0]);
  if (from.empty()) run.fail("replaces an empty string");
  const std::string to = run.print(bound[1]);
  const std::string text = soft_text(input, run);
  const int64_t limit = integer_argument(bound[2], -1, run);
  run.spend(text.size() / from.size() * to.size());  // before the memory is taken
  return run.text(replace_text(text, from, to, limit));
}

Value otherwise(const Value& input, Arguments arguments, TemplateRun& run) {
  const auto bound = arguments.bound({"default_value", "boolean"}, 0, run);
  const bool missing = input.is_undefined() || (bound[1].truth() && !input.truth());
  if (!missing) return input;
  return bound[0].is_undefined() ? Value::text("") : bound[0];
}

Value to_list(const Value& input, Arguments arguments, TemplateRun& run) {
  arguments.bound({}, 0, run);
  return run.list(template_items(input, run));
}

Value first(const Value& input, Arguments arguments, TemplateRun& run) {
  arguments.bound({}, 0, run);
  const Value::List items = template_items(input, run);
  return items.empty() ? Value::undefined("first") : items.front();
}

Value last(const Value& input, Arguments arguments, TemplateRun& run) {
  arguments.bound({}, 0, run);
  const Value::List items = template_items(input, run);
  return items.empty() ? Value::undefined("last") : items.back();
}

Value reverse(const Value& input, Arguments arguments, TemplateRun& run) {
  arguments.bound({}, 0, run);
  Value::List items = template_items(input, run);
  std::reverse(items.begin(), items.end());
  if (input.text() == nullptr) return run.list(std::move(items));
  std::string text;
  for (const Value& item : items) text += *item.text();
  return run.text(std::move(text));
}

Value items(const Value& input, Arguments arguments, TemplateRun& run) {
  if (input.is_undefined()) return run.list({});
  if (input.dict() == nullptr) run.fail("takes the items of " + std::string(input.kind()));
  return call_method(input, "items", arguments, run);
}

Value to_integer(const Value& input, Arguments arguments, TemplateRun& run) {
  const int64_t fallback = integer_argument(arguments.bound({"default"}, 0, run)[0], 0, run);
  if (input.is_integer() || input.is_boolean()) return Value::integer(input.as_integer());
  if (input.is_real() && std::abs(input.as_real()) < 9e18) {
    return Value::integer(static_cast<int64_t>(input.as_real()));
  }
  const std::string text = strip_text(run.print(input), std::nullopt, true, true);
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, value);
  return Value::integer(read.ec == std::errc() && read.ptr == end ? value : fallback);
}

Value map(const Value& input, Arguments arguments, TemplateRun& run) {
  Value::List out;
  const bool by_attribute = arguments.names.size() == 1 && arguments.names[0] == "attribute";
  if (arguments.values.empty()) run.fail("calls 'map' with too few arguments");
  const Value& what = arguments.values[0];
  if (!by_attribute && (what.text() == nullptr || !is_template_filter(*what.text()))) {
    run.fail("maps by a filter that is not supported");
  }
  TemplateArguments rest = arguments;
  rest.values.erase(rest.values.begin());
  rest.names.erase(rest.names.begin());
  for (const Value& item : template_items(input, run)) {
    run.spend(1);
    out.push_back(by_attribute ? attribute_of(item, what, run)
                               : call_filter(*what.text(), item, rest, run));
  }
  return run.list(std::move(out));
}

// select, reject, selectattr and rejectattr: the items for which a test holds, or does not.
template <bool by_attribute, bool wanted>
Value chosen(const Value& input, Arguments arguments, TemplateRun& run) {
  TemplateArguments rest = arguments;
  const auto take = [&] {
    const Value value = rest.values.front();
    rest.values.erase(rest.values.begin());
    rest.names.erase(rest.names.begin());
    return value;
  };
  if (by_attribute && rest.values.empty()) run.fail("calls a filter with too few arguments");
  const Value attribute = by_attribute ? take() : Value();
  const std::string test = rest.values.empty() ? "" : run.print(take());
  if (!test.empty() && !is_template_test(test))
    run.fail("has the test '" + test + "', which is not supported");
  Value::List out;
  for (const Value& item : template_items(input, run)) {
    run.spend(1);
    const Value value = by_attribute ? attribute_of(item, attribute, run) : item;
    const bool holds = test.empty() ? value.truth() : call_test(test, value, rest, run);
    if (holds == wanted) out.push_back(item);
  }
  return run.list(std::move(out));
}

Value indent(const Value& input, Arguments arguments, TemplateRun& run) {
  const auto bound = arguments.bound({"width", "first", "blank"}, 0, run);
  std::string margin;
  if (bound[0].text() != nullptr) {
    margin = *bound[0].text();
  } else {
    const int64_t width = integer_argument(bound[0], 4, run);
    if (width < 0 || width > 64) run.fail("indents by more than 64 spaces");
    margin.assign(static_cast<size_t>(width), ' ');
  }
  const auto lines = split_text(soft_text(input, run), "\n", -1);
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool wanted = i == 0 ? bound[1].truth() : bound[2].truth() || !lines[i].empty();
    if (i > 0) out += '\n';
    if (wanted) out += margin;
    out += lines[i];
    run.spend(margin.size());
  }
  return run.text(std::move(out));
}

struct Entry {
  std::string_view name;
  Filter filter;
};

constexpr Entry kFilters[] = {{"trim", trim},
                              {"upper", changed<upper_case>},
                              {"lower", changed<lower_case>},
                              {"title", changed<title>},
                              {"capitalize", changed<capitalized>},
                              {"string", changed<same>},
                              {"safe", changed<same>},
                              {"length", length},
                              {"count", length},
                              {"tojson", tojson},
                              {"join", join},
                              {"replace", replace},
                              {"default", otherwise},
                              {"d", otherwise},
                              {"list", to_list},
                              {"first", first},
                              {"last", last},
                              {"reverse", reverse},
                              {"items", items},
                              {"int", to_integer},
                              {"map", map},
                              {"select", chosen<false, true>},
                              {"reject", chosen<false, false>},
                              {"selectattr", chosen<true, true>},
                              {"rejectattr", chosen<true, false>},
                              {"indent", indent}};

const Entry* find(std::string_view name) {
  const auto* found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                   [&](const Entry& entry) { return entry.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace

bool is_template_filter(std::string_view name) { return find(name) != nullptr; }

Value call_filter(const std::string& name, const Value& input, const TemplateArguments& arguments,
                  TemplateRun& run) {
  const Entry* entry = find(name);
  if (entry == nullptr) run.fail("has the filter '" + name + "', which is not supported");
  return entry->filter(input, arguments, run);
}

}  // namespace slim
