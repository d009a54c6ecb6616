// Reading across stretches.
#include "audio/speech_frames.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "audio/speech_probability.h"

namespace slim {
namespace {

// In frames, to the nearest.
std::vector<Stretch> in_frames(const std::vector<Stretch>& samples, int64_t frames) {
  const auto frame = [&](int64_t sample) { return std::min(frames, (sample + kHop / 2) / kHop); };
  std::vector<Stretch> stretches;
  for (const Stretch& one : samples) {
    stretches.push_back(
        {frame(one.begin), frame(one.end), frame(one.speech_begin), frame(one.speech_end)});
    if (stretches.back().frames() == 0) stretches.pop_back();
  }
  return stretches;
}

}  // namespace

// The stretches of a recording: of what is heard while it is read, or by its energy.
class SpeechFrames::Search {
 public:
  explicit Search(const SpeechFilter& filter)
      : cutter_(filter.rules, filter.step()),
        listener_(filter.detector ? filter.detector->listen() : nullptr),
        push_([this](double probability) { cutter_.push(probability); }) {}

  MelStream::Hear hear() {
    if (!listener_) return {};
    return [this](std::span<const float> samples) { listener_->hear(samples, push_); };
  }
  // Of the recording, once it has been read.
  TimeMap map(MelStream& mel) {
    listener_ ? listener_->finish(push_) : for_speech_probabilities(mel, push_);
    return TimeMap(in_frames(cutter_.finish(mel.samples()), mel.frames()));
  }

 private:
  SpeechCutter cutter_;
  std::unique_ptr<SpeechDetector::Listener> listener_;
  std::function<void(double)> push_;
};

SpeechFrames::SpeechFrames(std::unique_ptr<AudioReader> audio, int64_t bins,
                           const std::optional<SpeechFilter>& filter, float loudest,
                           bool keep_samples)
    : SpeechFrames(std::move(audio), bins,
                   filter ? std::make_unique<Search>(*filter) : std::unique_ptr<Search>(), loudest,
                   keep_samples) {}

SpeechFrames::SpeechFrames(std::unique_ptr<AudioReader> audio, int64_t bins,
                           std::unique_ptr<Search> search, float loudest, bool keep_samples)
    : mel_(std::move(audio), bins, loudest, keep_samples,
           search ? search->hear() : MelStream::Hear()),
      map_({}) {
  if (mel_.frames() == 0) return;
  map_ = search ? search->map(mel_) : TimeMap({{0, mel_.frames(), 0, mel_.frames()}});
}

void SpeechFrames::read(int64_t first, int64_t count, std::span<float> out) {
  if (map_.stretches().size() == 1) {
    const Stretch& only = map_.stretches().front();
    const int64_t content = std::clamp<int64_t>(only.frames() - first, 0, count);
    mel_.read(only.begin + first, content, out.first(static_cast<size_t>(content * bins())));
    std::fill(out.begin() + content * bins(), out.end(), 0.0F);
    return;
  }
  const int64_t kept_end = kept_first_ + std::ssize(kept_) / bins();
  int64_t known = 0;
  if (first >= kept_first_ && first < kept_end) {
    known = std::min(count, kept_end - first);
    const auto from = kept_.begin() + (first - kept_first_) * bins();
    std::copy(from, from + known * bins(), out.begin());
  }
  read_stretches(first + known, count - known, out.subspan(static_cast<size_t>(known * bins())));
  kept_.assign(out.begin(), out.end());
  kept_first_ = first;
}

std::vector<float> SpeechFrames::samples_of(int64_t first, int64_t count) {
  std::vector<float> samples;
  int64_t before = 0;  // kept frames before the stretch
  for (const Stretch& stretch : map_.stretches()) {
    const int64_t from = stretch.begin + std::max<int64_t>(0, first - before);
    const int64_t to = std::min(stretch.end, stretch.begin + first + count - before);
    before += stretch.frames();
    if (from >= to) continue;
    mel_.read_samples(from * kHop, to == mel_.frames() ? mel_.samples() : to * kHop, samples);
  }
  return samples;
}

void SpeechFrames::read_stretches(int64_t first, int64_t count, std::span<float> out) {
  int64_t before = 0;  // kept frames before the stretch
  int64_t done = 0;
  for (const Stretch& stretch : map_.stretches()) {
    const int64_t inside = first + done - before;
    const int64_t here = std::min(stretch.frames() - inside, count - done);
    before += stretch.frames();
    if (here <= 0) continue;
    mel_.read(stretch.begin + inside, here,
              out.subspan(static_cast<size_t>(done * bins()), static_cast<size_t>(here * bins())));
    done += here;
  }
  std::fill(out.begin() + done * bins(), out.end(), 0.0F);
}

}  // namespace slim
