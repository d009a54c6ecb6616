// Checks options, encodes texts, and lists what must not be sampled.
#include "engine/transcription_setting.h"

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <string_view>

#include "engine/language_names.h"
#include "engine/speech_network_detector.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr double kSecondsPerTimestamp = 0.02;

[[noreturn]] void refuse(const std::string& sentence, const std::string& option) {
  throw Error(ErrorCode::bad_request, sentence, option);
}

// False for NaN as well.
void require(bool holds, const std::string& sentence, const char* option, double value) {
  if (!holds) refuse(sentence, fmt::format("{} {}", option, value));
}

void check_temperatures(const TranscribeOptions& options) {
  constexpr size_t kMost = 100;
  if (options.temperatures.empty() || options.temperatures.size() > kMost) {
    refuse("Between 1 and 100 temperatures can be tried.",
           "temperature: " + std::to_string(options.temperatures.size()) + " of them");
  }
  for (const double temperature : options.temperatures) {
    require(temperature >= 0 && temperature <= 100, "A temperature must lie between 0 and 100.",
            "temperature", temperature);
  }
}

void check_clips(const TranscribeOptions& options) {
  constexpr double kLongest = 1e7;  // seconds: four months
  double last = -1;
  for (const double time : options.clip_timestamps) {
    require(time >= 0 && time <= kLongest,
            "A time must be a number of seconds between 0 and 10000000.", "clip_timestamps", time);
    require(time >= last, "The times of clips must not decrease.", "clip_timestamps", time);
    last = time;
  }
}

void check_beams(const TranscribeOptions& options) {
  require(options.beam_size >= 1 && options.beam_size <= 100,
          "Between 1 and 100 beams can be kept of a window.", "beam_size", options.beam_size);
  require(options.patience > 0 && options.patience <= 100,
          "The patience must lie above 0 and be at most 100.", "patience", options.patience);
  if (!options.length_penalty) return;
  require(*options.length_penalty >= 0 && *options.length_penalty <= 1,
          "The length penalty must lie between 0 and 1.", "length_penalty",
          *options.length_penalty);
}

void check_words(const TranscribeOptions& options) {
  if (!options.hallucination_silence_threshold) return;
  const double threshold = *options.hallucination_silence_threshold;
  require(threshold >= 0, "The threshold must be a number of seconds from 0 on.",
          "hallucination_silence_threshold", threshold);
  require(options.word_timestamps, "Silence around words is found by word timestamps alone.",
          "hallucination_silence_threshold", threshold);
}

void check_vad(const VadOptions& vad, bool batched) {
  constexpr double kChunkSeconds = 30;
  const auto probability = [](double value, const char* option) {
    require(value >= 0 && value <= 1, "A probability must lie between 0 and 1.", option, value);
  };
  const auto milliseconds = [](int value, const char* option) {
    require(value >= 0, "A duration cannot be negative.", option, value);
  };
  probability(vad.threshold, "vad threshold");
  if (vad.neg_threshold) {
    probability(*vad.neg_threshold, "vad neg_threshold");
    require(*vad.neg_threshold <= vad.threshold,
            "Speech cannot end at a higher probability than it begins at.", "vad neg_threshold",
            *vad.neg_threshold);
  }
  milliseconds(vad.min_speech_duration_ms, "vad min_speech_duration_ms");
  milliseconds(vad.min_silence_duration_ms.value_or(0), "vad min_silence_duration_ms");
  milliseconds(vad.speech_pad_ms, "vad speech_pad_ms");
  const double paddings = 2 * vad.speech_pad_ms / 1000.0;
  require(vad.max_speech_duration_s > paddings,
          "The longest speech must be longer than the silence kept around it.",
          "vad max_speech_duration_s", vad.max_speech_duration_s);
  require(!batched || paddings < kChunkSeconds,
          "The silence kept around speech must be shorter than a chunk of 30 seconds.",
          "vad speech_pad_ms", vad.speech_pad_ms);
}

