// AudioReader over samples in memory and over files. A file is decoded in blocks of fixed
// size, mixed down (the mean of the channels), checked, and resampled where its rate is not 16 kHz;
// what comes out does not depend on the sizes in which it is asked for.
#include "audio/audio_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "audio/audio_source.h"
#include "audio/resampler.h"
#include "audio/sample_decoder.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int kLowestRate = 1000;
constexpr int kHighestRate = 768000;
constexpr int64_t kBlockValues = 65536;  // frames times channels: 256 KiB

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
  // `channel`: the one that counts; none: the mean of all.
  FileReader(SeekableFile file, std::string name, std::optional<int64_t> channel = {})
      : AudioReader(std::move(name)), file_(std::move(file)), channel_(channel) {
    rewind();
  }
  int64_t channels() const { return decoder_->format().channels; }
  // Another one of the same file.
  std::unique_ptr<FileReader> channel(const std::string& path, int64_t channel) {
    auto other = std::make_unique<FileReader>(open_again(path, file_.get()), name(), channel);
    rewind();  // the file may have been read for a copy
    return other;
  }
  int64_t read(std::span<float> out) override;
  void rewind() override;
  int64_t expected_samples() const override;

 private:
  bool fill_block();
  void mix_down(size_t frames);

  SeekableFile file_;
  std::optional<int64_t> channel_;
  std::unique_ptr<SampleDecoder> decoder_;  // reads from file_
  std::optional<Resampler> resampler_;      // none at 16 kHz
  std::vector<float> block_;                // decoded, channels interleaved
  std::vector<float> mono_;                 // of block_
  std::span<const float> pending_;          // of mono_: not yet resampled
  int64_t decoded_ = 0;                     // frames so far
  bool ended_ = false;
};

// Opens the decoder anew instead of seeking in it: not every format seeks, and lossy ones do not
// come back to the very same samples.
void FileReader::rewind() {
  decoder_.reset();
  decoder_ = SampleDecoder::open(file_.get(), name());
  const SampleFormat& format = decoder_->format();
  if (format.rate < kLowestRate || format.rate > kHighestRate) {
    throw Error(ErrorCode::bad_file,
                fmt::format("Its rate is {} Hz; {} to {} Hz can be read.", format.rate, kLowestRate,
                            kHighestRate),
                name());
  }
  resampler_.reset();
  if (format.rate != kSampleRate) {
    resampler_.emplace(static_cast<double>(format.rate), kSampleRate);
  }
  const int64_t frames = std::max<int64_t>(1, kBlockValues / format.channels);
  block_.resize(static_cast<size_t>(frames * format.channels));
  mono_.resize(static_cast<size_t>(frames));
  pending_ = {};
  decoded_ = 0;
  ended_ = false;
}

int64_t FileReader::expected_samples() const {
  const SampleFormat& format = decoder_->format();
  if (format.frames < 0) return -1;
  return format.frames / format.rate * kSampleRate +
         (format.frames % format.rate * kSampleRate + format.rate / 2) / format.rate;
}

void FileReader::mix_down(size_t frames) {
  const auto channels = static_cast<size_t>(decoder_->format().channels);
  if (channel_) {
    const auto own = static_cast<size_t>(*channel_);
    for (size_t frame = 0; frame < frames; ++frame) mono_[frame] = block_[frame * channels + own];
    return;
  }
  for (size_t frame = 0; frame < frames; ++frame) {
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
  const int64_t got = decoder_->read(block_);
  mix_down(static_cast<size_t>(got));
  pending_ = std::span<const float>(mono_).first(static_cast<size_t>(got));
  check_samples(pending_, decoded_, static_cast<double>(decoder_->format().rate), name());
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

std::vector<std::unique_ptr<AudioReader>> AudioReader::open_channels(const std::string& path) {
  auto first =
      std::make_unique<FileReader>(open_seekable(path), path == "-" ? "standard input" : path, 0);
  constexpr int64_t kMost = 64;  // each is read on its own
  if (first->channels() > kMost) {
    throw Error(ErrorCode::bad_request,
                "The audio has " + std::to_string(first->channels()) +
                    " channels; they can be transcribed apart up to " + std::to_string(kMost) + ".",
                path);
  }
  std::vector<std::unique_ptr<AudioReader>> all(1);
  for (int64_t i = 1; i < first->channels(); ++i) all.push_back(first->channel(path, i));
  all.front() = std::move(first);
  return all;
}

std::unique_ptr<AudioReader> AudioReader::from_samples(std::span<const float> samples,
                                                       std::string name) {
  return std::make_unique<SampleReader>(samples, std::move(name));
}

}  // namespace slim
