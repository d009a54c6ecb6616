// The texts and ids that tools/make_golden_text.py made with the `tokenizers` library.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace slim {

inline std::filesystem::path golden_folder() {
  return std::filesystem::path(SLIM_TEST_DATA) / "golden" / "text";
}

// A zlib file read as varints and bytes.
class PackedFile {
 public:
  explicit PackedFile(const std::string& name) {
    std::ifstream file(golden_folder() / name, std::ios::binary);
    const std::string packed{std::istreambuf_iterator<char>(file), {}};
    bytes_.resize(size_t{16} << 20);
    uLongf size = bytes_.size();
    if (uncompress(reinterpret_cast<Bytef*>(bytes_.data()), &size,
                   reinterpret_cast<const Bytef*>(packed.data()), packed.size()) != Z_OK) {
      throw std::runtime_error("cannot read golden file " + name);
    }
    bytes_.resize(size);
  }
  bool ended() const { return at_ == bytes_.size(); }
  uint64_t number() {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(bytes_.at(at_++));
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  }
  std::string text(size_t size) {
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  std::vector<int32_t> numbers(uint64_t count) {
    std::vector<int32_t> list;
    while (count-- > 0) list.push_back(static_cast<int32_t>(number()));
    return list;
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

inline std::vector<std::string> golden_texts() {
  PackedFile file("strings.bin.z");
  std::vector<std::string> texts;
  while (!file.ended()) texts.push_back(file.text(file.number()));
  return texts;
}

struct GoldenIds {
  std::vector<int32_t> plain;
  std::vector<int32_t> specials;
};

inline std::vector<GoldenIds> golden_ids(const std::string& tokenizer) {
  PackedFile file("ids_" + tokenizer + ".bin.z");
  std::vector<GoldenIds> list;
  while (!file.ended()) {
    GoldenIds ids;
    ids.plain = file.numbers(file.number());
    const uint64_t other = file.number();
    ids.specials = other == 0 ? ids.plain : file.numbers(other - 1);
    list.push_back(ids);
  }
  return list;
}

}  // namespace slim
