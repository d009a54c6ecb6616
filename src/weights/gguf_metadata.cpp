// Validation of everything while reading, so that looking a value up later cannot run off its end.
#include "weights/gguf_metadata.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "slim/error.h"
#include "weights/builder.h"
#include "weights/byte_cursor.h"

namespace slim {
namespace {

// Bytes of a value; of a string, those of its length, which are the least it takes.
constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
constexpr std::string_view kKinds[] = {
    "an integer", "an integer", "an integer", "an integer", "an integer", "an integer", "a real",
    "a boolean",  "a string",   "a list",     "an integer", "an integer", "a real"};

size_t size_of(GgufType type) { return kSizes[static_cast<size_t>(type)]; }
std::string_view kind_of(GgufType type) { return kKinds[static_cast<size_t>(type)]; }
bool is_integer(GgufType type) { return kind_of(type) == kKinds[0]; }

[[noreturn]] void refuse(const std::string& place, std::string_view key, std::string_view why,
                         ErrorCode code = ErrorCode::bad_file) {
  throw Error(code, "Key '" + std::string(key) + "' " + std::string(why) + ".", place);
}

template <typename T>
T load(std::span<const std::byte> bytes, size_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

GgufType read_type(const WeightsFile& file, ByteCursor& cursor, std::string_view key) {
  const auto number = cursor.number<uint32_t>();
  if (number >= std::size(kSizes)) {
    refuse(file.path.string(), key, "has a value of the unknown type " + std::to_string(number));
  }
  return static_cast<GgufType>(number);
}

// The bytes of the elements, from where the cursor stands.
std::span<const std::byte> take_elements(const WeightsFile& file, ByteCursor& cursor, GgufType type,
                                         size_t count) {
  if (type != GgufType::string) return cursor.take(count * size_of(type));
  const size_t begin = cursor.at();
  for (size_t i = 0; i < count; ++i) cursor.text<uint64_t>();
  return file.bytes.subspan(begin, cursor.at() - begin);
}

GgufValue read_value(const WeightsFile& file, ByteCursor& cursor, std::string_view key) {
  GgufValue value;
  value.type = read_type(file, cursor, key);
  value.is_list = value.type == GgufType::list;
  if (value.is_list) {
    value.type = read_type(file, cursor, key);
    if (value.type == GgufType::list) {
      refuse(file.path.string(), key, "is a list of lists, which is not supported",
             ErrorCode::unsupported_model);
    }
    value.count = cursor.count<uint64_t>(size_of(value.type), SIZE_MAX,
                                         "elements for key '" + std::string(key) + "'");
  }
  value.bytes = take_elements(file, cursor, value.type, value.count);
  if (value.type == GgufType::boolean) {
    for (const std::byte byte : value.bytes) {
      if (byte > std::byte{1}) {
        refuse(file.path.string(), key, "has a boolean that is neither 0 nor 1");
      }
    }
  }
  return value;
}

std::vector<std::string_view> split_strings(const GgufValue& value) {
  std::vector<std::string_view> strings;
  strings.reserve(value.count);
  const char* at = reinterpret_cast<const char*>(value.bytes.data());
  for (size_t i = 0; i < value.count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, at, sizeof length);
    strings.emplace_back(at + sizeof length, length);
    at += sizeof length + length;
  }
  return strings;
}

}  // namespace

std::shared_ptr<const GgufMetadata> GgufMetadata::read(const WeightsFile& file, ByteCursor& cursor,
                                                       size_t count) {
  auto metadata = std::make_shared<GgufMetadata>();
  metadata->mapping_ = file.mapping;
  metadata->place_ = file.path.string();
  for (; count > 0; --count) {
    const std::string key(cursor.text<uint64_t>());
    check_name(file.path, key);
    if (!metadata->values_.emplace(key, read_value(file, cursor, key)).second) {
      metadata->reject(key, "is given twice");
    }
  }
  return metadata;
}

bool GgufMetadata::is_list(std::string_view key) const {
  const auto at = values_.find(key);
  return at != values_.end() && at->second.is_list;
}

std::vector<std::string> GgufMetadata::keys() const {
  std::vector<std::string> keys;
  keys.reserve(values_.size());
  for (const auto& [key, value] : values_) keys.push_back(key);
  return keys;
}

void GgufMetadata::reject(std::string_view key, std::string_view why) const {
  refuse(place_, key, why);
}

const GgufValue& GgufMetadata::require(std::string_view key, bool is_list) const {
  const auto at = values_.find(key);
  if (at == values_.end()) reject(key, "is missing");
  if (at->second.is_list != is_list) {
    reject(key, is_list ? "must be a list" : "must be a single value, but is a list");
  }
  return at->second;
}

const GgufValue& GgufMetadata::require(std::string_view key, bool is_list, GgufType type) const {
  const GgufValue& value = require(key, is_list);
  if (value.type != type && value.count > 0) {
    reject(key, (is_list ? "has an element that must be " : "must be ") +
                    std::string(kind_of(type)) + ", but is " + std::string(kind_of(value.type)));
  }
  return value;
}

int64_t GgufMetadata::integer_at(std::string_view key, const GgufValue& value, size_t index,
                                 int64_t low, int64_t high) const {
  const auto within = [&](auto number) {
    // Compared as their own types: the largest u64 is no negative number.
    if (std::cmp_less(number, low) || std::cmp_greater(number, high)) {
      reject(key, "is " + std::to_string(number) + ", not within [" + std::to_string(low) + ", " +
                      std::to_string(high) + "]");
    }
    return static_cast<int64_t>(number);
  };
  switch (value.type) {
    case GgufType::u8:
      return within(load<uint8_t>(value.bytes, index));
    case GgufType::i8:
      return within(load<int8_t>(value.bytes, index));
    case GgufType::u16:
      return within(load<uint16_t>(value.bytes, index));
    case GgufType::i16:
      return within(load<int16_t>(value.bytes, index));
    case GgufType::u32:
      return within(load<uint32_t>(value.bytes, index));
    case GgufType::i32:
      return within(load<int32_t>(value.bytes, index));
    case GgufType::u64:
      return within(load<uint64_t>(value.bytes, index));
    case GgufType::i64:
      return within(load<int64_t>(value.bytes, index));
    default:
      reject(key, "must be an integer, but is " + std::string(kind_of(value.type)));
  }
}

double GgufMetadata::real_at(std::string_view key, const GgufValue& value, size_t index) const {
  double number = 0.0;
  if (value.type == GgufType::f32) {
    number = load<float>(value.bytes, index);
  } else if (value.type == GgufType::f64) {
    number = load<double>(value.bytes, index);
  } else if (is_integer(value.type)) {
    number = static_cast<double>(integer_at(key, value, index, INT64_MIN, INT64_MAX));
  } else {
    reject(key, "must be a real, but is " + std::string(kind_of(value.type)));
  }
  if (!std::isfinite(number)) reject(key, "is not finite");
  return number;
}

int64_t GgufMetadata::integer(std::string_view key, int64_t low, int64_t high) const {
  return integer_at(key, require(key, false), 0, low, high);
}

double GgufMetadata::real(std::string_view key) const {
  return real_at(key, require(key, false), 0);
}

bool GgufMetadata::boolean(std::string_view key) const {
  return require(key, false, GgufType::boolean).bytes[0] != std::byte{0};
}

std::string_view GgufMetadata::string(std::string_view key) const {
  return split_strings(require(key, false, GgufType::string))[0];
}

std::vector<int64_t> GgufMetadata::integers(std::string_view key, int64_t low, int64_t high) const {
  const GgufValue& value = require(key, true);
  std::vector<int64_t> numbers(value.count);
  for (size_t i = 0; i < value.count; ++i) numbers[i] = integer_at(key, value, i, low, high);
  return numbers;
}

std::vector<float> GgufMetadata::reals(std::string_view key) const {
  const GgufValue& value = require(key, true);
  std::vector<float> numbers(value.count);
  for (size_t i = 0; i < value.count; ++i) {
    const double number = real_at(key, value, i);
    if (std::fabs(number) > std::numeric_limits<float>::max()) reject(key, "is not finite");
    numbers[i] = static_cast<float>(number);
  }
  return numbers;
}

std::vector<bool> GgufMetadata::booleans(std::string_view key) const {
  std::vector<bool> values;
  for (const std::byte byte : require(key, true, GgufType::boolean).bytes) {
    values.push_back(byte != std::byte{0});
  }
  return values;
}

std::vector<std::string_view> GgufMetadata::strings(std::string_view key) const {
  return split_strings(require(key, true, GgufType::string));
}

}  // namespace slim
