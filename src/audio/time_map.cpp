// Looking up stretches.
#include "audio/time_map.h"

#include <algorithm>
#include <cmath>

#include "audio/log_mel.h"
#include "base/check.h"

namespace slim {
namespace {

// Seconds of speech that times may reach into a stretch without meaning it.
constexpr double kSlack = 0.25;

double seconds_of(int64_t frames) {
  return static_cast<double>(frames) / static_cast<double>(kFramesPerSecond);
}

}  // namespace

TimeMap::TimeMap(std::vector<Stretch> stretches) : stretches_(std::move(stretches)) {
  int64_t end = 0;
  for (const Stretch& stretch : stretches_) {
    check(stretch.begin >= end && stretch.end > stretch.begin, "stretches ascend");
    end = stretch.end;
    kept_.push_back(frames_);
    frames_ += stretch.frames();
  }
}

int64_t TimeMap::recording_frame(int64_t kept) const {
  if (stretches_.empty()) return kept;
  const auto after = std::upper_bound(kept_.begin(), kept_.end(), kept);
  const auto index = static_cast<size_t>(std::max<ptrdiff_t>(1, after - kept_.begin()) - 1);
  return kept - kept_[index] + stretches_[index].begin;
}

int64_t TimeMap::kept_before(int64_t frame) const {
  int64_t count = 0;
  for (const Stretch& stretch : stretches_) {
    count += std::clamp<int64_t>(frame - stretch.begin, 0, stretch.frames());
  }
  return count;
}

size_t TimeMap::stretch_at(double kept_seconds) const {
  size_t index = kept_.size() - 1;
  while (index > 0 && seconds_of(kept_[index]) > kept_seconds) --index;
  return index;
}

double TimeMap::overlap(size_t stretch, double start, double end) const {
  const Stretch& own = stretches_[stretch];
  const double begin = seconds_of(kept_[stretch] + own.speech_begin - own.begin);
  const double stop = seconds_of(kept_[stretch] + own.speech_end - own.begin);
  return std::min(end, stop) - std::max(start, begin);
}

bool TimeMap::meant(size_t stretch, double start, double end) const {
  const Stretch& own = stretches_[stretch];
  const double half = seconds_of(own.speech_end - own.speech_begin) / 2;
  return overlap(stretch, start, end) > std::min(kSlack, half);
}

double TimeMap::in_stretch(size_t stretch, double kept_seconds) const {
  const Stretch& own = stretches_[stretch];
  const int64_t distance = own.begin - kept_[stretch];
  if (distance == 0 && stretches_.size() == 1) return kept_seconds;
  const double seconds = std::round((kept_seconds + seconds_of(distance)) * 100) / 100;
  return std::clamp(seconds, seconds_of(own.begin), seconds_of(own.end));
}

TimeMap::Times TimeMap::times(double start, double end) const {
  if (stretches_.empty()) return {start, end};
  size_t first = stretch_at(start);
  size_t last = stretch_at(end);
  while (first < last && !meant(first, start, end)) ++first;
  while (first < last && !meant(last, start, end)) --last;
  return {in_stretch(first, start), in_stretch(last, end)};
}

TimeMap::Times TimeMap::times_in_one(double start, double end) const {
  if (stretches_.empty()) return {start, end};
  // Words are found to begin too early after a pause, where the one before ends, but to end well.
  const size_t first = stretch_at(start);
  size_t said = stretch_at(end);
  while (said > first && !meant(said, start, end)) --said;
  if (!meant(said, start, end)) said = stretch_at((start + end) / 2);
  return {in_stretch(said, start), in_stretch(said, end)};
}

}  // namespace slim
