// Value and its printed forms.
#include "text/template_value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/utf8.h"

namespace slim {
namespace {

// What a list or dict of these values has for depth and weight.
template <typename Shared, typename Values, typename Get>
std::shared_ptr<const Shared> shared(Values values, size_t weight, Get&& get) {
  int depth = 0;
  for (const auto& value : values) {
    depth = std::max(depth, get(value).depth());
    if (__builtin_add_overflow(weight, get(value).weight(), &weight)) weight = SIZE_MAX;
  }
  return std::make_shared<const Shared>(Shared{std::move(values), depth + 1, weight});
}

// Python's repr of a float: the shortest digits that give it back, with a point or an exponent.
std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer{};
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format).ptr;
  std::string text(buffer.data(), end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string quoted(const std::string& text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const bool single = text.find('\'') == std::string::npos || text.find('"') != std::string::npos;
  const char quote = single ? '\'' : '"';
  std::string out(1, quote);
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += std::string("\\x") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      out += c;
    }
  }
  return out + quote;
}

void json_string(const std::string& text, std::string& out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::string_view kEscaped = "\"\\\n\r\t\b\f";
  constexpr std::string_view kLetters = "\"\\nrtbf";
  out += '"';
  for (const char c : text) {
    const size_t at = kEscaped.find(c);
    const auto byte = static_cast<uint8_t>(c);
    if (at != std::string_view::npos) {
      out += '\\';
      out += kLetters[at];
    } else if (byte < 0x20) {
      out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(int indent, std::string& out) : indent_(indent), out_(out) {}

  bool write(const Value& value, int level = 0) {
    if (value.is_undefined() || value.function() || value.name_space_values()) return false;
    if (const std::string* text = value.text()) {
      json_string(*text, out_);
      return true;
    }
    if (const Value::List* list = value.list()) {
      return many(list->size(), "[]", level,
                  [&](size_t i) { return write((*list)[i], level + 1); });
    }
    if (const Value::Dict* dict = value.dict()) {
      return many(dict->size(), "{}", level, [&](size_t i) {
        json_string((*dict)[i].first, out_);
        out_ += ": ";
        return write((*dict)[i].second, level + 1);
      });
    }
    if (value.is_none()) {
      out_ += "null";
    } else if (value.is_boolean()) {
      out_ += value.truth() ? "true" : "false";
    } else {
      out_ += value.print();
    }
    return true;
  }

 private:
  template <typename Write>
  bool many(size_t count, std::string_view brackets, int level, Write&& write_one) {
    out_ += brackets[0];
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out_ += indent_ < 0 ? ", " : ",";
      line(level + 1);
      if (!write_one(i)) return false;
    }
    if (count > 0) line(level);
    out_ += brackets[1];
    return true;
  }
  void line(int level) {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(indent_) * static_cast<size_t>(level), ' ');
  }

  int indent_;
  std::string& out_;
};

}  // namespace

Value Value::text(std::string value) {
  return Value(Data(std::make_shared<const std::string>(std::move(value))));
}

Value Value::list(List values) {
  return Value(Data(
      shared<SharedList>(std::move(values), 1, [](const Value& v) -> const Value& { return v; })));
}

Value Value::dict(Dict values) {
  size_t keys = 1;
  for (const auto& item : values) keys += item.first.size() + 1;
  return Value(Data(shared<SharedDict>(
      std::move(values), keys, [](const auto& item) -> const Value& { return item.second; })));
}

Value Value::name_space() { return Value(Data(std::make_shared<Namespace>())); }

Value Value::function(std::string name, const TemplateStatement* macro) {
  return Value(Data(Function{std::move(name), macro}));
}

const std::string* Value::text() const {
  const auto* text = std::get_if<std::shared_ptr<const std::string>>(&data_);
  return text ? text->get() : nullptr;
}

const Value::List* Value::list() const {
  const auto* list = std::get_if<std::shared_ptr<const SharedList>>(&data_);
  return list ? &(*list)->values : nullptr;
}

const Value::Dict* Value::dict() const {
  const auto* dict = std::get_if<std::shared_ptr<const SharedDict>>(&data_);
  return dict ? &(*dict)->values : nullptr;
}

