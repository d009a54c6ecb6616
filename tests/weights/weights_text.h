// The bytes of small weights files, well-formed or broken in one chosen way.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
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

// GGUF, key by key and tensor by tensor; the counts of both can be lies.
class GgufText {
 public:
  enum Value : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, list, u64, i64, f64 };
  enum Type : uint32_t { type_f32 = 0, type_f16 = 1, type_q4_0 = 2, type_q8_0 = 8, type_q4_k = 12 };

  GgufText() { key("general.architecture", text, string("llama")); }

  GgufText& key(std::string_view name, uint32_t type, const std::string& value) {
    keys_ += string(name) + bytes_of(type) + value;
    ++key_count;
    return *this;
  }
  GgufText& list_key(std::string_view name, uint32_t type, uint64_t count,
                     const std::string& values) {
    return key(name, list, bytes_of(type) + bytes_of(count) + values);
  }
  // Sizes from the fastest to the slowest, as in the file.
  GgufText& claim(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type,
                  uint64_t offset) {
    tensors_ += string(name) + bytes_of(static_cast<uint32_t>(sizes.size())) + bytes_of(sizes) +
                bytes_of(type) + bytes_of(offset);
    ++tensor_count;
    return *this;
  }
  // The file, with the data moved to a multiple of the alignment.
  std::string with(const std::string& data = {}, size_t alignment = 32) const {
    std::string bytes = "GGUF" + bytes_of(version) + bytes_of(tensor_count) + bytes_of(key_count) +
                        keys_ + tensors_;
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    return bytes + data;
  }
  static std::string string(std::string_view text) {
    return bytes_of(uint64_t{text.size()}) + std::string(text);
  }

  uint32_t version = 3;
  uint64_t tensor_count = 0;
  uint64_t key_count = 0;

 private:
  std::string keys_;
  std::string tensors_;
};

// whisper.cpp's ggml file; any of its numbers can be a lie.
class GgmlText {
 public:
  // Sizes from the fastest to the slowest, as in the file.
  GgmlText& tensor(std::string_view name, const std::vector<int32_t>& shape, int32_t dtype,
                   const std::string& data) {
    tensors_ += bytes_of(static_cast<int32_t>(shape.size())) +
                bytes_of(static_cast<int32_t>(name.size())) + bytes_of(dtype) + bytes_of(shape) +
                std::string(name) + data;
    return *this;
  }
  GgmlText& floats(std::string_view name, const std::vector<int32_t>& shape,
                   const std::vector<float>& values) {
    return tensor(name, shape, 0, bytes_of(values));
  }
  GgmlText& token(std::string_view bytes) {
    tokens_ += bytes_of(static_cast<uint32_t>(bytes.size())) + std::string(bytes);
    ++token_count;
    return *this;
  }
  std::string text() const {
    return bytes_of(magic) + bytes_of(sizes) + bytes_of(type) + bytes_of(bins) +
           bytes_of(frequencies) + bytes_of(filters) + bytes_of(token_count) + tokens_ + tensors_;
  }

  uint32_t magic = 0x67676d6c;
  // Vocabulary; positions, width, heads, layers of the encoder and of the decoder; mel bins.
  std::vector<int32_t> sizes = {3, 2, 1, 1, 1, 2, 1, 1, 1, 1};
  int32_t type = 0;
  int32_t bins = 1;
  int32_t frequencies = 2;
  std::vector<float> filters = {0.5F, 0.25F};
  int32_t token_count = 0;

 private:
  std::string tokens_;
  std::string tensors_;
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

// A checkpoint that kRead makes of a text, together with the bytes it borrows.
template <auto kRead>
class LoadedText {
 public:
  template <class Text>
  explicit LoadedText(const Text& text, size_t shift = 0)
      : memory_(text.text(), shift), weights_(kRead(memory_.file())) {}
  const Checkpoint* operator->() const { return weights_.get(); }
  std::vector<float> values(std::string_view name) const { return values_of(weights_->get(name)); }

 private:
  MemoryFile memory_;
  std::shared_ptr<const Checkpoint> weights_;
};

}  // namespace slim
