// The bytes of small weights files, well-formed or broken in one chosen way.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weights/builder.h"

namespace slim {

template <typename T>
std::string bytes_of(T value) {
  std::string text(sizeof(T), '\0');
  std::memcpy(text.data(), &value, sizeof(T));
  return text;
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string text(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(text.data(), values.data(), text.size());
  return text;
}

inline std::string safetensors_text(std::string_view header, std::string_view data) {
  return bytes_of<uint64_t>(header.size()) + std::string(header) + std::string(data);
}

// CTranslate2's model.bin, tensor by tensor.
class Ct2Text {
 public:
  enum Type : uint8_t { f32, i8, i16, i32, f16, bf16 };

  Ct2Text& tensor(std::string_view name, const std::vector<uint32_t>& shape, uint8_t type,
                  const std::string& data) {
    body_ += string(name) + bytes_of(static_cast<uint8_t>(shape.size())) + bytes_of(shape) +
             bytes_of(type) + bytes_of(static_cast<uint32_t>(data.size())) + data;
    ++tensors_;
    return *this;
  }
  Ct2Text& floats(std::string_view name, const std::vector<uint32_t>& shape,
                  const std::vector<float>& values) {
    return tensor(name, shape, f32, bytes_of(values));
  }
  Ct2Text& alias(std::string_view name, std::string_view target) {
    aliases_ += string(name) + string(target);
    ++alias_count_;
    return *this;
  }
  std::string text(uint32_t version = 6) const {
    return bytes_of(version) + string("WhisperSpec") + bytes_of(uint32_t{3}) + bytes_of(tensors_) +
           body_ + bytes_of(alias_count_) + aliases_;
  }
  static std::string string(std::string_view text) {
    return bytes_of(static_cast<uint16_t>(text.size() + 1)) + std::string(text) +
           std::string(1, '\0');
  }

 private:
  std::string body_;
  std::string aliases_;
  uint32_t tensors_ = 0;
  uint32_t alias_count_ = 0;
};

// A file in memory, in an allocation of exactly its size so that the address sanitizer sees any
// read past it; `shift` moves it off alignment.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view text, size_t shift = 0)
      : bytes_(text.size() + shift), shift_(shift) {
    if (!text.empty()) std::memcpy(bytes_.data() + shift, text.data(), text.size());
  }
  WeightsFile file() const {
    return {"memory", std::span<const std::byte>(bytes_).subspan(shift_), nullptr};
  }

 private:
  std::vector<std::byte> bytes_;
  size_t shift_;
};

inline std::vector<float> values_of(const Tensor& tensor) {
  const Tensor floats = tensor.to_f32();
  return {floats.values<float>(), floats.values<float>() + floats.elements()};
}

}  // namespace slim
