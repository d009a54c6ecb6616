// Reading across stretches.
#include "audio/speech_frames.h"

#include <algorithm>

#include "audio/speech_probability.h"

namespace slim {
namespace {

TimeMap map_of(MelStream& mel, const std::optional<SpeechRules>& rules) {
  if (mel.frames() == 0) return TimeMap({});
  if (!rules) return TimeMap({{0, mel.frames(), 0, mel.frames()}});
  SpeechCutter cutter(*rules);
  for_speech_probabilities(mel, [&](double probability) { cutter.push(probability); });
  return TimeMap(cutter.finish());
}

}  // namespace

SpeechFrames::SpeechFrames(std::unique_ptr<AudioReader> audio, int64_t bins,
                           const std::optional<SpeechRules>& rules, float loudest,
                           bool keep_samples)
    : mel_(std::move(audio), bins, loudest, keep_samples), map_(map_of(mel_, rules)) {}

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
