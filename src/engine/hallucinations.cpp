// The scores are openai-whisper's.
#include "engine/hallucinations.h"

#include <algorithm>
#include <span>
#include <string_view>

namespace slim {
namespace {

constexpr std::string_view kMarks = "\"'“¿([{-\"'.。,，!！?？:：”)]}、";
constexpr size_t kWordsScored = 8;
constexpr double kNear = 2;  // seconds from a window's edge that count as silence

double score(const Word& word) {
  const double duration = word.end - word.start;
  double score = word.probability < 0.15 ? 1 : 0;
  if (duration < 0.133) score += (0.133 - duration) * 15;
  if (duration > 2) score += duration - 2;
  return score;
}

bool has_words(const Segment& segment) { return segment.words && !segment.words->empty(); }

bool seems_made_up(const Segment* segment) {
  if (segment == nullptr || !has_words(*segment)) return false;
  size_t count = 0;
  double sum = 0;
  for (const Word& word : *segment->words) {
    if (kMarks.find(word.word) != std::string_view::npos) continue;
    sum += score(word);
    if (++count == kWordsScored) break;
  }
  return sum >= 3 || sum + 0.01 >= static_cast<double>(count);
}

const Segment* next_with_words(std::span<const Segment> segments) {
  const auto found = std::find_if(segments.begin(), segments.end(), has_words);
  return found == segments.end() ? nullptr : &*found;
}

}  // namespace

std::optional<double> drop_hallucinations(std::vector<Segment>& segments,
                                          const WindowBounds& window, double threshold) {
  const Segment* const first = next_with_words(segments);
  if (seems_made_up(first) && first->start - window.begin > threshold) {
    const double begin = first->start;
    segments.clear();
    return begin;
  }
  double last_end = window.last_speech;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    if (!has_words(segment)) continue;
    if (seems_made_up(&segment)) {
      const Segment* const next = next_with_words(std::span(segments).subspan(i + 1));
      const double next_start = next != nullptr ? next->words->front().start : window.end;
      const bool silence_before = segment.start - last_end > threshold ||
                                  segment.start < threshold || segment.start - window.begin < kNear;
      const bool silence_after = next_start - segment.end > threshold || seems_made_up(next) ||
                                 window.full_end - segment.end < kNear;
      if (silence_before && silence_after) {
        const bool last = window.recording_end - segment.end < threshold;
        const double begin =
            last ? window.recording_end : std::max(window.begin + 1, segment.start);
        segments.resize(i);
        return begin;
      }
    }
    last_end = segment.end;
  }
  return std::nullopt;
}

}  // namespace slim
