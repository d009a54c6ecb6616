// What an audio file is before it is decoded: a descriptor that can be read twice, and how many
// bytes of samples its header promises.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

namespace slim {

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using SeekableFile = std::unique_ptr<std::FILE, CloseFile>;

// Opens `path` for reading. Standard input ("-") and whatever else cannot be read twice (a pipe, a
// device) is copied to an unlinked temporary file first. Throws Error{bad_file} where the file is
// missing, a directory or empty, or where there is no room for the copy. A wav file whose audio has
// the size 0, left by a program that could not go back (GStreamer), is copied with "not known" for
// the size: libsndfile would find no audio in it.
SeekableFile open_seekable(const std::string& path);

// The same again, to be read independently: `opened` came of open_seekable(path). What cannot be
// opened twice is copied from it, from where its descriptor then stands at the end.
SeekableFile open_again(const std::string& path, std::FILE* opened);

// The audio bytes that the header of a RIFF, RIFX, RF64 (wav) or FORM (aiff) file promises, and
// those that the file has. Decoders clip the former to the latter in silence.
struct PromisedBytes {
  int64_t promised = 0;
  int64_t held = 0;
};
// Nothing where the format is another one, where there is no audio chunk, or where the size stands
// for "not known": programs that write to a pipe cannot go back and leave sizes of 2 GiB - 64 KiB
// and above (sox 0x7ffff000, arecord 0x80000000, ffmpeg 0xffffffff).
std::optional<PromisedBytes> promised_bytes(std::FILE* file);

}  // namespace slim
