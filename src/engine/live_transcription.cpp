// Live transcription: the sound since the last final segment, as a recording of its own that is
// decoded anew with each step.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "audio/sample_decoder.h"
#include "engine/engine_state.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

constexpr const char* kName = "the samples pushed";
constexpr double kSilenceAfter = 1;  // seconds, by which a last segment is over
// Of a model without timestamps segments end where speech does. Where the sound held is full, so
// many frames of it are left for the pause that it is cut at, and of silence so many seconds are
// kept: a word may have begun.
constexpr int64_t kFramesAhead = 200;
constexpr double kOnset = 0.5;

TranscriptionSetting live_setting(const Runtime& runtime, const LiveOptions& options) {
  const auto refuse = [](const char* sentence, const char* option) {
    throw Error(ErrorCode::bad_request, sentence, option);
  };
  constexpr const char* kNeedsAll = "Sound that is still coming in cannot be transcribed so.";
  require_speech(runtime);
  if (options.transcribe.batched) refuse(kNeedsAll, "batched");
  if (options.transcribe.vad_filter) refuse(kNeedsAll, "vad_filter");
  if (options.transcribe.split_channels) refuse(kNeedsAll, "split_channels");
  if (!options.transcribe.clip_timestamps.empty()) refuse(kNeedsAll, "clip_timestamps");
  if (options.transcribe.without_timestamps) {
    refuse("Live text becomes final by its timestamps.", "without_timestamps");
  }
  if (!(options.step_seconds >= 0.1 && options.step_seconds <= 10)) {
    refuse("A step must take between 0.1 and 10 seconds.", "step_seconds");
  }
  TranscribeOptions own = options.transcribe;
  own.batch_size = 1;
  own.on_progress = {};
  own.on_result = {};
  own.on_failure = {};
  if (runtime.tokens().plain()) {
    own.vad_filter = true;
    own.vad = {};
    own.vad.model = options.transcribe.vad.model;
  }
  TranscriptionSetting setting =
      transcription_setting(runtime.tokenizer(), runtime.tokens(), runtime.spec(), own);
  if (runtime.tokens().plain()) setting.window_frames -= kFramesAhead;
  return setting;
}

}  // namespace

struct LiveTranscription::State {
  State(Runtime& runtime_of_engine, const LiveOptions& options)
      : runtime(runtime_of_engine),
        setting(live_setting(runtime, options)),
        transcriber(runtime.model(), setting),
        step(std::llround(options.step_seconds * kSampleRate)) {
    transcriber.on_window([this](const DecodedWindow& window) { tokens = window.tokens; });
  }

  bool plain() const { return setting.tokens->plain(); }
  int64_t window() const { return (setting.window_frames + (plain() ? kFramesAhead : 0)) * kHop; }

  Track track(int64_t count) {
    const std::span<const float> part = std::span(samples).first(static_cast<size_t>(count));
    Track one({}, AudioReader::from_samples(part, kName), setting.bins, setting, loudest);
    loudest = std::max(loudest, one.loudest());
    return one;
  }

  // How many of the segments are final, of a window that is not full.
  size_t agreed(const std::vector<Segment>& segments, double heard) const {
    size_t count = 0;
    for (; count < segments.size(); ++count) {
      const Segment& segment = segments[count];
      // A stretch of speech is whole, and its text stays.
      const bool same = plain() || (count < before.size() && before[count] == segment.text);
      const bool over = count + 1 < segments.size() || heard - segment.end >= kSilenceAfter;
      if (!same || !over) break;
    }
    return count;
  }

  // The text of the last window from the end of these segments on.
  std::string text_after(std::span<const Segment> segments) const {
    auto from = tokens.begin();
    for (const Segment& segment : segments) {
      const auto found =
          std::search(from, tokens.end(), segment.tokens.begin(), segment.tokens.end());
      from = found == tokens.end() ? from : found + std::ssize(segment.tokens);
    }
    std::vector<int32_t> words;
    std::copy_if(from, tokens.end(), std::back_inserter(words),
                 [&](int32_t id) { return id < setting.tokens->text_end; });
    const std::string text = valid_utf8(setting.tokenizer->decode(words));
    return text.substr(std::min(text.find_first_not_of(' '), text.size()));
  }

  // Says whether segments became final.
  bool look() {
    const auto session = runtime.kernels().begin_session();
    const int64_t count = std::min(std::ssize(samples), window());
    const bool full = count == window();
    const double heard = static_cast<double>(count) / kSampleRate;
    fresh = 0;
    Track one = track(count);
    Stats unwanted;
    update.partial.clear();
    // Digital silence, or none that is kept.
    if (!transcriber.look(one, &unwanted)) {
      drop(heard - (plain() ? kOnset : 0));
      return false;
    }
    Transcription result = one.take();
    double next = one.seconds_done();
    std::vector<Segment>& segments = result.segments;
    const size_t final = full ? segments.size() : agreed(segments, heard);
    const auto rest = segments.begin() + static_cast<ptrdiff_t>(final);
    if (!full) next = final > 0 ? segments[final - 1].end : 0;
    if (!full && !segments.empty()) update.partial = text_after(std::span(segments).first(final));
    before.clear();
    for (auto segment = rest; segment != segments.end(); ++segment) before.push_back(segment->text);
    segments.erase(rest, segments.end());
    take(result);
    drop(next);
    return final > 0;
  }

