// open, write, fsync, rename.
#include "base/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "slim/error.h"

namespace slim {

NewFile::NewFile(std::filesystem::path path) : path_(std::move(path)), partial_(path_) {
  // With the process's number: two that write the same file do not write into each other's.
  partial_ += "." + std::to_string(getpid()) + ".partial";
  descriptor_ = open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail(errno);
}

NewFile::~NewFile() {
  if (descriptor_ < 0) return;
  close(descriptor_);
  unlink(partial_.c_str());
}

void NewFile::fail(int code) const {
  throw Error(ErrorCode::bad_file,
              "The file cannot be written: " + std::system_category().message(code) + ".",
              path_.string());
}

void NewFile::write(std::span<const std::byte> bytes) {
  constexpr size_t kMost = size_t{1} << 30;  // the system takes at most 2 GiB at once
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kMost));
    if (written < 0 && errno != EINTR) fail(errno);
    if (written > 0) bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void NewFile::finish() {
  if (fsync(descriptor_) != 0) fail(errno);
  if (std::rename(partial_.c_str(), path_.c_str()) != 0) fail(errno);
  const int descriptor = std::exchange(descriptor_, -1);
  if (close(descriptor) != 0 && errno != EINTR) fail(errno);
}

}  // namespace slim
