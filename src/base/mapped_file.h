// MappedFile: a whole file, read-only and memory-mapped. Weights are used in place; so the file
// must not be changed or cut while it is mapped.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace slim {

class MappedFile {
 public:
  // Throws Error{bad_file} with the path and the system's reason; also for what is no regular file.
  // An empty file maps to no bytes.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  // Lets the system take back the pages read so far; reading them again reads the file again. For
  // a reader that has copied what it needs.
  void drop_pages() const noexcept;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace slim
