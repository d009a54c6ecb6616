// NewFile: a file that appears under its name whole or not at all. It is written beside that name
// and renamed at the end, so neither a full disk nor a killed process leaves half of it, and an
// older file of the name stays until then.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace slim {

class NewFile {
 public:
  // Throws Error{bad_file} with the path and the system's reason, as all of these do.
  explicit NewFile(std::filesystem::path path);
  // Without finish() nothing stays.
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::span<const std::byte> bytes);
  // Waits until the bytes are on disk, then gives the file its name.
  void finish();

 private:
  [[noreturn]] void fail(int code) const;

  std::filesystem::path path_;
  std::filesystem::path partial_;
  int descriptor_ = -1;
};

}  // namespace slim
