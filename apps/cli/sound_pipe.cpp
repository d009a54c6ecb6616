// read(2) as it comes; chunks until "data".
#include "sound_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "slim/error.h"

namespace slim::cli {
namespace {

constexpr uint32_t kRate = 16000;
constexpr uint32_t kMostChannels = 64;
constexpr size_t kMost = kRate / 2;  // frames of one read

uint32_t number(const unsigned char* bytes, int length) {
  uint32_t value = 0;
  for (int i = length - 1; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

SoundPipe::SoundPipe(const std::string& path, bool raw)
    : name_(path == "-" ? "standard input" : path),
      descriptor_(path == "-" ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (descriptor_ < 0) fail(std::string("It cannot be opened: ") + std::strerror(errno) + ".");
  if (!raw) read_header();
}

SoundPipe::~SoundPipe() {
  if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
}

void SoundPipe::fail(const std::string& sentence) const {
  throw Error(ErrorCode::bad_file, sentence, name_);
}

bool SoundPipe::fill(size_t bytes) {
  while (pending_.size() < bytes) {
    const size_t before = pending_.size();
    pending_.resize(bytes);
    const ssize_t got = ::read(descriptor_, pending_.data() + before, bytes - before);
    pending_.resize(before + static_cast<size_t>(std::max<ssize_t>(0, got)));
    if (got < 0 && errno != EINTR) {
      fail(std::string("It cannot be read: ") + std::strerror(errno) + ".");
    }
    if (got <= 0) return false;
  }
  return true;
}

void SoundPipe::read_format(const std::vector<unsigned char>& chunk) {
  if (chunk.size() < 16) fail("Its wav header is cut.");
  uint32_t kind = number(&chunk[0], 2);
  if (kind == 0xFFFE && chunk.size() >= 26) kind = number(&chunk[24], 2);
  const uint32_t bits = number(&chunk[14], 2);
  channels_ = number(&chunk[2], 2);
  floats_ = kind == 3;
  const bool known = (kind == 1 && bits == 16) || (kind == 3 && bits == 32);
  if (known && channels_ > 0 && channels_ <= kMostChannels && number(&chunk[4], 4) == kRate) return;
  if (channels_ > kMostChannels) fail("Its wav header has more than 64 channels.");
  fail("Live sound must be 16 kHz in s16 or f32: ffmpeg -i ... -ar 16000 -f wav - makes it so.");
}

void SoundPipe::read_header() {
  if (!fill(12)) {
    fail(pending_.empty() ? "It is empty: 0 bytes, not even a header." : "Its wav header is cut.");
  }
  if (std::memcmp(pending_.data(), "RIFF", 4) != 0 || std::memcmp(&pending_[8], "WAVE", 4) != 0) {
    fail("It is no wav; samples without a header need --raw.");
  }
  bool known = false;
  while (true) {
    pending_.clear();
    if (!fill(8)) fail("Its wav header is cut.");
    const std::string kind(pending_.begin(), pending_.begin() + 4);
    const uint32_t size = number(&pending_[4], 4);
    if (kind == "data") {
      if (!known) fail("Its wav header does not say what the samples are.");
      // 0 and sizes near 2^31 and 2^32: whoever writes to a pipe does not know.
      if (size != 0 && size < 0x7FFF0000) left_ = size;
      pending_.clear();
      return;
    }
    constexpr uint32_t kLongest = 1 << 20;
    if (size > kLongest) fail("Its wav header is malformed.");
    pending_.clear();
    if (!fill(size + size % 2)) fail("Its wav header is cut.");
    if (kind != "fmt ") continue;
    read_format(pending_);
    known = true;
  }
}

std::vector<float> SoundPipe::read() {
  const auto channels = static_cast<size_t>(channels_);
  const size_t width = channels * (floats_ ? 4 : 2);
  while (pending_.size() < width) {
    const size_t before = pending_.size();
    const auto most = std::min<uint64_t>(kMost * width - before, left_);
    if (most == 0) break;
    pending_.resize(before + most);
    const ssize_t got = ::read(descriptor_, pending_.data() + before, most);
    pending_.resize(before + static_cast<size_t>(std::max<ssize_t>(0, got)));
    if (got < 0 && errno != EINTR) {
      fail(std::string("It cannot be read: ") + std::strerror(errno) + ".");
    }
    if (got <= 0) break;
    if (left_ != UINT64_MAX) left_ -= static_cast<uint64_t>(got);
  }
  std::vector<float> samples(pending_.size() / width);
  for (size_t frame = 0; frame < samples.size(); ++frame) {
    double sum = 0;
    for (size_t channel = 0; channel < channels; ++channel) {
      const unsigned char* at = &pending_[frame * width + channel * (floats_ ? 4 : 2)];
      sum += floats_ ? double{std::bit_cast<float>(number(at, 4))}
                     : static_cast<double>(static_cast<int16_t>(number(at, 2))) / 32768;
    }
    samples[frame] = static_cast<float>(sum / static_cast<double>(channels));
    if (!std::isfinite(samples[frame])) {
      const auto before = static_cast<double>(frames_ + static_cast<int64_t>(frame));
      fail("The sample at " + std::to_string(before / kRate) +
           " s is infinite or no number, which is not sound.");
    }
  }
  frames_ += static_cast<int64_t>(samples.size());
  pending_.erase(pending_.begin(),
                 pending_.begin() + static_cast<ptrdiff_t>(samples.size() * width));
  return samples;
}

}  // namespace slim::cli
