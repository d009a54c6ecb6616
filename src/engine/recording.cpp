// Seek, prompt and split.
#include "engine/recording.h"

#include <algorithm>
#include <cmath>

namespace slim {
namespace {

constexpr double kSecondsPerTimestamp = 0.02;
constexpr int64_t kFramesPerTimestamp = 2;

bool blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

double seconds_of(int64_t frames) {
  return static_cast<double>(frames) / static_cast<double>(kFramesPerSecond);
}

}  // namespace

Recording::Recording(std::unique_ptr<AudioReader> audio, int64_t bins,
                     const TranscriptionSetting& setting)
    : setting_(setting), mel_(std::move(audio), bins), earlier_(setting.initial_prompt) {
  find_clips();
  transcription_.duration = static_cast<double>(mel_.samples()) / kSampleRate;
  const std::string& language = setting_.options.language;
  if (!language.empty()) {
    const bool english_only = !setting_.tokens->multilingual() && language == "en";
    set_language(english_only ? 0 : setting_.tokens->language(language), language, 1);
  } else {
    // What a recording without sound, or an English-only model, is reported as.
    transcription_.language = "en";
    transcription_.language_probability = setting_.tokens->multilingual() ? 0 : 1;
  }
}

void Recording::set_language(int32_t id, std::string code, double probability) {
  language_ = id;
  transcription_.language = std::move(code);
  transcription_.language_probability = probability;
}

void Recording::find_clips() {
  const std::vector<double>& times = setting_.options.clip_timestamps;
  const auto frame = [&](size_t i) {
    if (i >= times.size()) return mel_.frames();
    const int64_t at = std::lround(times[i] * static_cast<double>(kFramesPerSecond));
    return std::min(at, mel_.frames());
  };
  for (size_t i = 0; i < std::max<size_t>(1, times.size()); i += 2) {
    clips_.push_back({times.empty() ? 0 : frame(i), frame(i + 1)});
  }
  std::reverse(clips_.begin(), clips_.end());
  seek_ = clips_.back().begin;
}

int64_t Recording::window_size() const {
  return std::min(setting_.window_frames, clips_.back().end - seek_);
}

double Recording::seconds_done() const { return std::min(seconds_of(seek_), seconds()); }

bool Recording::next_window() {
  std::vector<float> frames;
  while (!clips_.empty()) {
    if (seek_ >= clips_.back().end) {
      clips_.pop_back();
      // A window may have ended after its clip: back to where the next one begins.
      seek_ = clips_.empty() ? mel_.frames() : clips_.back().begin;
      continue;
    }
    const int64_t count = window_size();
    frames.resize(static_cast<size_t>(count * mel_.bins()));
    mel_.read(seek_, count, frames);
    if (std::any_of(frames.begin(), frames.end(), [&](float v) { return v != frames[0]; })) {
      return true;
    }
    seek_ += count;
  }
  return false;
}

void Recording::read_window(std::span<float> mel) {
  // Only this window's own frames: what lies beyond the content is zeros, as in training.
  const int64_t count = window_size();
  mel_.read(seek_, count, mel.first(static_cast<size_t>(count * mel_.bins())));
  std::fill(mel.begin() + count * mel_.bins(), mel.end(), 0.0F);
}

WindowRequest Recording::request(const PageTable* encoded) const {
  const SpeechTokens& tokens = *setting_.tokens;
  WindowRequest request;
  request.encoded = encoded;
  request.stream = static_cast<uint64_t>(seek_);
  const bool prefixed = first_window_ && !setting_.prefix.empty();
  const std::vector<int32_t> none;
  const std::vector<int32_t>& hotwords = prefixed ? none : setting_.hotwords;
  const auto taken =
      static_cast<int64_t>(prefixed ? setting_.prefix.size() : setting_.hotwords.size());
  const auto room = static_cast<size_t>(setting_.prompt_budget() - taken);
  const auto count = static_cast<ptrdiff_t>(std::min(room, earlier_.size()));
  if (!hotwords.empty() || count > 0) {
    request.prompt.push_back(tokens.previous);
    request.prompt.insert(request.prompt.end(), hotwords.begin(), hotwords.end());
    request.prompt.insert(request.prompt.end(), earlier_.end() - count, earlier_.end());
  }
  request.start_index = static_cast<int64_t>(request.prompt.size());
  request.prompt.push_back(tokens.start);
  if (tokens.multilingual()) {
    request.prompt.push_back(language_);
    request.prompt.push_back(setting_.task);
  }
  if (setting_.options.without_timestamps) request.prompt.push_back(tokens.no_timestamps);
  if (prefixed) {
    if (!setting_.options.without_timestamps) request.begun.push_back(tokens.first_timestamp);
    request.begun.insert(request.begun.end(), setting_.prefix.begin(), setting_.prefix.end());
  }
  return request;
}

void Recording::add_segment(const WindowResult& result, double start, double end,
                            std::span<const int32_t> tokens) {
  std::vector<int32_t> text_tokens;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(text_tokens),
               [&](int32_t id) { return id < setting_.tokens->end; });
  const std::string text = valid_utf8(setting_.tokenizer->decode(text_tokens));
  // An instantaneous segment, or one without text, is the model saying that there is nothing.
  if (start == end || blank(text)) return;
  Segment segment;
  segment.id = static_cast<int>(transcription_.segments.size()) + 1;
  segment.seek = static_cast<int>(seek_);
  segment.start = start;
  segment.end = end;
  segment.text = text;
  segment.tokens.assign(tokens.begin(), tokens.end());
  segment.temperature = result.temperature;
  segment.compression_ratio = result.compression_ratio;
  segment.avg_logprob = result.avg_logprob;
  segment.no_speech_prob = result.no_speech_prob;
  transcription_.segments.push_back(std::move(segment));
  earlier_.insert(earlier_.end(), tokens.begin(), tokens.end());
}