// Chunks end where speech does: then short silences count, and no speech is longer than a chunk.
SpeechFilter speech_filter(const TranscribeOptions& options, const TranscriptionSetting& setting) {
  constexpr int64_t kMillisecond = kSampleRate / 1000;
  constexpr double kLongest = 1e7;  // seconds: four months
  const VadOptions& vad = options.vad;
  SpeechFilter filter;
  if (!vad.model.empty()) filter.detector = open_speech_network(vad.model);
  SpeechRules& rules = filter.rules;
  rules.threshold = vad.threshold;
  rules.neg_threshold = vad.neg_threshold.value_or(std::max(vad.threshold - 0.15, 0.01));
  rules.min_speech = vad.min_speech_duration_ms * kMillisecond;
  const int usual = setting.tokens->plain() ? 1000 : setting.chunked() ? 160 : 2000;
  rules.min_silence = vad.min_silence_duration_ms.value_or(usual) * kMillisecond;
  rules.padding = vad.speech_pad_ms * kMillisecond;
  const double longest = std::min(vad.max_speech_duration_s, kLongest);
  int64_t most = std::llround(longest * kSampleRate);
  if (setting.chunked()) most = std::min(most, setting.window_frames * kHop);
  rules.max_speech = std::max<int64_t>(0, most - filter.step() - 2 * rules.padding);
  return filter;
}

void check_options(const TranscribeOptions& options) {
  require(options.batch_size >= 1 && options.batch_size <= 1024,
          "The batch size must lie between 1 and 1024.", "batch_size", options.batch_size);
  require(options.max_tokens >= 0, "The tokens of a window cannot be fewer than 0.", "max_tokens",
          options.max_tokens);
  require(options.best_of >= 1 && options.best_of <= 100,
          "Between 1 and 100 texts can be sampled of a window.", "best_of", options.best_of);
  check_beams(options);
  require(options.max_initial_timestamp >= 0 && options.max_initial_timestamp <= 1e6,
          "The latest first timestamp must lie between 0 and 1000000 seconds.",
          "max_initial_timestamp", options.max_initial_timestamp);
  const auto number = [](double value, const char* option) {
    require(!std::isnan(value), "The threshold must be a number.", option, value);
  };
  number(options.no_speech_threshold, "no_speech_threshold");
  number(options.logprob_threshold, "logprob_threshold");
  number(options.compression_ratio_threshold, "compression_ratio_threshold");
  number(options.prompt_reset_on_temperature, "prompt_reset_on_temperature");
  check_words(options);
  check_vad(options.vad, options.batched);
  check_temperatures(options);
  check_clips(options);
}

// What a plain model cannot do is refused, not left out.
void check_plain(const TranscribeOptions& options) {
  const TranscribeOptions usual;
  const auto check = [](bool holds, const char* sentence, const char* option) {
    if (!holds) refuse(sentence, option);
  };
  constexpr const char* kNoTimes =
      "This model has no timestamps: its segments are the pieces that it was given.";
  constexpr const char* kNoPrompt = "This model takes no text before what it hears.";
  check(options.task == usual.task, "This model writes down what is said: it cannot translate.",
        "task");
  check(options.language.empty(),
        "This model has no tokens for languages: it writes the one that it was trained on.",
        "language");
  check(!options.multilingual,
        "This model has no tokens for languages: it writes the one that it was trained on.",
        "multilingual");
  check(!options.word_timestamps, kNoTimes, "word_timestamps");
  check(options.max_initial_timestamp == usual.max_initial_timestamp, kNoTimes,
        "max_initial_timestamp");
  check(options.initial_prompt.empty(), kNoPrompt, "initial_prompt");
  check(options.hotwords.empty(), kNoPrompt, "hotwords");
  check(options.prefix.empty(), kNoPrompt, "prefix");
  check(options.no_speech_threshold == usual.no_speech_threshold,
        "This model has no token for silence.", "no_speech_threshold");
}

