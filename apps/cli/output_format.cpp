// Subtitles, tables and JSON.
#include "output_format.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

namespace slim::cli {
namespace {

long long milliseconds(double seconds) { return std::llround(seconds * 1000); }

// 00:01:02,345; hours may be left out where they are zero (vtt).
std::string clock_text(double seconds, char point, bool hours_always) {
  const long long ms = milliseconds(seconds);
  const long long hours = ms / 3600000;
  char text[48];
  if (hours > 0 || hours_always) {
    std::snprintf(text, sizeof text, "%02lld:%02lld:%02lld%c%03lld", hours, ms / 60000 % 60,
                  ms / 1000 % 60, point, ms % 1000);
  } else {
    std::snprintf(text, sizeof text, "%02lld:%02lld%c%03lld", ms / 60000, ms / 1000 % 60, point,
                  ms % 1000);
  }
  return text;
}

// What stands before a text of one of several channels.
std::string label(const std::optional<int>& channel) {
  return channel ? "[channel " + std::to_string(*channel) + "] " : std::string();
}

std::string as_txt(const Transcription& transcription, const SubtitleStyle& /*style*/) {
  std::string out;
  for (const Segment& segment : transcription.segments) {
    out += label(segment.channel) + trimmed(segment.text) + "\n";
  }
  return out;
}

std::string as_srt(const Transcription& transcription, const SubtitleStyle& style) {
  std::string out;
  int number = 0;
  for (const Cue& cue : cues(transcription, style)) {
    out += std::to_string(++number) + "\n" + clock_text(cue.start, ',', true) + " --> " +
           clock_text(cue.end, ',', true) + "\n" + label(cue.channel) + cue.text + "\n\n";
  }
  return out;
}

std::string as_vtt(const Transcription& transcription, const SubtitleStyle& style) {
  std::string out = "WEBVTT\n\n";
  for (const Cue& cue : cues(transcription, style)) {
    out += clock_text(cue.start, '.', false) + " --> " + clock_text(cue.end, '.', false) + "\n" +
           (cue.channel ? "<v channel " + std::to_string(*cue.channel) + ">" : "") + cue.text +
           "\n\n";
  }
  return out;
}

std::string as_tsv(const Transcription& transcription, const SubtitleStyle& /*style*/) {
  const auto& segments = transcription.segments;
  const bool channels = !segments.empty() && segments.front().channel.has_value();
  std::string out = channels ? "start\tend\tchannel\ttext\n" : "start\tend\ttext\n";
  for (const Segment& segment : segments) {
    std::string text = trimmed(segment.text);
    for (char& c : text) c = c == '\t' ? ' ' : c;
    out += std::to_string(milliseconds(segment.start)) + "\t" +
           std::to_string(milliseconds(segment.end)) + "\t" +
           (segment.channel ? std::to_string(*segment.channel) + "\t" : "") + text + "\n";
  }
  return out;
}

nlohmann::ordered_json as_json(const std::optional<std::vector<Word>>& words) {
  if (!words) return nullptr;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Word& word : *words) {
    list.push_back({{"start", word.start},
                    {"end", word.end},
                    {"word", word.word},
                    {"probability", word.probability}});
  }
  return list;
}

nlohmann::ordered_json as_json(const Segment& segment) {
  nlohmann::ordered_json fields = {{"id", segment.id},
                                   {"seek", segment.seek},
                                   {"start", segment.start},
                                   {"end", segment.end},
                                   {"text", segment.text},
                                   {"tokens", segment.tokens},
                                   {"temperature", segment.temperature},
                                   {"avg_logprob", segment.avg_logprob},
                                   {"compression_ratio", segment.compression_ratio},
                                   {"no_speech_prob", segment.no_speech_prob},
                                   {"words", as_json(segment.words)}};
  if (segment.channel) fields["channel"] = *segment.channel;
  return fields;
}

std::string as_json(const Transcription& transcription, const SubtitleStyle& /*style*/) {
  nlohmann::ordered_json segments = nlohmann::ordered_json::array();
  for (const Segment& segment : transcription.segments) segments.push_back(as_json(segment));
  nlohmann::ordered_json detector;  // null where nothing was left out
  if (!transcription.vad_detector.empty()) detector = transcription.vad_detector;
  const nlohmann::ordered_json all = {{"text", transcription.text()},
                                      {"language", transcription.language},
                                      {"language_probability", transcription.language_probability},
                                      {"duration", transcription.duration},
                                      {"duration_after_vad", transcription.duration_after_vad},
                                      {"vad_detector", detector},
                                      {"segments", segments}};
  return all.dump(2) + "\n";
}

struct Form {
  const char* name;
  std::string (*write)(const Transcription&, const SubtitleStyle&);
};
constexpr Form kForms[] = {
    {"txt", as_txt}, {"srt", as_srt}, {"vtt", as_vtt}, {"tsv", as_tsv}, {"json", as_json}};

[[noreturn]] void fail_writing(const std::string& path) {
  throw Error(ErrorCode::bad_file, std::string("Writing failed: ") + std::strerror(errno) + ".",
              path);
}

}  // namespace

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const Form& form : kForms) names.emplace_back(form.name);
  return names;
}

std::string format(const std::string& name, const Transcription& transcription,
                   const SubtitleStyle& style) {
  for (const Form& form : kForms) {
    if (name == form.name) return form.write(transcription, style);
  }
  throw Error(ErrorCode::bad_request, "There is no such output format.", name);
}

std::string live_json(const Segment& segment) {
  nlohmann::ordered_json line = {{"partial", false}};
  line.update(as_json(segment));
  return line.dump() + "\n";
}

std::string live_json(const std::string& partial, double seconds) {
  return nlohmann::ordered_json{{"partial", true}, {"end", seconds}, {"text", partial}}.dump() +
         "\n";
}

void write_file(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".partial-" + std::to_string(getpid());
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) fail_writing(path);
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = std::fclose(file) == 0;
  if (written && closed && std::rename(temporary.c_str(), path.c_str()) == 0) return;
  const int reason = errno;
  std::remove(temporary.c_str());
  errno = reason;
  fail_writing(path);
}

}  // namespace slim::cli
