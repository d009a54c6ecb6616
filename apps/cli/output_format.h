// The forms a transcription is written in: txt, srt, vtt, tsv and json, as openai-whisper and
// faster-whisper write them. A form is one line in the table of output_format.cpp.
#pragma once

#include <string>
#include <vector>

#include "slim/slim.h"
#include "subtitles.h"

namespace slim::cli {

// "txt", "srt", ...; without "all".
std::vector<std::string> format_names();
// The whole file in this form; `name` is one of format_names(). `style`: of srt and vtt.
std::string format(const std::string& name, const Transcription& transcription,
                   const SubtitleStyle& style);

// Live text as lines of JSON: a segment with "partial": false, and what may still change after
// `seconds` of sound.
std::string live_json(const Segment& segment);
std::string live_json(const std::string& partial, double seconds);

// Writes text to a file: to a temporary beside it first, then renamed, so that no half-written file
// is ever seen. Throws Error{bad_file}.
void write_file(const std::string& path, const std::string& text);

}  // namespace slim::cli