int32_t task_of(const SpeechTokens& tokens, const std::string& task) {
  if (task == "transcribe") return tokens.transcribe;
  if (task != "translate") refuse("The task must be transcribe or translate.", task);
  if (!tokens.multilingual()) {
    refuse("This model knows English only, so there is nothing it could translate.",
           "task translate");
  }
  if (tokens.translate < 0) {
    refuse("The model's tokenizer has no token <|translate|>.", "task translate");
  }
  return tokens.translate;
}

// As it stands after other text: with one space before it. Nothing but blanks is no text.
std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\v\f";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  const size_t end = text.find_last_not_of(kBlank) + 1;
  return tokenizer.encode(" " + std::string(text.substr(begin, end - begin)));
}

std::vector<int32_t> first_of(std::vector<int32_t> ids, int64_t most) {
  if (static_cast<int64_t>(ids.size()) > most) ids.resize(static_cast<size_t>(most));
  return ids;
}

std::vector<int32_t> suppressed(const SpeechTokens& tokens, int64_t vocabulary,
                                const std::vector<int32_t>& asked) {
  std::vector<int32_t> ids = tokens.steering;
  for (const int32_t id : asked) {
    if (id == -1) {
      ids.insert(ids.end(), tokens.non_speech.begin(), tokens.non_speech.end());
      continue;
    }
    if (id < 0 || id >= vocabulary) {
      refuse("A token to suppress must be -1 (marks that are not speech) or an id below " +
                 std::to_string(vocabulary) + ".",
             "suppress_tokens " + std::to_string(id));
    }
    ids.push_back(id);
  }
  return ids;
}

}  // namespace

TranscriptionSetting transcription_setting(const Tokenizer& tokenizer, const SpeechTokens& tokens,
                                           const ModelSpec& spec,
                                           const TranscribeOptions& options) {
  check_options(options);
  if (tokens.plain()) check_plain(options);
  if (options.multilingual && !tokens.multilingual()) {
    refuse("This model knows English only, so every window is in it.", "multilingual");
  }
  TranscriptionSetting setting;
  setting.tokenizer = &tokenizer;
  setting.tokens = &tokens;
  setting.options = options;
  setting.options.language = language_code(options.language);
  setting.options.without_timestamps |= tokens.plain();
  setting.waveform = spec.waveform;
  if (!spec.waveform) {
    setting.window_frames = 2 * spec.encoder.positions;
    setting.bins = spec.mel_bins;
  }
  setting.text_positions = spec.decoder.positions;
  if (!tokens.plain()) setting.task = task_of(tokens, options.task);
  setting.initial_prompt = encode(tokenizer, options.initial_prompt);
  setting.hotwords = first_of(encode(tokenizer, options.hotwords), setting.prompt_budget());
  setting.prefix = first_of(encode(tokenizer, options.prefix), setting.prompt_budget());

  if (options.vad_filter) setting.speech_filter = speech_filter(options, setting);

  FallbackSetting& fallback = setting.fallback;
  fallback.temperatures = options.temperatures;
  fallback.beam_size = options.beam_size;
  fallback.best_of = options.best_of;
  fallback.compression_ratio_threshold = options.compression_ratio_threshold;
  fallback.logprob_threshold = options.logprob_threshold;
  fallback.no_speech_threshold = options.no_speech_threshold;
  const int64_t room = tokens.plain() ? setting.text_positions : setting.text_positions / 2;
  fallback.decode.max_tokens = options.max_tokens > 0 ? options.max_tokens : room;
  fallback.decode.patience = options.patience;
  fallback.decode.length_penalty = options.length_penalty;
  fallback.decode.seed = options.seed;
  SamplingRules& rules = fallback.decode.rules;
  rules.tokens = &tokens;
  rules.timestamps = !setting.options.without_timestamps;
  rules.max_initial =
      static_cast<int32_t>(std::lround(options.max_initial_timestamp / kSecondsPerTimestamp));
  rules.suppress_blank = options.suppress_blank && !tokens.plain();
  rules.suppressed = suppressed(tokens, spec.vocabulary, options.suppress_tokens);
  return setting;
}

}  // namespace slim
