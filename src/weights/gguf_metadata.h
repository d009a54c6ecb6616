// GgufMetadata: the keys of a GGUF file, read with types as JsonObject reads a config: an absent
// key, another type or a number out of range is an Error{bad_file} that names file and key, never a
// default. Values are decoded when asked for; strings are views into the file, which this keeps
// mapped (a vocabulary of 150,000 tokens costs nothing until it is read).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"

namespace slim {

class ByteCursor;
struct WeightsFile;

// By the numbers that stand for the types in the file.
enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  list,
  u64,
  i64,
  f64
};

// A value, or a list of them, as it lies in the file.
struct GgufValue {
  GgufType type = GgufType::u8;  // of the elements, if it is a list
  bool is_list = false;
  size_t count = 1;
  std::span<const std::byte> bytes;
};

class GgufMetadata {
 public:
  // Reads `count` keys with their values, all of which are validated. Throws Error{bad_file}, and
  // Error{unsupported_model} for lists of lists, which no known key has.
  static std::shared_ptr<const GgufMetadata> read(const WeightsFile& file, ByteCursor& cursor,
                                                  size_t count);

  bool has(std::string_view key) const { return values_.contains(key); }
  bool is_list(std::string_view key) const;  // false if absent
  std::vector<std::string> keys() const;     // sorted

  // Integers are of any width, reals too, and an integer is a real as well; reals are finite.
  int64_t integer(std::string_view key, int64_t low, int64_t high) const;
  double real(std::string_view key) const;
  bool boolean(std::string_view key) const;
  // Any bytes, which live as long as *this.
  std::string_view string(std::string_view key) const;

  // Lists, of values as above. An empty one is a list of any type.
  std::vector<int64_t> integers(std::string_view key, int64_t low, int64_t high) const;
  std::vector<float> reals(std::string_view key) const;
  std::vector<bool> booleans(std::string_view key) const;
  std::vector<std::string_view> strings(std::string_view key) const;

  // The file, for messages; and the Error for a key whose value makes no sense to the caller.
  const std::string& place() const noexcept { return place_; }
  [[noreturn]] void reject(std::string_view key, std::string_view why) const;

 private:
  const GgufValue& require(std::string_view key, bool is_list) const;
  const GgufValue& require(std::string_view key, bool is_list, GgufType type) const;
  int64_t integer_at(std::string_view key, const GgufValue& value, size_t index, int64_t low,
                     int64_t high) const;
  double real_at(std::string_view key, const GgufValue& value, size_t index) const;

  std::shared_ptr<const MappedFile> mapping_;
  std::string place_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

}  // namespace slim
