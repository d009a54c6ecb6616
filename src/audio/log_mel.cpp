// MelStream. Frame t is the spectrum of samples [160 t - 200, 160 t + 200) under a periodic Hann
// window w(i) = (1 - cos(2 pi i / 400)) / 2, where sample -i is sample i and samples from the
// recording's end on are 0; its bins are
//   (max(log10(max(filter . |spectrum|^2, 1e-10)), maximum - 8) + 4) / 4.
#include "audio/log_mel.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <kissfft/kissfft.hh>
#include <numbers>
#include <utility>

#include "audio/mel_filters.h"
#include "base/check.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr size_t kWindow = 400;
constexpr size_t kHalf = kWindow / 2;
constexpr size_t kStep = kHop;
constexpr size_t kPiece = 16000;  // samples held beside a window: 64 KB
// log10 of the power spectrum's floor; of every bin of the silence after a recording.
constexpr float kSilence = -10;
constexpr float kRange = 8;
// Frames kept behind the newest: a window starts inside the one before it, so 30 s would do. With
// 60 s (1.9 MB at 80 bins) a recording of up to a minute is still there after the first reading
// and needs no second.
constexpr int64_t kKept = 2 * kWindowFrames;

// A window's samples to log10 of its mel bins.
class Spectrum {
 public:
  explicit Spectrum(int64_t bins) : filters_(mel_filters(bins)) {
    for (size_t i = 0; i < kWindow; ++i) {
      hann_[i] = (1 - std::cos(2 * std::numbers::pi * static_cast<double>(i) / kWindow)) / 2;
    }
  }

  void compute(std::span<const float, kWindow> samples, std::span<float> out) {
    for (size_t i = 0; i < kWindow; ++i) windowed_[i] = hann_[i] * double{samples[i]};
    fourier_.transform_real(windowed_.data(), spectrum_.data());
    // The transform puts the two real ends, frequencies 0 and 200, into its first value.
    power_[0] = spectrum_[0].real() * spectrum_[0].real();
    power_[kHalf] = spectrum_[0].imag() * spectrum_[0].imag();
    for (size_t i = 1; i < kHalf; ++i) power_[i] = std::norm(spectrum_[i]);
    for (size_t bin = 0; bin < filters_.size(); ++bin) {
      const MelFilter& filter = filters_[bin];
      double sum = 0;
      for (size_t i = 0; i < filter.weights.size(); ++i) {
        sum += double{filter.weights[i]} * power_[filter.first + i];
      }
      out[bin] = std::log10(std::max(static_cast<float>(sum), 1e-10F));
    }
  }

 private:
  std::vector<MelFilter> filters_;
  // In f64: at 1.6 us a transform no slower than f32 (1.7 us), and bins 80 dB below a loud
  // neighbour keep their digits. The transform of 400 real values is one of 200 complex ones.
  kissfft<double> fourier_{kHalf, false};
  std::array<double, kWindow> hann_;
  std::array<double, kWindow> windowed_;
  std::array<std::complex<double>, kHalf> spectrum_;
  std::array<double, kHalf + 1> power_;
};

// The frames of a recording, one after another, in a buffer of one piece; and, if they are kept,
// the samples of the last kKept of them and of those to come.
class FrameReader {
 public:
  FrameReader(std::unique_ptr<AudioReader> audio, int64_t bins, bool keep_samples,
              MelStream::Hear hear)
      : audio_(std::move(audio)),
        hear_(std::move(hear)),
        spectrum_(bins),
        buffer_(kPiece + kWindow),
        kept_(keep_samples ? kKept * kStep + buffer_.size() : 0) {
    start();
  }

  void rewind() {
    audio_->rewind();
    start();
  }

  // Writes the next frame; false after the last one that has a sample of the recording in it.
  bool next(std::span<float> out) {
    if (end_ - begin_ < kWindow) fill();
    if (ended_ && first_sample_ >= samples_) return false;
    spectrum_.compute(std::span(buffer_).subspan(begin_).first<kWindow>(), out);
    begin_ += kStep;
    first_sample_ += kHop;
    return true;
  }

  // Samples read so far: all of them once next() has returned false.
  int64_t samples() const { return samples_; }
  float kept(int64_t sample) const { return kept_[static_cast<size_t>(sample) % kept_.size()]; }
  const std::string& name() const { return audio_->name(); }

 private:
  void start() {
    samples_ = 0;
    ended_ = false;
    first_sample_ = -static_cast<int64_t>(kHalf);
    begin_ = 0;
    end_ = kHalf;
    fill();
    for (size_t i = 1; i <= kHalf; ++i) buffer_[kHalf - i] = buffer_[kHalf + i];
  }

  // Moves what is left to the front and reads on, or appends zeros where the recording has ended.
  // There is one sample more than a window: the reflection at the start reaches sample 200.
  void fill() {
    std::copy(buffer_.begin() + static_cast<ptrdiff_t>(begin_),
              buffer_.begin() + static_cast<ptrdiff_t>(end_), buffer_.begin());
    end_ -= begin_;
    begin_ = 0;
    while (end_ <= kWindow && !ended_) {
      const int64_t count = audio_->read(std::span(buffer_).subspan(end_));
      const auto read = std::span(buffer_).subspan(end_, static_cast<size_t>(count));
      if (!kept_.empty()) keep(read);
      if (hear_ && !read.empty()) hear_(read);
      samples_ += count;
      end_ += static_cast<size_t>(count);
      ended_ = count == 0;
      if (ended_) hear_ = {};
    }
    if (end_ > kWindow) return;
    std::fill(buffer_.begin() + static_cast<ptrdiff_t>(end_), buffer_.end(), 0.0F);
    end_ = buffer_.size();
  }

