// open, fstat, mmap.
#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "slim/error.h"

namespace slim {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& reason) {
  throw Error(ErrorCode::bad_file, "The file cannot be read: " + reason + ".", path.string());
}

std::string reason_of(int code) { return std::system_category().message(code); }

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return value_; }

 private:
  int value_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // A path with a NUL inside would open whatever stands before it.
  if (path.native().find('\0') != std::string::npos) fail(path, "its name has a zero byte");
  // Non-blocking: opening a pipe nobody writes to would wait forever.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) fail(path, reason_of(errno));
  struct stat status;
  if (fstat(file.get(), &status) != 0) fail(path, reason_of(errno));
  if (S_ISDIR(status.st_mode)) fail(path, reason_of(EISDIR));
  if (!S_ISREG(status.st_mode)) fail(path, "it is not a regular file");

  const std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->path_ = path;
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return mapped;
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail(path, reason_of(errno));
  mapped->data_ = static_cast<const std::byte*>(data);
  mapped->size_ = size;
  return mapped;
}

MappedFile::~MappedFile() {
  if (size_ > 0) munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::drop_pages() const noexcept {
  if (size_ > 0) madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

}  // namespace slim
