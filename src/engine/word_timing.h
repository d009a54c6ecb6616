// Word timing: a window's words handed out to its segments, with openai-whisper's remedies for what
// DTW gets wrong: words stretch over the silence beside them. Long is a word of more than twice the
// median of those that take time at all (at most 0.7 s):
//  * a long mark that ends a sentence, and a long word after one, is cut to that length;
//  * so are the first words after a pause of four medians;
//  * a first word that begins half a second before its segment's timestamp, and a last one that
//    ends half a second after it, take the timestamp.
// And in addition times never decrease, neither within a window nor from one to the next, and a
// segment begins and ends with its words.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/words.h"
#include "slim/transcription.h"

namespace slim {

// The longest that a word should take, from all words before marks are merged.
struct WordDurations {
  double median = 0;
  double longest = 0;
};
WordDurations measure_durations(std::span<const TimedWord> words);

// The first remedy, before marks are merged.
void shorten_at_sentence_ends(std::span<TimedWord> words, const WordDurations& durations);

// Where a window lies, in seconds.
struct WordPlace {
  double offset = 0;       // of the window
  double last_speech = 0;  // end of what was said before it
};

// Gives each segment the words that begin in it. `text_ends`: how many text tokens there are up to
// the end of each segment, as words count them. A segment without words is put where the words
// before it end.
void place_words(std::span<Segment> segments, std::span<const size_t> text_ends,
                 std::span<const TimedWord> words, const WordDurations& durations,
                 const WordPlace& place);

}  // namespace slim
