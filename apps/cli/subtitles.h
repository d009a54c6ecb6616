// Subtitles: a transcription cut into cues, by segments or by words, as openai-whisper does it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "slim/slim.h"

namespace slim::cli {

// What is laid out by the times of words.
struct SubtitleStyle {
  bool highlight_words = false;  // a cue for each word, in which it is underlined
  int max_line_width = 0;        // characters; 0: any
  int max_line_count = 0;        // lines of a cue; 0: any. Cues then cross segments
  int max_words_per_line = 0;    // 0: any

  // Throws Error{bad_request} for what could have no effect: any of them without word times, a
  // count of lines that have no width, words of lines that have one.
  void check(bool word_timestamps) const;
};

struct Cue {
  double start = 0;
  double end = 0;
  std::string text;  // lines; no "-->", which would read as a time line
  std::optional<int> channel = {};
};

// One cue a segment where there are no word times. Times never decrease.
std::vector<Cue> cues(const Transcription& transcription, const SubtitleStyle& style);

// Without white space around it.
std::string trimmed(const std::string& text);

}  // namespace slim::cli