int64_t Recording::split(const WindowResult& result) {
  const int32_t zero = setting_.tokens->first_timestamp;
  const std::span<const int32_t> tokens = result.tokens;
  const auto is_time = [&](size_t i) { return tokens[i] >= zero; };
  const double offset = seconds_of(seek_);
  const auto at = [&](int32_t token) { return offset + (token - zero) * kSecondsPerTimestamp; };
  const size_t count = tokens.size();

  // A pair of timestamps ends one segment and starts the next; a single one at the very end says
  // that no speech follows in this window.
  std::vector<size_t> ends;
  for (size_t i = 1; i < count; ++i) {
    if (is_time(i - 1) && is_time(i)) ends.push_back(i);
  }
  const bool single_ending = count >= 2 && !is_time(count - 2) && is_time(count - 1);
  if (!ends.empty()) {
    if (single_ending) ends.push_back(count);
    size_t begin = 0;
    for (const size_t end : ends) {
      add_segment(result, at(tokens[begin]), at(tokens[end - 1]),
                  tokens.subspan(begin, end - begin));
      begin = end;
    }
    const int64_t frames = (tokens[begin - 1] - zero) * kFramesPerTimestamp;
    return single_ending || frames <= 0 ? window_size() : frames;
  }
  double duration = seconds_of(window_size());
  const auto last =
      std::find_if(tokens.rbegin(), tokens.rend(), [&](int32_t t) { return t > zero; });
  if (last != tokens.rend() && !setting_.options.without_timestamps) {
    duration = (*last - zero) * kSecondsPerTimestamp;
  }
  add_segment(result, offset, offset + duration, tokens);
  return window_size();
}

void Recording::accept(const WindowResult& result) {
  const TranscribeOptions& options = setting_.options;
  const bool silence = result.no_speech_prob > options.no_speech_threshold &&
                       !(result.avg_logprob > options.logprob_threshold);
  first_window_ = false;
  if (silence) {
    seek_ += window_size();
    return;
  }
  seek_ += split(result);
  if (!options.condition_on_previous_text ||
      result.temperature > options.prompt_reset_on_temperature) {
    earlier_.clear();
  }
}

}  // namespace slim
