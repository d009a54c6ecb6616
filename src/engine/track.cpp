// Cutting at pauses, and putting what was heard in order.
#include "engine/track.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace slim {
namespace {

constexpr int64_t kAround = 10;  // frames

}  // namespace

int64_t quietest(std::span<const float> mel, int64_t bins, Clip range, int64_t around) {
  const int64_t frames = std::ssize(mel) / bins;
  std::vector<double> before(static_cast<size_t>(frames) + 1);  // sums of all frames before
  for (int64_t frame = 0; frame < frames; ++frame) {
    double sum = 0;
    for (const float bin :
         mel.subspan(static_cast<size_t>(frame * bins), static_cast<size_t>(bins)))
      sum += double{bin};
    before[static_cast<size_t>(frame) + 1] = before[static_cast<size_t>(frame)] + sum;
  }
  int64_t best = range.begin;
  double least = 0;
  for (int64_t frame = range.begin; frame < range.end; ++frame) {
    const int64_t from = std::max<int64_t>(0, frame - around);
    const int64_t to = std::min(frames, frame + around);
    const double sum = before[static_cast<size_t>(to)] - before[static_cast<size_t>(from)];
    const double mean = sum / static_cast<double>(to - from);
    if (frame > range.begin && mean > least) continue;
    best = frame;
    least = mean;
  }
  return best;
}

Track::Track(Origin origin, std::unique_ptr<AudioReader> audio, int64_t bins,
             const TranscriptionSetting& setting, float loudest)
    : origin_(origin),
      chunked_(setting.chunked()),
      by_stretch_(setting.tokens->plain()),
      window_(setting.window_frames),
      whole_(std::move(audio), bins, setting, loudest),
      clips_(whole_.clips()) {}

void Track::set_language(int32_t id, const std::string& code, double probability) {
  whole_.set_language(id, code, probability);
  for (Chunk& chunk : chunks_) {
    if (chunk.recording) chunk.recording->set_language(id, code, probability);
  }
}

int64_t Track::end_of_chunk(Clip clip, std::span<const float> mel) {
  if (!by_stretch_ && clip.end - clip.begin <= window_) return clip.end;
  int64_t end = 0;
  int64_t joint = 0;  // frames kept before the stretch
  for (const Stretch& stretch : whole_.frames().map().stretches()) {
    joint += stretch.frames();
    if (joint > clip.begin + window_) break;
    end = joint;
    if (by_stretch_ && end > clip.begin) break;
  }
  if (end > clip.begin) return std::min(end, clip.end);
  const int64_t around = std::min(kAround, window_ / 6);
  return clip.begin +
         quietest(mel, whole_.frames().bins(), {window_ - window_ / 3, window_ - around}, around);
}

Recording* Track::next_chunk() {
  SpeechFrames& frames = whole_.frames();
  while (!clips_.empty()) {
    Clip& clip = clips_.back();
    if (clip.begin >= clip.end) {
      clips_.pop_back();
      continue;
    }
    std::vector<float> mel(
        static_cast<size_t>(std::min(window_, clip.end - clip.begin) * frames.bins()));
    frames.read(clip.begin, std::ssize(mel) / frames.bins(), mel);
    const Clip taken{clip.begin, end_of_chunk(clip, mel)};
    mel.resize(static_cast<size_t>((taken.end - taken.begin) * frames.bins()));
    clip.begin = taken.end;
    auto recording = std::make_unique<Recording>(whole_, taken, std::move(mel), first_);
    if (!recording->next_window()) continue;
    first_ = false;
    chunks_.push_back({std::move(recording)});
    return chunks_.back().recording.get();
  }
  return nullptr;
}

Recording* Track::next() {
  if (begun_all_) return nullptr;
  if (chunked_) {
    Recording* const chunk = next_chunk();
    begun_all_ = chunk == nullptr;
    return chunk;
  }
  begun_all_ = true;
  if (!whole_.next_window()) return nullptr;
  chunks_.push_back({});
  return &whole_;
}

Transcription Track::take() {
  for (const Chunk& one : chunks_) {
    if (one.recording) whole_.append(*one.recording);
  }
  chunks_.clear();
  return whole_.take();
}

void Track::finish(const Recording* chunk) {
  for (Chunk& one : chunks_) {
    if (one.recording.get() == chunk || chunk == &whole_) one.done = true;
  }
  while (!chunks_.empty() && chunks_.front().done) {
    if (chunks_.front().recording) whole_.append(*chunks_.front().recording);
    chunks_.pop_front();
  }
}

}  // namespace slim