  void keep(std::span<const float> samples) {
    auto slot = static_cast<size_t>(samples_) % kept_.size();
    for (const float sample : samples) {
      kept_[slot] = sample;
      slot = slot + 1 == kept_.size() ? 0 : slot + 1;
    }
  }

  std::unique_ptr<AudioReader> audio_;
  MelStream::Hear hear_;  // in the first reading
  Spectrum spectrum_;
  std::vector<float> buffer_;
  std::vector<float> kept_;   // sample s at slot s % its size
  size_t begin_ = 0;          // in buffer_, of the next frame
  size_t end_ = 0;            // in buffer_, of what has been read
  int64_t first_sample_ = 0;  // of the next frame, in the recording
  int64_t samples_ = 0;
  bool ended_ = false;
};

}  // namespace

struct MelStream::State {
  State(std::unique_ptr<AudioReader> audio, int64_t bin_count, bool keep_samples, Hear hear)
      : bins(bin_count),
        reader(std::move(audio), bin_count, keep_samples, std::move(hear)),
        kept(static_cast<size_t>(kKept * bin_count)) {}

  std::span<float> slot(int64_t frame) {
    return std::span(kept).subspan(static_cast<size_t>(frame % kKept * bins),
                                   static_cast<size_t>(bins));
  }

  // The log10 bins of a frame below frames().
  std::span<const float> frame(int64_t index) {
    if (index < computed - kKept || index >= computed) compute_to(index);
    return slot(index);
  }

  // Reads on, or starts over where the frame lies behind.
  void compute_to(int64_t index) {
    const bool starts_over = std::exchange(failed, true) || index < computed;
    if (starts_over) {
      reader.rewind();
      computed = 0;
    }
    for (; computed <= index; ++computed) {
      if (!reader.next(slot(computed))) {
        throw Error(ErrorCode::bad_file, "It became shorter while it was being read.",
                    reader.name());
      }
    }
    failed = false;
  }

  const int64_t bins;
  FrameReader reader;
  std::vector<float> kept;  // frame t at slot t % kKept, for t in [computed - kKept, computed)
  int64_t computed = 0;     // frames, in the current reading
  bool failed = false;      // the current reading, by throwing: no more can be read in it
  int64_t samples = 0;
  float maximum = kSilence;  // the 30 s of zeros that follow count
};

MelStream::MelStream(std::unique_ptr<AudioReader> audio, int64_t bins, float loudest,
                     bool keep_samples, Hear hear) {
  check(bins == 80 || bins == 128, "there are 80 or 128 mel bins");
  state_ = std::make_unique<State>(std::move(audio), bins, keep_samples, std::move(hear));
  State& state = *state_;
  state.maximum = std::max(state.maximum, loudest * 4 - 4);
  for (; state.reader.next(state.slot(state.computed)); ++state.computed) {
    const auto values = state.slot(state.computed);
    state.maximum = std::max(state.maximum, *std::max_element(values.begin(), values.end()));
  }
  state.samples = state.reader.samples();
}

MelStream::~MelStream() = default;

int64_t MelStream::samples() const noexcept { return state_->samples; }
int64_t MelStream::frames() const noexcept { return state_->samples / kHop; }
int64_t MelStream::bins() const noexcept { return state_->bins; }
float MelStream::loudest() const noexcept { return (state_->maximum + 4) / 4; }

void MelStream::read(int64_t first, int64_t count, std::span<float> out) {
  const auto bins = static_cast<size_t>(state_->bins);
  check(first >= 0 && count >= 0, "frames are counted from 0");
  check(out.size() == static_cast<size_t>(count) * bins, "out has room for the frames asked for");
  const int64_t content = std::clamp<int64_t>(frames() - first, 0, count);
  const float floor = state_->maximum - kRange;
  for (int64_t i = 0; i < content; ++i) {
    const auto frame = state_->frame(first + i);
    const auto scaled = [floor](float value) { return (std::max(value, floor) + 4) / 4; };
    std::transform(frame.begin(), frame.end(), out.begin() + i * state_->bins, scaled);
  }
  std::fill(out.begin() + content * state_->bins, out.end(), 0.0F);
}

void MelStream::read_samples(int64_t begin, int64_t end, std::vector<float>& out) {
  check(begin >= 0 && begin <= end && end <= samples(), "samples of the recording are read");
  if (begin == end) return;
  const int64_t last = (end - 1) / kHop;
  check(last - begin / kHop <= kWindowFrames, "a window of samples is read");
  state_->frame(begin / kHop);
  state_->frame(last);  // whose spectrum takes 40 samples more
  out.reserve(out.size() + static_cast<size_t>(end - begin));
  for (int64_t sample = begin; sample < end; ++sample) out.push_back(state_->reader.kept(sample));
}

}  // namespace slim
