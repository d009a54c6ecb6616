// Words to lines, lines to cues, cues to one a word.
#include "subtitles.h"

#include <algorithm>
#include <utility>

namespace slim::cli {
namespace {

constexpr double kLongPause = 3;  // seconds; ends a cue that may cross segments

std::string without_arrows(std::string text) {
  for (size_t at = text.find("-->"); at != std::string::npos; at = text.find("-->", at)) {
    text.replace(at, 3, "->");
  }
  return text;
}

int characters(const std::string& text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

// Words as they stand in a cue: a line break before the first of a line.
struct Words {
  std::vector<Word> list;
  std::optional<int> channel;
};

class Layout {
 public:
  explicit Layout(const SubtitleStyle& style)
      : style_(style), by_segment_(style.max_line_count == 0 || style.max_line_width == 0) {}

  std::vector<Words> lay_out(const Transcription& transcription) {
    if (!transcription.segments.empty()) last_ = transcription.segments.front().start;
    for (const Segment& segment : transcription.segments) {
      if (!segment.words) continue;
      const auto all = static_cast<int>(segment.words->size());
      const int most = style_.max_words_per_line > 0 ? style_.max_words_per_line : all;
      if (segment.channel != cue_.channel) end_cue();
      cue_.channel = segment.channel;
      for (int i = 0; i < all; ++i) add((*segment.words)[static_cast<size_t>(i)], i % most == 0);
    }
    end_cue();
    return std::move(cues_);
  }

 private:
  void end_cue() {
    if (!cue_.list.empty()) cues_.push_back(cue_);
    cue_.list.clear();
    lines_ = 1;
    width_ = 0;
  }

  // `first`: of its segment, or of as many words as a line may have.
  void add(Word word, bool first) {
    const int width = characters(word.word);
    const bool pause = !by_segment_ && word.start - last_ > kLongPause;
    const bool room = style_.max_line_width == 0 || width_ + width <= style_.max_line_width;
    const bool ends = first && !cue_.list.empty() && by_segment_;
    last_ = word.start;
    if (width_ > 0 && room && !pause && !ends) {
      width_ += width;
      cue_.list.push_back(std::move(word));
      return;
    }
    word.word = trimmed(word.word);
    const int own_width = characters(word.word);
    const bool full = style_.max_line_count > 0 && (pause || lines_ >= style_.max_line_count);
    if (full || ends) {
      end_cue();
    } else if (!cue_.list.empty()) {
      ++lines_;
      word.word.insert(0, "\n");
    }
    width_ = own_width;
    cue_.list.push_back(std::move(word));
  }

  const SubtitleStyle& style_;
  bool by_segment_;  // a segment begins a cue
  std::vector<Words> cues_;
  Words cue_;
  int width_ = 0;  // of the line
  int lines_ = 1;
  double last_ = 0;  // where the word before began
};

// The text of a cue with word `marked` underlined; none is, if there is no such word.
std::string text_of(const std::vector<Word>& words, size_t marked) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i].word;
    if (i != marked) {
      text += word;
      continue;
    }
    const size_t begin = std::min(word.find_first_not_of(" \t\r\n"), word.size());
    text += word.substr(0, begin) + "<u>" + word.substr(begin) + "</u>";
  }
  return without_arrows(std::move(text));
}

// One cue a word, and one for each pause between two.
void add_highlighted(const Words& words, std::vector<Cue>& cues) {
  const std::vector<Word>& list = words.list;
  double last = list.front().start;
  for (size_t i = 0; i < list.size(); ++i) {
    const Word& word = list[i];
    if (word.start > last) {
      cues.push_back({last, word.start, text_of(list, list.size()), words.channel});
    }
    cues.push_back({word.start, word.end, text_of(list, i), words.channel});
    last = word.end;
  }
}

[[noreturn]] void refuse(const char* sentence, const char* option) {
  throw Error(ErrorCode::bad_request, sentence, option);
}

}  // namespace

void SubtitleStyle::check(bool word_timestamps) const {
  constexpr const char* kNeedsWords = "The option needs --word-timestamps.";
  if (!word_timestamps) {
    if (highlight_words) refuse(kNeedsWords, "--highlight-words");
    if (max_line_width > 0) refuse(kNeedsWords, "--max-line-width");
    if (max_line_count > 0) refuse(kNeedsWords, "--max-line-count");
    if (max_words_per_line > 0) refuse(kNeedsWords, "--max-words-per-line");
  }
  if (max_line_count > 0 && max_line_width == 0) {
    refuse("Lines are counted where --max-line-width ends them.", "--max-line-count");
  }
  if (max_words_per_line > 0 && max_line_width > 0) {
    refuse("Lines end at a width or at a number of words, not both.",
           "--max-words-per-line with --max-line-width");
  }
}

std::vector<Cue> cues(const Transcription& transcription, const SubtitleStyle& style) {
  std::vector<Cue> cues;
  const auto& segments = transcription.segments;
  if (segments.empty() || !segments.front().words) {
    for (const Segment& segment : segments) {
      cues.push_back(
          {segment.start, segment.end, without_arrows(trimmed(segment.text)), segment.channel});
    }
    return cues;
  }
  for (const Words& words : Layout(style).lay_out(transcription)) {
    if (style.highlight_words) {
      add_highlighted(words, cues);
    } else {
      cues.push_back({words.list.front().start, words.list.back().end,
                      text_of(words.list, words.list.size()), words.channel});
    }
  }
  return cues;
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

}  // namespace slim::cli
