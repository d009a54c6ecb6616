// Seek, prompt and split.
#include "engine/recording.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <optional>

#include "engine/hallucinations.h"
#include "engine/word_timing.h"

namespace slim {
namespace {

constexpr int64_t kFramesPerTimestamp = 2;
// A chunk ends in a pause. What would begin in its last half second is noise: of 0.3 s on its own
// tiny.en made three sentences.
constexpr int64_t kShortestInChunk = 50;
// Nobody speaks faster: a plain model that goes on makes things up. (Of text in English, by those
// who made Moonshine.)
constexpr double kTokensPerSecond = 6.5;

bool blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

// Marks alone, such as base made of silence and hum: " ." six times.
bool wordless(const std::string& text) {
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char byte) { return byte >= 0x80 || std::isalnum(byte) != 0; });
}

double seconds_of(int64_t frames) {
  return static_cast<double>(frames) / static_cast<double>(kFramesPerSecond);
}

int64_t frame_of(double seconds) {
  return std::lround(seconds * static_cast<double>(kFramesPerSecond));
}

// Without timestamps. `end`: SpeechTokens::text_end.
std::vector<int32_t> text_of(std::span<const int32_t> tokens, int32_t end) {
  std::vector<int32_t> text;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(text),
               [&](int32_t id) { return id < end; });
  return text;
}

std::optional<double> end_of_words(const std::vector<Segment>& segments) {
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    if (segment->words && !segment->words->empty()) return segment->words->back().end;
  }
  return std::nullopt;
}

}  // namespace

Recording::Recording(std::unique_ptr<AudioReader> audio, int64_t bins,
                     const TranscriptionSetting& setting, float loudest)
    : setting_(setting),
      mel_(std::make_shared<SpeechFrames>(std::move(audio), bins, setting.speech_filter, loudest,
                                          setting.waveform)),
      earlier_(setting.initial_prompt) {
  find_clips();
  transcription_.duration = static_cast<double>(mel_->samples()) / kSampleRate;
  transcription_.duration_after_vad =
      setting_.speech_filter ? seconds_of(mel_->frames()) : transcription_.duration;
  transcription_.vad_detector = setting_.vad_detector();
  const std::string& language = setting_.options.language;
  if (!language.empty()) {
    const bool english_only = !setting_.tokens->multilingual() && language == "en";
    set_language(english_only ? 0 : setting_.tokens->language(language), language, 1);
  } else if (!setting_.tokens->plain()) {
    // What a recording without sound, or an English-only model, is reported as.
    transcription_.language = "en";
    transcription_.language_probability = setting_.tokens->multilingual() ? 0 : 1;
  }
}

Recording::Recording(const Recording& whole, Clip clip, std::vector<float> mel, bool first)
    : setting_(whole.setting_),
      mel_(whole.mel_),
      chunk_(clip),
      chunk_mel_(std::move(mel)),
      seek_(clip.begin),
      clips_{clip},
      last_speech_(seconds_of(clip.begin)),
      first_window_(first),
      language_(whole.language_),
      language_code_(whole.transcription_.language),
      earlier_(setting_.initial_prompt) {
  transcription_.language = whole.transcription_.language;
  if (setting_.waveform) chunk_samples_ = mel_->samples_of(clip.begin, clip.end - clip.begin);
}

void Recording::append(Recording& chunk) {
  for (Segment& segment : chunk.transcription_.segments) {
    segment.id = static_cast<int>(transcription_.segments.size()) + 1;
    transcription_.segments.push_back(std::move(segment));
  }
  seek_ = chunk.chunk_->end;
}

void Recording::set_window_language(int32_t id, std::string code) {
  language_ = id;
  language_code_ = std::move(code);
}

void Recording::set_language(int32_t id, std::string code, double probability) {
  set_window_language(id, code);
  transcription_.language = std::move(code);
  transcription_.language_probability = probability;
}

