// The tree is built from the parser's events, not taken from the JSON library: its objects keep
// either the file's order (with lookups in linear time, hopeless for a vocabulary of 100,000
// entries) or none, and drop all but one of a repeated field.
#include "base/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>
#include <variant>

#include "base/mapped_file.h"
#include "slim/error.h"

namespace slim {

struct JsonValue {
  using List = std::vector<JsonValue>;
  struct Object {
    std::vector<std::string> names;  // in file order
    std::vector<JsonValue> values;
    std::vector<uint32_t> sorted;  // indices by name
  };
  std::variant<std::monostate, bool, int64_t, uint64_t, double, std::string, List, Object> data;
};

namespace {

constexpr size_t kMaxFile = size_t{512} << 20;
constexpr size_t kMaxDepth = 64;

[[noreturn]] void refuse(const std::string& place, const std::string& text) {
  throw Error(ErrorCode::bad_file, text, place);
}

std::string_view kind_of(const JsonValue& value) {
  constexpr std::string_view kKinds[] = {"null",     "a boolean", "an integer", "an integer",
                                         "a number", "a string",  "a list",     "an object"};
  return kKinds[value.data.index()];
}

// Receives the parser's events. The names are the JSON library's.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(const std::string& place) : place_(place) {}
  JsonValue take() { return std::move(root_); }

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add({value}); }
  bool number_integer(number_integer_t value) override { return add({int64_t{value}}); }
  bool number_unsigned(number_unsigned_t value) override { return add({uint64_t{value}}); }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return add({double{value}});
  }
  bool string(string_t& value) override { return add({std::move(value)}); }
  bool binary(binary_t& /*value*/) override { return false; }  // not in JSON text
  bool start_object(size_t /*count*/) override { return enter({JsonValue::Object{}}); }
  bool start_array(size_t /*count*/) override { return enter({JsonValue::List{}}); }
  bool end_array() override { return leave(); }
  bool key(string_t& name) override {
    std::get<JsonValue::Object>(open_.back()->data).names.push_back(std::move(name));
    return true;
  }
  bool end_object() override {
    auto& object = std::get<JsonValue::Object>(open_.back()->data);
    const auto& names = object.names;
    object.sorted.resize(names.size());
    std::iota(object.sorted.begin(), object.sorted.end(), 0U);
    std::sort(object.sorted.begin(), object.sorted.end(),
              [&](uint32_t a, uint32_t b) { return names[a] < names[b]; });
    const auto twice =
        std::adjacent_find(object.sorted.begin(), object.sorted.end(),
                           [&](uint32_t a, uint32_t b) { return names[a] == names[b]; });
    if (twice != object.sorted.end()) {
      refuse(place_, "The field '" + names[*twice] + "' is given twice in one object.");
    }
    return leave();
  }
  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    refuse(place_,
           "This is not valid JSON: it goes wrong at byte " + std::to_string(position) + ".");
  }

 private:
  JsonValue& place_for_next() {
    if (open_.empty()) return root_;
    JsonValue& parent = *open_.back();
    if (auto* list = std::get_if<JsonValue::List>(&parent.data)) return list->emplace_back();
    return std::get<JsonValue::Object>(parent.data).values.emplace_back();
  }
  bool add(JsonValue value) {
    place_for_next() = std::move(value);
    return true;
  }
  bool enter(JsonValue value) {
    if (open_.size() == kMaxDepth) {
      refuse(place_, "The JSON is nested more than " + std::to_string(kMaxDepth) + " deep.");
    }
    JsonValue& next = place_for_next();
    next = std::move(value);
    open_.push_back(&next);  // stays put: its parent gets no other child before it is left
    return true;
  }
  bool leave() {
    open_.pop_back();
    return true;
  }

  const std::string& place_;
  JsonValue root_;
  std::vector<JsonValue*> open_;
};

std::string item(std::string_view field, size_t index) {
  return std::string(field) + "[" + std::to_string(index) + "]";
}

}  // namespace

JsonObject::JsonObject(std::shared_ptr<const JsonValue> value, std::string place,
                       std::string prefix)
    : value_(std::move(value)), place_(std::move(place)), prefix_(std::move(prefix)) {}

