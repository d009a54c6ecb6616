// MappedFile: a whole file, read-only and memory-mapped. Weights are used in place.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace slim {

class MappedFile {
 public:
  // Throws Error{bad_file} with the path and the system's reason. An empty file maps to no bytes.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace slim
