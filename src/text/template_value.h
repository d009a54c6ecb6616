// Value: what an expression of a chat template has: the values of Jinja, with Python's rules for
// truth, equality, printing and JSON. Copies are cheap: text and lists are shared and never change.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace slim {

struct TemplateStatement;

class Value {
 public:
  struct Undefined {
    std::string name;  // for messages
  };
  struct None {};
  using List = std::vector<Value>;
  using Dict = std::vector<std::pair<std::string, Value>>;  // in order of insertion
  struct Namespace {
    std::map<std::string, Value, std::less<>> values;
  };
  // A function of the language by its name, or a macro.
  struct Function {
    std::string name;
    const TemplateStatement* macro = nullptr;
  };

  Value() : data_(Undefined{}) {}
  static Value undefined(std::string name) { return Value(Undefined{std::move(name)}); }
  static Value none() { return Value(None{}); }
  static Value boolean(bool value) { return Value(value); }
  static Value integer(int64_t value) { return Value(value); }
  static Value real(double value) { return Value(value); }
  static Value text(std::string value);
  static Value list(List values);
  static Value dict(Dict values);
  static Value name_space();
  static Value function(std::string name, const TemplateStatement* macro);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  bool is_boolean() const { return std::holds_alternative<bool>(data_); }
  bool is_integer() const { return std::holds_alternative<int64_t>(data_); }
  bool is_real() const { return std::holds_alternative<double>(data_); }
  bool is_number() const { return is_integer() || is_real() || is_boolean(); }
  // Null if the value is of another kind.
  const std::string* text() const;
  const List* list() const;
  const Dict* dict() const;
  Namespace* name_space_values() const;
  const Function* function() const { return std::get_if<Function>(&data_); }
  const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }

  // Of numbers; booleans are 0 and 1.
  int64_t as_integer() const;
  double as_real() const;

  bool truth() const;
  bool equals(const Value& other) const;
  // The entry of a dict or namespace; undefined if there is none.
  Value entry(std::string_view key) const;
  // "a string", "a list", ...
  std::string_view kind() const;
  // How deep lists and dicts are nested: 0 for plain values, which bounds all recursion over
  // values.
  int depth() const;
  static constexpr int kMaximumDepth = 64;
  // What printing or comparing the value takes, in bytes and entries; values that stand in it twice
  // count twice. Saturates.
  size_t weight() const;

  std::string print() const;  // Python's str()
  std::string repr() const;   // Python's repr()

 private:
  struct SharedList {
    List values;
    int depth;
    size_t weight;
  };
  struct SharedDict {
    Dict values;
    int depth;
    size_t weight;
  };
  using Data =
      std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>,
                   std::shared_ptr<const SharedList>, std::shared_ptr<const SharedDict>,
                   std::shared_ptr<Namespace>, Function>;
  explicit Value(Data data) : data_(std::move(data)) {}

  Data data_;
};

// Python's json.dumps(value, ensure_ascii=False, indent=indent); indent < 0: none. False if
// something in the value has no JSON.
bool to_json(const Value& value, int indent, std::string& out);

}  // namespace slim
