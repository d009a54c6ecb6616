// AudioReader over samples in memory and over libsndfile. A file is decoded in blocks of fixed
// size, mixed down (the mean of the channels), checked, and resampled where its rate is not 16 kHz;
// what comes out does not depend on the sizes in which it is asked for.
#include "audio/audio_reader.h"

#include <fmt/format.h>
#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>
#include <vector>

#include "audio/audio_source.h"
#include "audio/resampler.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int kLowestRate = 1000;
constexpr int kHighestRate = 768000;
constexpr int64_t kBlockValues = 65536;            // frames times channels: 256 KiB
constexpr int64_t kMostFrames = int64_t{1} << 48;  // above: a header that does not know
// Loudest sample taken for audio. Full scale is 1, or 2^31 in f32 files that hold plain integers;
// from about 1e16 on the power spectrum leaves f32.
constexpr float kLoudest = 1e10F;

// Seconds with what precision people read: 3.2 s of 10 s.
std::string seconds(double value) { return fmt::format("{:.4g} s", value); }

// Throws at the first sample that is not a number, infinite or absurd. `first` is the index of
// samples[0] in the file.
void check_samples(std::span<const float> samples, int64_t first, double rate,
                   const std::string& name) {
  // The comparison is false for NaN.
  const auto is_sound = [](float sample) { return std::abs(sample) <= kLoudest; };
  const auto bad = std::find_if_not(samples.begin(), samples.end(), is_sound);
  if (bad == samples.end()) return;
  const double time = static_cast<double>(first + (bad - samples.begin())) / rate;
  throw Error(ErrorCode::bad_file,
              fmt::format("The sample at {} is {}, which is not sound.", seconds(time), *bad),
              name);
}

class SampleReader final : public AudioReader {
 public:
  SampleReader(std::span<const float> samples, std::string name)
      : AudioReader(std::move(name)), samples_(samples.begin(), samples.end()) {}

  int64_t read(std::span<float> out) override {
    const size_t count = std::min(out.size(), samples_.size() - position_);
    const auto piece = std::span<const float>(samples_).subspan(position_, count);
    check_samples(piece, static_cast<int64_t>(position_), kSampleRate, name());
    std::copy(piece.begin(), piece.end(), out.begin());
    position_ += count;
    return static_cast<int64_t>(count);
  }
  void rewind() override { position_ = 0; }
  int64_t expected_samples() const override { return static_cast<int64_t>(samples_.size()); }

 private:
  std::vector<float> samples_;
  size_t position_ = 0;
};

class FileReader final : public AudioReader {
 public:
  FileReader(SeekableFile file, std::string name);
  int64_t read(std::span<float> out) override;
  void rewind() override { start(); }
  int64_t expected_samples() const override;

 private:
  struct CloseSound {
    void operator()(SNDFILE* sound) const noexcept { sf_close(sound); }
  };

  void start();
  void check_header() const;
  void check_end(int64_t got) const;
  void mix_down(int64_t frames);
  bool fill_block();
  [[noreturn]] void fail(std::string text) const {
    throw Error(ErrorCode::bad_file, std::move(text), name());
  }
  bool knows_length() const { return info_.frames >= 0 && info_.frames <= kMostFrames; }
  double time(int64_t frame) const { return static_cast<double>(frame) / info_.samplerate; }

  SeekableFile file_;
  SF_INFO info_ = {};
  std::unique_ptr<SNDFILE, CloseSound> sound_;  // reads from file_
  std::optional<Resampler> resampler_;          // none at 16 kHz
  std::vector<float> block_;                    // decoded, channels interleaved
  std::vector<float> mono_;                     // of block_
  std::span<const float> pending_;              // of mono_: not yet resampled
  int64_t decoded_ = 0;                         // frames so far
  bool ended_ = false;
};

FileReader::FileReader(SeekableFile file, std::string name)
    : AudioReader(std::move(name)), file_(std::move(file)) {
  start();
  check_header();
}