void Recording::find_clips() {
  const std::vector<double>& times = setting_.options.clip_timestamps;
  const auto frame = [&](size_t i) {
    if (i >= times.size()) return mel_->frames();
    return mel_->map().kept_before(frame_of(times[i]));
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

double Recording::seconds_done() const {
  if (seek_ >= mel_->frames()) return seconds();
  return std::min(seconds_of(mel_->map().recording_frame(seek_)), seconds());
}

void Recording::read(int64_t first, int64_t count, std::span<float> out) {
  if (!chunk_) return mel_->read(first, count, out);
  const auto from = chunk_mel_.begin() + (first - chunk_->begin) * mel_->bins();
  std::copy_n(from, count * mel_->bins(), out.begin());
}

bool Recording::next_window() {
  std::vector<float> frames;
  while (!clips_.empty()) {
    if (seek_ >= clips_.back().end) {
      clips_.pop_back();
      // A window may have ended after its clip: back to where the next one begins.
      seek_ = clips_.empty() ? mel_->frames() : clips_.back().begin;
      continue;
    }
    const int64_t count = window_size();
    frames.resize(static_cast<size_t>(count * mel_->bins()));
    read(seek_, count, frames);
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
  read(seek_, count, mel.first(static_cast<size_t>(count * mel_->bins())));
  std::fill(mel.begin() + count * mel_->bins(), mel.end(), 0.0F);
}

std::vector<int32_t> Recording::start_tokens() const {
  const SpeechTokens& tokens = *setting_.tokens;
  if (!tokens.multilingual()) return {tokens.start};
  return {tokens.start, language_, setting_.task};
}

WindowRequest Recording::request(const PageTable* encoded) const {
  const SpeechTokens& tokens = *setting_.tokens;
  WindowRequest request;
  request.encoded = encoded;
  request.stream = static_cast<uint64_t>(seek_);
  if (tokens.plain()) {
    const auto most = static_cast<int64_t>(kTokensPerSecond * seconds_of(window_size()));
    request.max_tokens = setting_.options.max_tokens > 0 ? 0 : std::max<int64_t>(1, most);
    request.prompt = {tokens.start};
    return request;
  }
  if (chunk_) {
    const int64_t latest = std::max<int64_t>(0, window_size() - kShortestInChunk);
    request.whole_before = static_cast<int32_t>(latest / kFramesPerTimestamp);
  }
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
  const std::vector<int32_t> start = start_tokens();
  request.prompt.insert(request.prompt.end(), start.begin(), start.end());
  if (setting_.options.without_timestamps) request.prompt.push_back(tokens.no_timestamps);
  if (prefixed) {
    if (!setting_.options.without_timestamps) request.begun.push_back(tokens.first_timestamp);
    request.begun.insert(request.begun.end(), setting_.prefix.begin(), setting_.prefix.end());
  }
  return request;
}

Segment Recording::segment_of(const WindowResult& result, double start, double end,
                              std::span<const int32_t> tokens) const {
  Segment segment;
  segment.seek = static_cast<int>(seek_);
  segment.start = start;
  segment.end = end;
  // An instantaneous segment is the model saying that there is nothing.
  if (start != end) {
    segment.text =
        valid_utf8(setting_.tokenizer->decode(text_of(tokens, setting_.tokens->text_end)));
    if (setting_.tokens->plain()) segment.text.insert(0, 1, ' ');
  }
  segment.tokens.assign(tokens.begin(), tokens.end());
  segment.temperature = result.temperature;
  segment.compression_ratio = result.compression_ratio;
  segment.avg_logprob = result.avg_logprob;
  segment.no_speech_prob = result.no_speech_prob;
  return segment;
}

Recording::Heard Recording::split(const WindowResult& result) const {
  const int32_t zero = setting_.tokens->first_timestamp;
  const std::span<const int32_t> tokens = result.tokens;
  // Where timestamps are not asked for, such tokens (nothing keeps a model from them) mean nothing.
  const bool timed = !setting_.options.without_timestamps;
  const auto is_time = [&](size_t i) { return timed && tokens[i] >= zero; };
  // By frames, so that an end and the beginning that follows are the same number.
  const auto at = [&](int32_t token) {
    return seconds_of(seek_ + (token - zero) * kFramesPerTimestamp);
  };
  const size_t count = tokens.size();

  // A pair of timestamps ends one segment and starts the next; a single one at the very end says
  // that no speech follows in this window.
  Heard heard;
  heard.next = seek_ + window_size();
  heard.silent_after = count >= 2 && !is_time(count - 2) && is_time(count - 1);
  std::vector<size_t> ends;
  for (size_t i = 1; i < count; ++i) {
    if (is_time(i - 1) && is_time(i)) ends.push_back(i);
  }
  if (!ends.empty()) {
    if (heard.silent_after) ends.push_back(count);
    size_t begin = 0;
    for (const size_t end : ends) {
      heard.segments.push_back(segment_of(result, at(tokens[begin]), at(tokens[end - 1]),
                                          tokens.subspan(begin, end - begin)));
      begin = end;
    }
    const int64_t frames = (tokens[begin - 1] - zero) * kFramesPerTimestamp;
    if (!heard.silent_after && frames > 0) heard.next = seek_ + frames;
    return heard;
  }
  int64_t frames = window_size();
  const auto last =
      std::find_if(tokens.rbegin(), tokens.rend(), [&](int32_t t) { return t > zero; });
  if (timed && last != tokens.rend()) frames = (*last - zero) * kFramesPerTimestamp;
  heard.segments.push_back(
      segment_of(result, seconds_of(seek_), seconds_of(seek_ + frames), tokens));
  return heard;
}

void Recording::find_words(Heard& heard, const Align& align) {
  const TranscribeOptions& options = setting_.options;
  std::vector<int32_t> text;
  std::vector<size_t> ends;
  for (const Segment& segment : heard.segments) {
    const std::vector<int32_t> own = text_of(segment.tokens, setting_.tokens->text_end);
    text.insert(text.end(), own.begin(), own.end());
    ends.push_back(text.size());
  }
  const TokenTimes times = align(start_tokens(), text, window_size());
  const bool by_character = options.task == "transcribe" && written_without_spaces(language_code_);
  std::vector<TimedWord> words = split_words(*setting_.tokenizer, text, times, by_character);
  const WordDurations durations = measure_durations(words);
  shorten_at_sentence_ends(words, durations);
  merge_punctuation(words, options.prepend_punctuations, options.append_punctuations);
  place_words(heard.segments, ends, words, durations, {seconds_of(seek_), last_speech_});

  const std::optional<double> end = end_of_words(heard.segments);
  if (!heard.silent_after && end && *end > seconds_of(seek_)) {
    // A chunk ends at a pause: what follows its last word is heard again only if the timestamps say
    // that something does.
    heard.next = std::max(chunk_ ? heard.next : 0, frame_of(*end));
  }
  if (options.hallucination_silence_threshold) {
    skip_hallucinations(heard, *options.hallucination_silence_threshold);
  }
  heard.next = std::max(heard.next, seek_ + 1);
  last_speech_ = end_of_words(heard.segments).value_or(last_speech_);
}

void Recording::skip_hallucinations(Heard& heard, double threshold) const {
  const WindowBounds window{.begin = seconds_of(seek_),
                            .end = seconds_of(seek_ + window_size()),
                            .full_end = seconds_of(seek_ + setting_.window_frames),
                            .recording_end = seconds_of(chunk_ ? chunk_->end : mel_->frames()),
                            .last_speech = last_speech_};
  // What follows the last word within the threshold is not worth another window.
  const std::optional<double> end = end_of_words(heard.segments);
  if (!heard.silent_after && end && *end > window.begin && window.full_end - *end <= threshold) {
    heard.next = seek_ + window_size();
  }
  const std::optional<double> begin = drop_hallucinations(heard.segments, window, threshold);
  if (begin) heard.next = frame_of(*begin);
}

void Recording::keep(Segment segment) {
  if (blank(segment.text)) return;
  // What is said in a clip ends with it, whatever the model makes of the silence behind.
  const double limit = seconds_of(clips_.back().end);
  segment.start = std::min(segment.start, limit);
  segment.end = std::min(segment.end, limit);
  const TimeMap& map = mel_->map();
  TimeMap::Times times = map.times(segment.start, segment.end);
  if (segment.words && !segment.words->empty()) {
    for (Word& word : *segment.words) {
      const TimeMap::Times own = map.times_in_one(word.start, word.end);
      word.start = own.start;
      word.end = own.end;
    }
    times = {segment.words->front().start, segment.words->back().end};
  }
  segment.start = times.start;
  segment.end = times.end;
  segment.seek = static_cast<int>(map.recording_frame(segment.seek));
  segment.id = static_cast<int>(transcription_.segments.size()) + 1;
  earlier_.insert(earlier_.end(), segment.tokens.begin(), segment.tokens.end());
  transcription_.segments.push_back(std::move(segment));
}

void Recording::accept(const WindowResult& result, const Align& align) {
  const TranscribeOptions& options = setting_.options;
  const bool silent = result.no_speech_prob > options.no_speech_threshold;
  first_window_ = false;
  if (silent && !(result.avg_logprob > options.logprob_threshold)) {
    seek_ += window_size();
    return;
  }
  Heard heard = split(result);
  if (options.word_timestamps) find_words(heard, align);
  for (Segment& segment : heard.segments) {
    if (!silent || !wordless(segment.text)) keep(std::move(segment));
  }
  seek_ = heard.next;
  if (chunk_ && chunk_->end - seek_ < kShortestInChunk) seek_ = chunk_->end;
  if (!options.condition_on_previous_text ||
      result.temperature > options.prompt_reset_on_temperature) {
    earlier_.clear();
  }
}

}  // namespace slim
