// JsonObject: a JSON object from a file, read with types. A missing field, a wrong type or an
// out-of-range number is an Error{bad_file} that names the file and the field's full path
// ("models/x/config.json, field 'rope.scale'"); it is never a default. A field given twice makes
// the whole text invalid: two readers would see two different files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slim {

struct JsonValue;  // the parsed tree, known to json.cpp alone

// Copies are cheap and share the tree. Looking up a field takes O(log fields).
class JsonObject {
 public:
  // Reads and parses a file of at most 512 MiB; depth is limited to 64.
  static JsonObject read(const std::filesystem::path& path);
  // Parses text; `place` stands for the file in messages.
  static JsonObject parse(std::string_view text, std::string place);

  bool has(std::string_view field) const;   // present and not null
  std::vector<std::string> fields() const;  // in file order

  // Numbers must be integral and within [low, high].
  int64_t integer(std::string_view field, int64_t low, int64_t high) const;
  double real(std::string_view field) const;
  bool boolean(std::string_view field) const;
  std::string string(std::string_view field) const;
  JsonObject object(std::string_view field) const;
  std::vector<int64_t> integers(std::string_view field, int64_t low, int64_t high) const;
  std::vector<double> reals(std::string_view field) const;
  std::vector<std::string> strings(std::string_view field) const;
  // The same, where an object with the string under `key` may stand for it.
  std::vector<std::string> strings(std::string_view field, std::string_view key) const;
  std::vector<JsonObject> objects(std::string_view field) const;
  // A list of equal-typed lists of integers ([[3, 1], [4, 2]]).
  std::vector<std::vector<int64_t>> integer_lists(std::string_view field, int64_t low,
                                                  int64_t high) const;
  // A list of lists of strings, each of which may be a string alone instead of a list of one
  // (["a b", ["a", "b"]]).
  std::vector<std::vector<std::string>> string_lists(std::string_view field) const;
  // A pair of a string and a number (["a", -1.5]), and a list of such.
  std::pair<std::string, double> named_number(std::string_view field) const;
  std::vector<std::pair<std::string, double>> named_numbers(std::string_view field) const;
  bool is_string(std::string_view field) const;
  bool is_list(std::string_view field) const;
  bool is_object(std::string_view field) const;

  // The file, or what stands for it, without the field's path.
  const std::string& place() const noexcept { return place_; }
  // The Error for a field whose value makes no sense to the caller.
  [[noreturn]] void reject(std::string_view field, std::string_view why) const;

 private:
  JsonObject(std::shared_ptr<const JsonValue> value, std::string place, std::string prefix);
  const JsonValue* find(std::string_view field) const;  // nullptr if absent or null
  const JsonValue& require(std::string_view field) const;
  template <typename T>
  const T& typed(std::string_view field, const JsonValue& value, std::string_view wanted) const;
  int64_t to_integer(std::string_view field, const JsonValue& value, int64_t low,
                     int64_t high) const;
  std::pair<std::string, double> to_named_number(std::string_view field,
                                                 const JsonValue& value) const;
  double to_real(std::string_view field, const JsonValue& value) const;
  std::vector<int64_t> to_integers(std::string_view field, const JsonValue& value, int64_t low,
                                   int64_t high) const;
  JsonObject child(const std::string& field, const JsonValue& value) const;

  std::shared_ptr<const JsonValue> value_;
  std::string place_;
  std::string prefix_;  // the path of this object's fields within the file: "rope."
};

}  // namespace slim
