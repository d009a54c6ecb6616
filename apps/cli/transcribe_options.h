// The options of transcription, under faster-whisper's names, with openai-whisper's spellings.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "slim/slim.h"
#include "subtitles.h"

namespace slim::cli {

// Options as they are given; they are parsed when the command runs.
struct NumberLists {
  std::string channels = "mix";
  std::optional<int> batch_size;  // none: 1, or 8 with --batched
  std::string temperature = "0,0.2,0.4,0.6,0.8,1";
  std::string suppress_tokens = "-1";
  std::string clip_timestamps;
};

void add_transcribe_options(CLI::App& app, TranscribeOptions& options, NumberLists& lists);
void add_subtitle_options(CLI::App& app, SubtitleStyle& style);
// Throws Error{bad_request} naming option and part.
void parse_lists(const NumberLists& lists, TranscribeOptions& options);

// Numbers between commas; spaces around them do not count, and no text is no numbers.
std::vector<double> parse_numbers(const std::string& text, const std::string& option);

}  // namespace slim::cli