JsonObject JsonObject::read(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  if (bytes.size() > kMaxFile) refuse(path.string(), "A JSON file may have at most 512 MiB.");
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

JsonObject JsonObject::parse(std::string_view text, std::string place) {
  TreeBuilder builder(place);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  auto root = std::make_shared<const JsonValue>(builder.take());
  if (!std::holds_alternative<JsonValue::Object>(root->data)) {
    refuse(place, "The JSON must be an object, but is " + std::string(kind_of(*root)) + ".");
  }
  return {std::move(root), std::move(place), ""};
}

const JsonValue* JsonObject::find(std::string_view field) const {
  const auto& object = std::get<JsonValue::Object>(value_->data);
  const auto at = std::lower_bound(
      object.sorted.begin(), object.sorted.end(), field,
      [&](uint32_t index, std::string_view name) { return object.names[index] < name; });
  if (at == object.sorted.end() || object.names[*at] != field) return nullptr;
  const JsonValue& value = object.values[*at];
  return std::holds_alternative<std::monostate>(value.data) ? nullptr : &value;
}

const JsonValue& JsonObject::require(std::string_view field) const {
  const JsonValue* value = find(field);
  if (value == nullptr) reject(field, "is missing");
  return *value;
}

template <typename T>
const T& JsonObject::typed(std::string_view field, const JsonValue& value,
                           std::string_view wanted) const {
  const T* data = std::get_if<T>(&value.data);
  if (data == nullptr) {
    reject(field, "must be " + std::string(wanted) + ", but is " + std::string(kind_of(value)));
  }
  return *data;
}

int64_t JsonObject::to_integer(std::string_view field, const JsonValue& value, int64_t low,
                               int64_t high) const {
  const auto range = [&] {
    reject(field, "must be between " + std::to_string(low) + " and " + std::to_string(high));
  };
  int64_t number = 0;
  if (const auto* with_sign = std::get_if<int64_t>(&value.data)) {
    number = *with_sign;
  } else if (const auto* natural = std::get_if<uint64_t>(&value.data)) {
    if (*natural > static_cast<uint64_t>(INT64_MAX)) range();
    number = static_cast<int64_t>(*natural);
  } else if (const auto* real = std::get_if<double>(&value.data)) {
    // 512.0 is an integer that some writer's language had as a float; beyond 2^53 it is a guess.
    if (std::trunc(*real) != *real) reject(field, "must be an integer, but has a fraction");
    if (std::fabs(*real) > 0x1p53) range();
    number = static_cast<int64_t>(*real);
  } else {
    reject(field, "must be an integer, but is " + std::string(kind_of(value)));
  }
  if (number < low || number > high) range();
  return number;
}

std::vector<int64_t> JsonObject::to_integers(std::string_view field, const JsonValue& value,
                                             int64_t low, int64_t high) const {
  const auto& list = typed<JsonValue::List>(field, value, "a list");
  std::vector<int64_t> numbers(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    numbers[i] = to_integer(item(field, i), list[i], low, high);
  }
  return numbers;
}

JsonObject JsonObject::child(const std::string& field, const JsonValue& value) const {
  typed<JsonValue::Object>(field, value, "an object");
  return {std::shared_ptr<const JsonValue>(value_, &value), place_, prefix_ + field + "."};
}

bool JsonObject::has(std::string_view field) const { return find(field) != nullptr; }

std::vector<std::string> JsonObject::fields() const {
  return std::get<JsonValue::Object>(value_->data).names;
}

int64_t JsonObject::integer(std::string_view field, int64_t low, int64_t high) const {
  return to_integer(field, require(field), low, high);
}

double JsonObject::to_real(std::string_view field, const JsonValue& value) const {
  if (const auto* with_sign = std::get_if<int64_t>(&value.data)) {
    return static_cast<double>(*with_sign);
  }
  if (const auto* natural = std::get_if<uint64_t>(&value.data)) {
    return static_cast<double>(*natural);
  }
  return typed<double>(field, value, "a number");
}

double JsonObject::real(std::string_view field) const { return to_real(field, require(field)); }

std::vector<double> JsonObject::reals(std::string_view field) const {
  const auto& list = typed<JsonValue::List>(field, require(field), "a list");
  std::vector<double> numbers(list.size());
  for (size_t i = 0; i < list.size(); ++i) numbers[i] = to_real(item(field, i), list[i]);
  return numbers;
}

bool JsonObject::boolean(std::string_view field) const {
  return typed<bool>(field, require(field), "a boolean");
}

std::string JsonObject::string(std::string_view field) const {
  return typed<std::string>(field, require(field), "a string");
}

JsonObject JsonObject::object(std::string_view field) const {
  return child(std::string(field), require(field));
}

std::vector<int64_t> JsonObject::integers(std::string_view field, int64_t low, int64_t high) const {
  return to_integers(field, require(field), low, high);
}

std::vector<std::string> JsonObject::strings(std::string_view field) const {
  const auto& list = typed<JsonValue::List>(field, require(field), "a list");
  std::vector<std::string> texts;
  texts.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    texts.push_back(typed<std::string>(item(field, i), list[i], "a string"));
  }
  return texts;
}