Value::Namespace* Value::name_space_values() const {
  const auto* values = std::get_if<std::shared_ptr<Namespace>>(&data_);
  return values ? values->get() : nullptr;
}

int Value::depth() const {
  if (const auto* list = std::get_if<std::shared_ptr<const SharedList>>(&data_)) {
    return (*list)->depth;
  }
  const auto* dict = std::get_if<std::shared_ptr<const SharedDict>>(&data_);
  return dict ? (*dict)->depth : 0;
}

size_t Value::weight() const {
  if (const std::string* text = this->text()) return text->size() + 1;
  if (const auto* list = std::get_if<std::shared_ptr<const SharedList>>(&data_)) {
    return (*list)->weight;
  }
  const auto* dict = std::get_if<std::shared_ptr<const SharedDict>>(&data_);
  return dict ? (*dict)->weight : 1;
}

int64_t Value::as_integer() const {
  if (is_boolean()) return std::get<bool>(data_) ? 1 : 0;
  return std::get<int64_t>(data_);
}

double Value::as_real() const {
  return is_real() ? std::get<double>(data_) : static_cast<double>(as_integer());
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_real()) return as_real() != 0;
  if (is_number()) return as_integer() != 0;
  if (const std::string* text = this->text()) return !text->empty();
  if (const List* list = this->list()) return !list->empty();
  if (const Dict* dict = this->dict()) return !dict->empty();
  return true;
}

bool Value::equals(const Value& other) const {
  if (is_number() && other.is_number()) {
    return is_real() || other.is_real() ? as_real() == other.as_real()
                                        : as_integer() == other.as_integer();
  }
  if (data_.index() != other.data_.index()) return false;
  if (is_undefined() || is_none()) return true;
  if (const std::string* text = this->text()) return *text == *other.text();
  if (const List* list = this->list()) {
    return std::equal(list->begin(), list->end(), other.list()->begin(), other.list()->end(),
                      [](const Value& a, const Value& b) { return a.equals(b); });
  }
  if (const Dict* dict = this->dict()) {
    return dict->size() == other.dict()->size() &&
           std::all_of(dict->begin(), dict->end(), [&](const auto& item) {
             const Value found = other.entry(item.first);
             return !found.is_undefined() && found.equals(item.second);
           });
  }
  if (const Namespace* values = name_space_values()) return values == other.name_space_values();
  return function()->name == other.function()->name && function()->macro == other.function()->macro;
}

Value Value::entry(std::string_view key) const {
  if (const Namespace* space = name_space_values()) {
    const auto found = space->values.find(key);
    if (found != space->values.end()) return found->second;
  } else if (const Dict* dict = this->dict()) {
    // The last of equal keys, as Python's literals have it.
    const auto found = std::find_if(dict->rbegin(), dict->rend(),
                                    [&](const auto& item) { return item.first == key; });
    if (found != dict->rend()) return found->second;
  }
  return undefined(std::string(key));
}

std::string_view Value::kind() const {
  constexpr std::array<std::string_view, std::variant_size_v<Data>> kKinds{
      "undefined", "none",   "a boolean", "an integer",  "a number",
      "a string",  "a list", "a dict",    "a namespace", "a function"};
  return kKinds[data_.index()];
}

std::string Value::print() const {
  if (is_undefined()) return {};
  const std::string* text = this->text();
  return text ? *text : repr();
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_boolean()) return truth() ? "True" : "False";
  if (is_integer()) return std::to_string(as_integer());
  if (is_real()) return real_text(as_real());
  if (const std::string* text = this->text()) return quoted(*text);
  std::string out;
  if (const List* list = this->list()) {
    for (const Value& value : *list) out += (out.empty() ? "" : ", ") + value.repr();
    return "[" + out + "]";
  }
  if (const Dict* dict = this->dict()) {
    for (const auto& [key, value] : *dict) {
      out += (out.empty() ? "" : ", ") + quoted(key) + ": " + value.repr();
    }
    return "{" + out + "}";
  }
  return "<" + std::string(kind()) + ">";
}

bool to_json(const Value& value, int indent, std::string& out) {
  return JsonWriter(indent, out).write(value);
}

}  // namespace slim
