// ByteCursor: reads a weights file front to back. Running past the end is an Error that says where,
// and a count is checked against the bytes that are left before anything is reserved for it.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "weights/builder.h"

namespace slim {

class ByteCursor {
 public:
  explicit ByteCursor(const WeightsFile& file) : file_(file) {}

  size_t at() const { return at_; }
  size_t left() const { return file_.bytes.size() - at_; }

  std::span<const std::byte> take(uint64_t count) {
    if (count > left()) {
      fail_file(file_.path, "The file is cut: " + std::to_string(count) +
                                " bytes are due at byte " + std::to_string(at_) + ", but only " +
                                std::to_string(left()) + " are left.");
    }
    const auto bytes = file_.bytes.subspan(at_, count);
    at_ += count;
    return bytes;
  }
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  // A string after its length, which is a T. The view is into the file.
  template <typename T>
  std::string_view text() {
    const auto bytes = take(number<T>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A count, itself a T, of things that take at least `least` bytes each.
  template <typename T>
  size_t count(size_t least, size_t limit, std::string_view what) {
    const T value = number<T>();
    if (value > limit || value > left() / least) {
      fail_file(file_.path, "The file claims " + std::to_string(value) + " " + std::string(what) +
                                ", more than it can hold or than the limit.");
    }
    return static_cast<size_t>(value);
  }

 private:
  const WeightsFile& file_;
  size_t at_ = 0;
};

}  // namespace slim