std::vector<std::string> JsonObject::strings(std::string_view field, std::string_view key) const {
  const auto& list = typed<JsonValue::List>(field, require(field), "a list");
  std::vector<std::string> texts;
  texts.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const bool object = std::holds_alternative<JsonValue::Object>(list[i].data);
    texts.push_back(object ? child(item(field, i), list[i]).string(key)
                           : typed<std::string>(item(field, i), list[i], "a string"));
  }
  return texts;
}

std::vector<JsonObject> JsonObject::objects(std::string_view field) const {
  const auto& list = typed<JsonValue::List>(field, require(field), "a list");
  std::vector<JsonObject> children;
  children.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) children.push_back(child(item(field, i), list[i]));
  return children;
}

std::vector<std::vector<int64_t>> JsonObject::integer_lists(std::string_view field, int64_t low,
                                                            int64_t high) const {
  const auto& list = typed<JsonValue::List>(field, require(field), "a list");
  std::vector<std::vector<int64_t>> lists(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    lists[i] = to_integers(item(field, i), list[i], low, high);
  }
  return lists;
}

std::pair<std::string, double> JsonObject::to_named_number(std::string_view field,
                                                           const JsonValue& value) const {
  const auto* pair = std::get_if<JsonValue::List>(&value.data);
  const auto* name =
      pair == nullptr || pair->size() != 2 ? nullptr : std::get_if<std::string>(&(*pair)[0].data);
  if (name == nullptr) reject(field, "must be a string with a number");
  return {*name, to_real(field, (*pair)[1])};
}

std::pair<std::string, double> JsonObject::named_number(std::string_view field) const {
  return to_named_number(field, require(field));
}

std::vector<std::pair<std::string, double>> JsonObject::named_numbers(
    std::string_view field) const {
  const auto& list = typed<JsonValue::List>(field, require(field), "a list");
  std::vector<std::pair<std::string, double>> pairs(list.size());
  for (size_t i = 0; i < list.size(); ++i) pairs[i] = to_named_number(item(field, i), list[i]);
  return pairs;
}

std::vector<std::vector<std::string>> JsonObject::string_lists(std::string_view field) const {
  const auto& list = typed<JsonValue::List>(field, require(field), "a list");
  std::vector<std::vector<std::string>> lists(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const auto* inner = std::get_if<JsonValue::List>(&list[i].data);
    const size_t count = inner == nullptr ? 1 : inner->size();
    for (size_t j = 0; j < count; ++j) {
      const JsonValue& value = inner == nullptr ? list[i] : (*inner)[j];
      const auto* text = std::get_if<std::string>(&value.data);
      if (text == nullptr) reject(item(field, i), "must be a string or a list of strings");
      lists[i].push_back(*text);
    }
  }
  return lists;
}

bool JsonObject::is_string(std::string_view field) const {
  const JsonValue* value = find(field);
  return value != nullptr && std::holds_alternative<std::string>(value->data);
}

bool JsonObject::is_list(std::string_view field) const {
  const JsonValue* value = find(field);
  return value != nullptr && std::holds_alternative<JsonValue::List>(value->data);
}

bool JsonObject::is_object(std::string_view field) const {
  const JsonValue* value = find(field);
  return value != nullptr && std::holds_alternative<JsonValue::Object>(value->data);
}

void JsonObject::reject(std::string_view field, std::string_view why) const {
  refuse(place_ + ", field '" + prefix_ + std::string(field) + "'",
         "The field " + std::string(why) + ".");
}

}  // namespace slim
