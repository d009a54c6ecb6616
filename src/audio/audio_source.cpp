// Opens audio files so that they can be read twice, and walks the chunks of IFF files: an
// identifier of 4 bytes, a size of 4, the content, padded to an even length.
#include "audio/audio_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include "slim/error.h"

namespace slim {
namespace {

constexpr uint32_t kUnknownSize = 0x7FFF0000;  // this and above: a pipe's writer did not know

std::string reason() { return std::generic_category().message(errno); }

SeekableFile copy_to_temporary(int from, const std::string& name) {
  // Unlinked from the start, so that it goes away with the process, however that ends.
  SeekableFile copy(std::tmpfile());
  const auto no_room = [&] {
    return Error(ErrorCode::bad_file, "It cannot be kept in a temporary file: " + reason() + ".",
                 name);
  };
  if (!copy) throw no_room();
  std::array<char, 65536> piece;
  for (;;) {
    const ssize_t length = ::read(from, piece.data(), piece.size());
    if (length == 0) break;
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) throw Error(ErrorCode::bad_file, "It cannot be read: " + reason() + ".", name);
    const auto bytes = static_cast<size_t>(length);
    if (std::fwrite(piece.data(), 1, bytes, copy.get()) != bytes) throw no_room();
  }
  if (std::fflush(copy.get()) != 0) throw no_room();
  return copy;
}

int64_t size_of_file(std::FILE* file) {
  struct stat status = {};
  return ::fstat(::fileno(file), &status) == 0 ? int64_t{status.st_size} : 0;
}

// The bytes at `offset`; false where the file ends before.
bool read_at(std::FILE* file, int64_t offset, char* bytes, size_t length) {
  return ::pread(::fileno(file), bytes, length, offset) == static_cast<ssize_t>(length);
}

uint64_t number(const char* bytes, int length, bool big_endian) {
  uint64_t value = 0;
  for (int i = 0; i < length; ++i) {
    const int digit = big_endian ? i : length - 1 - i;
    value = value << 8 | static_cast<unsigned char>(bytes[digit]);
  }
  return value;
}

}  // namespace

SeekableFile open_seekable(const std::string& path) {
  SeekableFile file;
  if (path == "-") {
    file = copy_to_temporary(STDIN_FILENO, "standard input");
  } else {
    file.reset(std::fopen(path.c_str(), "rbe"));
    if (!file) throw Error(ErrorCode::bad_file, "It cannot be opened: " + reason() + ".", path);
    struct stat status = {};
    if (::fstat(::fileno(file.get()), &status) != 0) {
      throw Error(ErrorCode::bad_file, "It cannot be opened: " + reason() + ".", path);
    }
    if (S_ISDIR(status.st_mode)) throw Error(ErrorCode::bad_file, "It is a directory.", path);
    if (!S_ISREG(status.st_mode)) file = copy_to_temporary(::fileno(file.get()), path);
  }
  if (size_of_file(file.get()) == 0) {
    throw Error(ErrorCode::bad_file, "It is empty: 0 bytes, not even a header.",
                path == "-" ? "standard input" : path);
  }
  return file;
}

std::optional<PromisedBytes> promised_bytes(std::FILE* file) {
  std::array<char, 12> head;
  if (!read_at(file, 0, head.data(), head.size())) return std::nullopt;
  const std::string_view form(head.data(), 4);
  const bool big_endian = form == "FORM" || form == "RIFX";
  if (!big_endian && form != "RIFF" && form != "RF64") return std::nullopt;
  const std::string_view audio_chunk = form == "FORM" ? "SSND" : "data";

  const int64_t end = size_of_file(file);
  std::optional<int64_t> long_size;  // RF64: the real size of `data`, from the chunk before it
  for (int64_t offset = 12; read_at(file, offset, head.data(), 8);) {
    const std::string_view chunk(head.data(), 4);
    const auto size = static_cast<int64_t>(number(head.data() + 4, 4, big_endian));
    const int64_t content = offset + 8;
    if (std::array<char, 8> real; chunk == "ds64" &&
                                  read_at(file, content + 8, real.data(), real.size()) &&
                                  number(real.data(), 8, false) < uint64_t{1} << 62) {
      long_size = static_cast<int64_t>(number(real.data(), 8, false));
    }
    if (chunk == audio_chunk) {
      if (size == 0 || (size >= kUnknownSize && !long_size)) return std::nullopt;
      return PromisedBytes{long_size.value_or(size), end - content};
    }
    offset = content + size + size % 2;
  }
  return std::nullopt;
}

}  // namespace slim