  // Takes final segments.
  void take(Transcription& result) {
    const double offset = static_cast<double>(begin) / kSampleRate;
    for (Segment& segment : result.segments) {
      segment.id = ++finals;
      segment.seek += static_cast<int>(begin / kHop);
      const auto move = [&](auto& one) {
        one.start = std::max(one.start + offset, last_end);
        one.end = std::max(one.end + offset, one.start);
      };
      move(segment);
      if (segment.words) {
        for (Word& word : *segment.words) {
          move(word);
          last_end = word.end;
        }
      }
      last_end = segment.end;
      remember(segment);
      update.segments.push_back(std::move(segment));
    }
    if (result.segments.empty()) return;
    setting.prefix.clear();
    if (!language.empty()) return;
    language = setting.options.language = result.language;
  }

  // Text that prompts what follows.
  void remember(const Segment& segment) {
    std::vector<int32_t>& earlier = setting.initial_prompt;
    earlier.insert(earlier.end(), segment.tokens.begin(), segment.tokens.end());
    const TranscribeOptions& options = setting.options;
    if (!options.condition_on_previous_text ||
        segment.temperature > options.prompt_reset_on_temperature) {
      earlier.clear();
    }
    const auto surplus = std::ssize(earlier) - setting.prompt_budget();
    if (surplus > 0) earlier.erase(earlier.begin(), earlier.begin() + surplus);
  }

  // Whole frames up to a second of the window.
  void drop(double seconds) {
    const auto frames = static_cast<int64_t>(std::max(0.0, seconds) * kFramesPerSecond + 1e-6);
    const int64_t gone = std::min(frames * kHop, std::ssize(samples));
    samples.erase(samples.begin(), samples.begin() + gone);
    begin += gone;
  }

  LiveUpdate take_update() {
    update.seconds = static_cast<double>(begin + std::ssize(samples)) / kSampleRate;
    return std::exchange(update, {});
  }

  Runtime& runtime;
  TranscriptionSetting setting;
  Transcriber transcriber;
  int64_t step;                // samples
  std::vector<float> samples;  // since the last final segment
  int64_t begin = 0;           // of samples[0]
  int64_t fresh = 0;           // samples since the last look
  float loudest = std::numeric_limits<float>::lowest();
  std::vector<int32_t> tokens;      // of the last look
  std::vector<std::string> before;  // what it heard that is not final yet
  int finals = 0;                   // segments
  double last_end = 0;
  std::string language;
  bool ended = false;
  LiveUpdate update;
};

LiveTranscription::LiveTranscription(Engine& engine, const LiveOptions& options)
    : state_(std::make_unique<State>(engine.state_->runtime, options)) {
  const SpeechTokens& tokens = state_->runtime.tokens();
  if (!tokens.plain() && !tokens.multilingual()) state_->language = "en";
}

LiveTranscription::~LiveTranscription() = default;

std::optional<LiveUpdate> LiveTranscription::push(std::span<const float> samples) {
  State& state = *state_;
  if (state.ended) {
    throw Error(ErrorCode::bad_request, "Nothing can be pushed after the end.", "live");
  }
  check_samples(samples, state.begin + std::ssize(state.samples), kSampleRate, kName);
  state.samples.insert(state.samples.end(), samples.begin(), samples.end());
  state.fresh += std::ssize(samples);
  const bool looks = state.fresh >= state.step || std::ssize(state.samples) >= state.window();
  if (!looks) return std::nullopt;
  while (std::ssize(state.samples) >= state.window()) state.look();
  bool looks_again = state.fresh >= state.step;
  while (looks_again) looks_again = state.look() && state.plain();
  return state.take_update();
}

LiveUpdate LiveTranscription::finish() {
  State& state = *state_;
  const double heard = static_cast<double>(state.begin + std::ssize(state.samples)) / kSampleRate;
  if (!std::exchange(state.ended, true)) {
    const auto session = state.runtime.kernels().begin_session();
    auto rest = std::make_unique<Track>(state.track(std::ssize(state.samples)));
    Stats unwanted;
    state.transcriber.run([&] { return std::move(rest); },
                          [&](Track& track) {
                            Transcription result = track.take();
                            state.take(result);
                          },
                          &unwanted);
    state.samples.clear();
  }
  LiveUpdate update = state.take_update();
  update.seconds = heard;
  return update;
}

std::string LiveTranscription::vad_detector() const { return state_->setting.vad_detector(); }

const std::string& LiveTranscription::language() const { return state_->language; }

int64_t LiveTranscription::held_samples() const { return std::ssize(state_->samples); }

}  // namespace slim
