// SampleDecoder over libsndfile.
#include <fcntl.h>
#include <fmt/format.h>
#include <sndfile.h>
#include <unistd.h>

#include <mutex>

#include "audio/audio_source.h"
#include "audio/sample_decoder.h"

namespace slim {
namespace {

constexpr int64_t kMostFrames = int64_t{1} << 48;  // above: libsndfile's sign for "not known"

struct CloseSound {
  void operator()(SNDFILE* sound) const noexcept { sf_close(sound); }
};

class SndfileDecoder final : public SampleDecoder {
 public:
  SndfileDecoder(std::FILE* file, const std::string& name) : SampleDecoder(name) {
    SF_INFO info = {};
    if (::lseek(::fileno(file), 0, SEEK_SET) != 0) fail("It cannot be read from its start.");
    // A descriptor of its own: where it fails to open, libsndfile 1.2 closes the one it was given,
    // asked to or not, and closing that again would hit whatever another thread opened meanwhile.
    const int descriptor = ::fcntl(::fileno(file), F_DUPFD_CLOEXEC, 0);
    if (descriptor < 0) fail("It cannot be opened: there are too many open files.");
    {
      // libsndfile keeps the reason why a file did not open in global variables.
      static std::mutex opening;
      const std::lock_guard lock(opening);
      sound_.reset(sf_open_fd(descriptor, SFM_READ, &info, SF_TRUE));
      if (!sound_) fail(fmt::format("It is not audio that can be read: {}", sf_strerror(nullptr)));
    }
    format_ = {.rate = info.samplerate, .channels = info.channels};
    if (info.frames >= 0 && info.frames <= kMostFrames) format_.frames = info.frames;
    if (const auto bytes = promised_bytes(file)) check_promise(*bytes);
  }

 private:
  // libsndfile clips frames to what the file holds of its audio chunk; compares with its header.
  void check_promise(const PromisedBytes& bytes) const {
    if (bytes.held >= bytes.promised) return;
    if (format_.frames <= 0) fail("It ends before its first sample.");
    const auto held = static_cast<double>(bytes.held);
    const auto promised = static_cast<double>(bytes.promised);
    // A missing byte of padding is not a missing frame.
    if (promised - held < held / static_cast<double>(format_.frames)) return;
    const double end = seconds(format_.frames);
    fail(fmt::format("It ends early, at {:.4g} s of {:.4g} s.", end, end * promised / held));
  }

  int64_t decode(std::span<float> out, std::string& failure) override {
    const int64_t wanted = static_cast<int64_t>(out.size()) / format_.channels;
    const int64_t got = sf_readf_float(sound_.get(), out.data(), wanted);
    if (got < wanted && sf_error(sound_.get()) != SF_ERR_NO_ERROR) {
      failure = sf_strerror(sound_.get());
    }
    return got;
  }

  std::unique_ptr<SNDFILE, CloseSound> sound_;
};

}  // namespace

std::unique_ptr<SampleDecoder> open_sndfile(std::FILE* file, const std::string& name) {
  return std::make_unique<SndfileDecoder>(file, name);
}

}  // namespace slim
