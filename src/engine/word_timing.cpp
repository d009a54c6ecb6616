// The remedies, one after another.
#include "engine/word_timing.h"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace slim {
namespace {

constexpr double kLongestMedian = 0.7;
constexpr double kTolerance = 0.5;  // of a segment's timestamps against its words
constexpr std::string_view kSentenceEnds = ".。!！?？";

bool ends_sentence(const TimedWord& word) {
  return kSentenceEnds.find(word.text) != std::string_view::npos;
}

double rounded(double seconds) { return std::round(seconds * 100) / 100; }

// The first words after a pause.
void shorten_after_pause(std::vector<Word>& words, const WordDurations& durations,
                         double last_speech) {
  const double longest = durations.longest;
  Word& first = words.front();
  Word* const second = words.size() > 1 ? &words[1] : nullptr;
  if (first.end - last_speech <= durations.median * 4) return;
  const bool long_pair = second != nullptr && second->end - first.start > longest * 2;
  if (first.end - first.start <= longest && !long_pair) return;
  if (second != nullptr && second->end - second->start > longest) {
    first.end = second->start = std::max(second->end / 2, second->end - longest);
  }
  first.start = std::max(0.0, first.end - longest);
}

// Between what the words say and what the timestamps do.
void fit_to_segment(const Segment& segment, std::vector<Word>& words, double median) {
  Word& first = words.front();
  if (segment.start < first.end && segment.start - kTolerance > first.start) {
    first.start = std::max(0.0, std::min(first.end - median, segment.start));
  }
  Word& last = words.back();
  if (segment.end > last.start && segment.end + kTolerance < last.end) {
    last.end = std::max(last.start + median, segment.end);
  }
}

// Returns where its words end.
double make_ascend(Segment& segment, double from) {
  for (Word& word : *segment.words) {
    word.start = std::max(rounded(word.start), from);
    word.end = std::max(rounded(word.end), word.start);
    from = word.end;
  }
  if (!segment.words->empty()) {
    segment.start = segment.words->front().start;
    segment.end = segment.words->back().end;
  } else {
    segment.start = segment.end = from;  // what it says belongs to a word of the one before
  }
  return from;
}

}  // namespace

WordDurations measure_durations(std::span<const TimedWord> words) {
  std::vector<double> durations;
  for (const TimedWord& word : words) {
    if (word.end != word.start) durations.push_back(word.end - word.start);
  }
  if (durations.empty()) return {};
  std::sort(durations.begin(), durations.end());
  const size_t half = durations.size() / 2;
  const double middle =
      durations.size() % 2 == 1 ? durations[half] : (durations[half - 1] + durations[half]) / 2;
  const double median = std::min(kLongestMedian, middle);
  return {median, 2 * median};
}

void shorten_at_sentence_ends(std::span<TimedWord> words, const WordDurations& durations) {
  if (durations.median == 0) return;
  for (size_t i = 1; i < words.size(); ++i) {
    TimedWord& word = words[i];
    if (word.end - word.start <= durations.longest) continue;
    if (ends_sentence(word)) {
      word.end = word.start + durations.longest;
    } else if (ends_sentence(words[i - 1])) {
      word.start = word.end - durations.longest;
    }
  }
}

void place_words(std::span<Segment> segments, std::span<const size_t> text_ends,
                 std::span<const TimedWord> words, const WordDurations& durations,
                 const WordPlace& place) {
  double last_speech = place.last_speech;
  double ascending = place.last_speech;
  size_t next = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    Segment& segment = segments[i];
    std::vector<Word>& own = segment.words.emplace();
    for (; next < words.size() && words[next].first_token < text_ends[i]; ++next) {
      const TimedWord& word = words[next];
      if (word.text.empty()) continue;
      own.push_back({.start = rounded(place.offset + word.start),
                     .end = rounded(place.offset + word.end),
                     .word = word.text,
                     .probability = word.probability});
    }
    if (!own.empty()) {
      shorten_after_pause(own, durations, last_speech);
      fit_to_segment(segment, own, durations.median);
    }
    ascending = make_ascend(segment, ascending);
    if (!own.empty()) last_speech = segment.end;
  }
}

}  // namespace slim