// Opens the decoder anew instead of seeking in it: not every format seeks, and lossy ones do not
// come back to the very same samples.
void FileReader::start() {
  sound_.reset();
  if (::lseek(::fileno(file_.get()), 0, SEEK_SET) != 0) fail("It cannot be read from its start.");
  info_ = {};
  {
    // libsndfile keeps the reason why a file did not open in global variables.
    static std::mutex opening;
    const std::lock_guard lock(opening);
    sound_.reset(sf_open_fd(::fileno(file_.get()), SFM_READ, &info_, SF_FALSE));
    if (!sound_) {
      fail(fmt::format("It is not audio that libsndfile can read: {}", sf_strerror(nullptr)));
    }
  }
  if (info_.samplerate < kLowestRate || info_.samplerate > kHighestRate) {
    fail(fmt::format("Its rate is {} Hz; {} to {} Hz can be read.", info_.samplerate, kLowestRate,
                     kHighestRate));
  }
  resampler_.reset();
  if (info_.samplerate != kSampleRate) resampler_.emplace(info_.samplerate, kSampleRate);
  const int64_t frames = std::max<int64_t>(1, kBlockValues / info_.channels);
  block_.resize(static_cast<size_t>(frames * info_.channels));
  mono_.resize(static_cast<size_t>(frames));
  pending_ = {};
  decoded_ = 0;
  ended_ = false;
}

void FileReader::check_header() const {
  const auto bytes = promised_bytes(file_.get());
  if (!bytes || bytes->held >= bytes->promised) return;
  if (info_.frames <= 0) fail("It ends before its first sample.");
  const double bytes_per_frame =
      static_cast<double>(bytes->held) / static_cast<double>(info_.frames);
  // A missing byte of padding is not a missing frame.
  if (static_cast<double>(bytes->promised - bytes->held) < bytes_per_frame) return;
  const double whole =
      time(info_.frames) * static_cast<double>(bytes->promised) / static_cast<double>(bytes->held);
  fail(fmt::format("It ends early, at {} of {}.", seconds(time(info_.frames)), seconds(whole)));
}

int64_t FileReader::expected_samples() const {
  if (!knows_length()) return -1;
  const int64_t rate = info_.samplerate;
  return info_.frames / rate * kSampleRate + (info_.frames % rate * kSampleRate + rate / 2) / rate;
}

// Called where a block came out shorter than asked.
void FileReader::check_end(int64_t got) const {
  const int64_t end = decoded_ + got;
  const bool early = knows_length() && end < info_.frames;
  if (sf_error(sound_.get()) != SF_ERR_NO_ERROR) {
    fail(fmt::format("It cannot be decoded at {}: {}", seconds(time(end)),
                     sf_strerror(sound_.get())));
  }
  if (early) {
    fail(fmt::format("It ends early, at {} of {}.", seconds(time(end)),
                     seconds(time(info_.frames))));
  }
}

void FileReader::mix_down(int64_t frames) {
  const auto channels = static_cast<size_t>(info_.channels);
  for (size_t frame = 0; frame < static_cast<size_t>(frames); ++frame) {
    // In f64: a sum of finite f32 stays finite, so that only bad samples look bad.
    double sum = 0;
    for (size_t channel = 0; channel < channels; ++channel) {
      sum += double{block_[frame * channels + channel]};
    }
    mono_[frame] = static_cast<float>(sum / static_cast<double>(channels));
  }
}

// Decodes the next block to pending_; false at the end.
bool FileReader::fill_block() {
  const auto wanted = static_cast<int64_t>(mono_.size());
  const int64_t got = sf_readf_float(sound_.get(), block_.data(), wanted);
  if (got < wanted) check_end(got);
  mix_down(got);
  pending_ = std::span<const float>(mono_).first(static_cast<size_t>(got));
  check_samples(pending_, decoded_, info_.samplerate, name());
  decoded_ += got;
  return got > 0;
}

int64_t FileReader::read(std::span<float> out) {
  const size_t asked = out.size();
  while (!out.empty()) {
    if (pending_.empty() && !ended_) ended_ = !fill_block();
    Resampler::Progress step;
    if (!resampler_) {
      step.used = step.made = static_cast<int64_t>(std::min(out.size(), pending_.size()));
      std::copy_n(pending_.begin(), step.made, out.begin());
    } else if (ended_) {
      step.made = resampler_->finish(out);
    } else {
      step = resampler_->process(pending_, out);
    }
    pending_ = pending_.subspan(static_cast<size_t>(step.used));
    out = out.subspan(static_cast<size_t>(step.made));
    if (ended_ && step.made == 0) break;
  }
  return static_cast<int64_t>(asked - out.size());
}

}  // namespace

std::unique_ptr<AudioReader> AudioReader::open(const std::string& path) {
  return std::make_unique<FileReader>(open_seekable(path), path == "-" ? "standard input" : path);
}

std::unique_ptr<AudioReader> AudioReader::from_samples(std::span<const float> samples,
                                                       std::string name) {
  return std::make_unique<SampleReader>(samples, std::move(name));
}

}  // namespace slim
