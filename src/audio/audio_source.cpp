// Opens audio files so that they can be read twice, and walks the chunks of IFF files: an
// identifier of 4 bytes, a size of 4, the content, padded to an even length.
#include "audio/audio_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
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

struct Chunk {
  std::array<char, 4> name = {};
  int64_t content = 0;  // offset
  int64_t size = 0;
  int64_t end() const { return content + size + size % 2; }
  bool is(std::string_view other) const { return std::string_view(name.data(), 4) == other; }
};

std::optional<Chunk> chunk_at(std::FILE* file, int64_t offset, bool big_endian) {
  std::array<char, 8> head;
  if (!read_at(file, offset, head.data(), head.size())) return std::nullopt;
  Chunk chunk;
  std::copy_n(head.begin(), 4, chunk.name.begin());
  chunk.content = offset + 8;
  chunk.size = static_cast<int64_t>(number(head.data() + 4, 4, big_endian));
  return chunk;
}

bool is_big_endian(const Chunk& form) { return form.is("FORM") || form.is("RIFX"); }

// The chunk of the samples in the IFF file of this form; RF64 has its size in a chunk before.
std::optional<Chunk> audio_chunk(std::FILE* file, const Chunk& form) {
  std::optional<int64_t> long_size;
  auto chunk = chunk_at(file, 12, is_big_endian(form));
  for (; chunk; chunk = chunk_at(file, chunk->end(), is_big_endian(form))) {
    if (chunk->is(form.is("FORM") ? "SSND" : "data")) {
      chunk->size = long_size.value_or(chunk->size);
      return chunk;
    }
    std::array<char, 8> size;  // the second number of ds64
    if (chunk->is("ds64") && read_at(file, chunk->content + 8, size.data(), size.size())) {
      long_size = static_cast<int64_t>(number(size.data(), 8, false) & INT64_MAX >> 1);
    }
  }
  return std::nullopt;
}

// Whether chunks with printable names, the last of them ending with the file, follow from `offset`.
bool is_row_of_chunks(std::FILE* file, int64_t offset, bool big_endian) {
  const int64_t end = size_of_file(file);
  while (offset < end) {
    const auto chunk = chunk_at(file, offset, big_endian);
    const auto is_printable = [](char letter) { return letter >= ' ' && letter <= '~'; };
    if (!chunk || !std::all_of(chunk->name.begin(), chunk->name.end(), is_printable)) return false;
    offset = chunk->end();
  }
  return offset == end || offset == end + 1;  // the last padding is often forgotten
}

// Where a wav file has audio in a chunk of size 0: the offset of that size.
std::optional<int64_t> forgotten_size(std::FILE* file) {
  const auto form = chunk_at(file, 0, false);
  if (!form || !(form->is("RIFF") || form->is("RIFX"))) return std::nullopt;
  const auto audio = audio_chunk(file, *form);
  if (!audio || audio->size != 0) return std::nullopt;
  if (is_row_of_chunks(file, audio->content, is_big_endian(*form))) return std::nullopt;
  return audio->content - 4;
}

void state_unknown_size(std::FILE* file, int64_t offset, const std::string& name) {
  constexpr std::array<unsigned char, 4> kUnknown = {0xFF, 0xFF, 0xFF, 0xFF};
  if (::pwrite(::fileno(file), kUnknown.data(), kUnknown.size(), offset) !=
      static_cast<ssize_t>(kUnknown.size())) {
    throw Error(ErrorCode::bad_file, "Its temporary copy cannot be written: " + reason() + ".",
                name);
  }
}

}  // namespace

SeekableFile open_seekable(const std::string& path) {
  const std::string name = path == "-" ? "standard input" : path;
  SeekableFile file;
  bool is_copy = false;
  const auto copy = [&](int descriptor) {
    file = copy_to_temporary(descriptor, name);
    is_copy = true;
  };
  if (path == "-") {
    copy(STDIN_FILENO);
  } else {
    file.reset(std::fopen(path.c_str(), "rbe"));
    struct stat status = {};
    if (!file || ::fstat(::fileno(file.get()), &status) != 0) {
      throw Error(ErrorCode::bad_file, "It cannot be opened: " + reason() + ".", name);
    }
    if (S_ISDIR(status.st_mode)) throw Error(ErrorCode::bad_file, "It is a directory.", name);
    if (!S_ISREG(status.st_mode)) copy(::fileno(file.get()));
  }
  if (size_of_file(file.get()) == 0) {
    throw Error(ErrorCode::bad_file, "It is empty: 0 bytes, not even a header.", name);
  }
  if (const auto offset = forgotten_size(file.get())) {
    if (!is_copy) copy(::fileno(file.get()));
    state_unknown_size(file.get(), *offset, name);
  }
  return file;
}

SeekableFile open_again(const std::string& path, std::FILE* opened) {
  struct stat status = {};
  if (path != "-" && ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode)) {
    return open_seekable(path);
  }
  const std::string name = path == "-" ? "standard input" : path;
  if (::lseek(::fileno(opened), 0, SEEK_SET) != 0) {
    throw Error(ErrorCode::bad_file, "It cannot be read again: " + reason() + ".", name);
  }
  return copy_to_temporary(::fileno(opened), name);
}

std::optional<PromisedBytes> promised_bytes(std::FILE* file) {
  auto form = chunk_at(file, 0, false);
  if (!form) return std::nullopt;
  if (!is_big_endian(*form) && !form->is("RIFF") && !form->is("RF64")) return std::nullopt;
  const auto audio = audio_chunk(file, *form);
  if (!audio) return std::nullopt;
  if (!form->is("RF64") && audio->size >= kUnknownSize) return std::nullopt;
  return PromisedBytes{audio->size, size_of_file(file) - audio->content};
}

}  // namespace slim
