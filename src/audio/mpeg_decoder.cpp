// SampleDecoder over libmpg123: MPEG-1, -2 and -2.5 audio, layers 1 to 3 (mp3). The file is a row
// of frames of 384 to 1152 samples, perhaps after ID3v2 tags; the first frame may be a tag (Xing or
// Info) that holds their number. Nothing else promises a length.
#include <fmt/format.h>
#include <mpg123.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "audio/sample_decoder.h"

namespace slim {
namespace {

struct DeleteHandle {
  void operator()(mpg123_handle* handle) const noexcept { mpg123_delete(handle); }
};

using Head = std::array<unsigned char, 64>;

// The bytes at `offset`, zeros where the file ends.
Head head_at(std::FILE* file, int64_t offset) {
  Head head = {};
  if (::pread(::fileno(file), head.data(), head.size(), offset) < 0) head = {};
  return head;
}

std::string_view text_of(const Head& head) {
  return {reinterpret_cast<const char*>(head.data()), head.size()};
}

// The first bytes after the ID3v2 tags: "ID3", version (2 bytes), flags, size (4 digits of 7 bits).
Head first_frame(std::FILE* file) {
  Head head = head_at(file, 0);
  int64_t offset = 0;
  // At most 8 tags: a hostile file may hold as many as it likes.
  for (int tag = 0; tag < 8 && text_of(head).starts_with("ID3"); ++tag) {
    const bool footer = (head[5] & 0x10) != 0;
    int64_t size = 0;
    for (int i = 6; i < 10; ++i) size = size << 7 | (head[static_cast<size_t>(i)] & 0x7F);
    offset += size + (footer ? 20 : 10);
    head = head_at(file, offset);
  }
  return head;
}

// 11 bits of ones; layer, bit rate and sample rate that exist.
bool is_mpeg_header(const Head& head) {
  return head[0] == 0xFF && (head[1] & 0xE0) == 0xE0 && (head[1] & 0x06) != 0 &&
         (head[2] & 0xF0) != 0xF0 && (head[2] & 0x0C) != 0x0C;
}

// A Xing or Info tag that says how many frames there are (bit 0 of its flags).
bool has_length(const Head& frame) {
  const std::string_view text = text_of(frame);
  const size_t tag = std::min(text.find("Xing"), text.find("Info"));
  return tag < text.size() - 8 && (frame[tag + 7] & 1) != 0;
}

class MpegDecoder final : public SampleDecoder {
 public:
  MpegDecoder(std::FILE* file, const std::string& name, bool length_known) : SampleDecoder(name) {
    handle_.reset(mpg123_new(nullptr, nullptr));
    if (!handle_) throw Error(ErrorCode::out_of_memory, "No mp3 decoder can be made.", name);
    long rate = 0;  // NOLINT(google-runtime-int): libmpg123's type
    int channels = 0;
    int encoding = 0;
    if (::lseek(::fileno(file), 0, SEEK_SET) != 0 ||
        mpg123_param(handle_.get(), MPG123_ADD_FLAGS, MPG123_QUIET | MPG123_FORCE_FLOAT, 0) !=
            MPG123_OK ||
        mpg123_open_fd(handle_.get(), ::fileno(file)) != MPG123_OK ||
        mpg123_getformat(handle_.get(), &rate, &channels, &encoding) != MPG123_OK) {
      fail(fmt::format("It begins like mp3 but is not: {}.", mpg123_strerror(handle_.get())));
    }
    // What follows the last frame may be a tag of any size, with a picture perhaps: from here on
    // libmpg123 may look as far as it likes for the next frame.
    mpg123_param(handle_.get(), MPG123_RESYNC_LIMIT, -1, 0);
    // A file that changes its format midway is refused rather than misread.
    mpg123_format_none(handle_.get());
    mpg123_format(handle_.get(), rate, channels, MPG123_ENC_FLOAT_32);
    format_ = {.rate = rate, .channels = channels};
    if (length_known) format_.frames = mpg123_length(handle_.get());
    // Some encoders count the tag itself, and the last frame may need bits of one that is not
    // there.
    format_.slack = int64_t{2} * mpg123_spf(handle_.get());
  }

 private:
  int64_t decode(std::span<float> out, std::string& failure) override {
    size_t filled = 0;  // bytes
    int status = MPG123_OK;
    while (filled < out.size_bytes() && (status == MPG123_OK || status == MPG123_NEW_FORMAT)) {
      size_t made = 0;
      status = mpg123_read(handle_.get(), std::as_writable_bytes(out).data() + filled,
                           out.size_bytes() - filled, &made);
      filled += made;
    }
    if (status == MPG123_ERR) failure = fmt::format("{}.", mpg123_strerror(handle_.get()));
    return static_cast<int64_t>(filled / sizeof(float)) / format_.channels;
  }

  std::unique_ptr<mpg123_handle, DeleteHandle> handle_;
};

}  // namespace

std::unique_ptr<SampleDecoder> open_mpeg(std::FILE* file, const std::string& name) {
  const Head head = first_frame(file);
  if (!is_mpeg_header(head)) return nullptr;
  return std::make_unique<MpegDecoder>(file, name, has_length(head));
}

}  // namespace slim
