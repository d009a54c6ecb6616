// Lists are given as one argument ("-1,50"): options of several arguments would take the files that
// follow for numbers.
#include "transcribe_options.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

#include "command.h"

namespace slim::cli {
namespace {

double parse_number(std::string_view part, const std::string& option) {
  double value = 0;
  const char* end = part.data() + part.size();
  const auto [stop, failure] = std::from_chars(part.data(), end, value);
  if (failure != std::errc() || stop != end || !std::isfinite(value)) {
    throw Error(ErrorCode::bad_request, "The option takes numbers with commas between them.",
                option + " \"" + std::string(part) + "\"");
  }
  return value;
}

void add_prompt_options(CLI::App& app, TranscribeOptions& options) {
  app.add_flag(
      "--condition-on-previous-text,--condition_on_previous_text,!--no-condition-on-previous-text",
      options.condition_on_previous_text, "Prompt each window with the text before it (default)");
  app.add_option("--initial-prompt,--initial_prompt", options.initial_prompt,
                 "Counts as the text before the first window");
  app.add_option("--hotwords", options.hotwords,
                 "Words in the prompt of every window that has no prefix");
  app.add_option("--prefix", options.prefix, "What the first window's text begins with");
  app.add_option("--prompt-reset-on-temperature,--prompt_reset_on_temperature",
                 options.prompt_reset_on_temperature,
                 "No earlier text prompts what follows a window decoded above this temperature")
      ->capture_default_str();
}

void add_search_options(CLI::App& app, TranscribeOptions& options) {
  app.add_option("--beam-size,--beam_size", options.beam_size,
                 "Texts kept side by side at temperature 0 (1: greedy)")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--best-of,--best_of", options.best_of,
                 "Texts sampled at temperatures above 0, of which the best is taken")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--patience", options.patience,
                 "Beam search goes on until beam size times this many texts have ended")
      ->capture_default_str();
  app.add_option("--length-penalty,--length_penalty", options.length_penalty,
                 "Texts of n tokens are compared by log-probability over ((5+n)/6)^this, 0 to 1 "
                 "(default: over n)");
}

void add_fallback_options(CLI::App& app, TranscribeOptions& options, NumberLists& lists) {
  app.add_option("--temperature", lists.temperature,
                 "Temperatures to decode a window at until it comes out well (0: beam search)")
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Seed of sampling")->check(seeds())->capture_default_str();
  app.add_option("--compression-ratio-threshold,--compression_ratio_threshold",
                 options.compression_ratio_threshold,
                 "Windows whose text compresses better than this are decoded again")
      ->capture_default_str();
  app.add_option("--logprob-threshold,--logprob_threshold,--log-prob-threshold",
                 options.logprob_threshold,
                 "... and those whose mean log-probability is below this, unless they are silence")
      ->capture_default_str();
  app.add_option("--no-speech-threshold,--no_speech_threshold", options.no_speech_threshold,
                 "Windows above this probability of silence, and as unlikely, are skipped")
      ->capture_default_str();
}

void add_word_options(CLI::App& app, TranscribeOptions& options) {
  app.add_flag("--word-timestamps,--word_timestamps", options.word_timestamps,
               "Times and probabilities of words");
  app.add_option("--prepend-punctuations,--prepend_punctuations", options.prepend_punctuations,
                 "Marks that are part of the word after them")
      ->capture_default_str();
  app.add_option("--append-punctuations,--append_punctuations", options.append_punctuations,
                 "Marks that are part of the word before them")
      ->capture_default_str();
  app.add_option("--hallucination-silence-threshold,--hallucination_silence_threshold",
                 options.hallucination_silence_threshold,
                 "Skip silences of more seconds where the words beside them seem made up");
}

void add_vad_options(CLI::App& app, TranscribeOptions& options) {
  VadOptions& vad = options.vad;
  app.add_flag("--vad-filter,--vad_filter", options.vad_filter,
               "Leave out what holds no speech; times stay those of the file");
  app.add_option(
      "--vad-model,--vad_model", vad.model,
      "Weights of Silero's detector, a file or a directory; energy: no network (default: "
      "silero-vad beside the model)");
  app.add_option("--vad-threshold,--vad_threshold", vad.threshold,
                 "Probability from which speech begins")
      ->capture_default_str();
  app.add_option("--vad-neg-threshold,--vad_neg_threshold", vad.neg_threshold,
                 "Probability below which it ends (default: 0.15 below the threshold)");
  app.add_option("--vad-min-speech-duration-ms,--vad_min_speech_duration_ms",
                 vad.min_speech_duration_ms, "Shorter speech is left out")
      ->check(small_counts())
      ->capture_default_str();
  app.add_option("--vad-max-speech-duration-s,--vad_max_speech_duration_s",
                 vad.max_speech_duration_s, "Longer speech is cut, at a pause if there is one")
      ->capture_default_str();
  app.add_option("--vad-min-silence-duration-ms,--vad_min_silence_duration_ms",
                 vad.min_silence_duration_ms, "Shorter silence does not end speech")
      ->check(small_counts())
      ->capture_default_str();
  app.add_option("--vad-speech-pad-ms,--vad_speech_pad_ms", vad.speech_pad_ms,
                 "Silence that is kept around speech")
      ->check(small_counts())
      ->capture_default_str();
}

}  // namespace

std::vector<double> parse_numbers(const std::string& text, const std::string& option) {
  std::vector<double> numbers;
  if (text.find_first_not_of(' ') == std::string::npos) return numbers;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view part = std::string_view(text).substr(begin, end - begin);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    numbers.push_back(parse_number(part, option));
    begin = end + 1;
  }
  return numbers;
}

void add_transcribe_options(CLI::App& app, TranscribeOptions& options, NumberLists& lists) {
  app.add_option("-l,--language", options.language,
                 "Language, by code or name (default: detected)");
  app.add_flag("--multilingual", options.multilingual,
               "Detect the language of each window anew, where several are spoken");
  app.add_option("--task", options.task, "transcribe, or translate into English")
      ->check(CLI::IsMember({"transcribe", "translate"}))
      ->capture_default_str();
  app.add_option("-b,--batch-size,--batch_size", lists.batch_size,
                 "Windows decoded together, each of another file (default 1); with --batched "
                 "also of one (default 8)")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--batched", options.batched,
               "Cut files at pauses into chunks of at most 30 s that are decoded side by side");
  app.add_option("--channels", lists.channels,
                 "mix: the mean of all; split: each by itself, which segments then name")
      ->check(CLI::IsMember({"mix", "split"}))
      ->capture_default_str();
  app.add_option("--clip-timestamps,--clip_timestamps", lists.clip_timestamps,
                 "Stretches to transcribe: start,end,start,end,... in seconds");
  app.add_flag("--without-timestamps,--without_timestamps", options.without_timestamps,
               "Text without times");
  add_word_options(app, options);
  add_vad_options(app, options);
  add_prompt_options(app, options);
  add_search_options(app, options);
  add_fallback_options(app, options, lists);
  app.add_option("--suppress-tokens,--suppress_tokens", lists.suppress_tokens,
                 "Ids that are never sampled (-1: marks that are not speech)")
      ->capture_default_str();
  app.add_flag("--suppress-blank,--suppress_blank,!--no-suppress-blank", options.suppress_blank,
               "Nor a blank or the end as a window's first token (default)");
  app.add_option("--max-initial-timestamp,--max_initial_timestamp", options.max_initial_timestamp,
                 "Seconds into a window by which its first segment begins")
      ->capture_default_str();
  app.add_option("--max-tokens,--max-new-tokens,--max_new_tokens", options.max_tokens,
                 "Tokens per window (0: half the context)")
      ->check(small_counts())
      ->capture_default_str();
}

void add_subtitle_options(CLI::App& app, SubtitleStyle& style) {
  app.add_flag("--highlight-words,--highlight_words", style.highlight_words,
               "Underline each word as it is said (srt, vtt)");
  app.add_option("--max-line-width,--max_line_width", style.max_line_width,
                 "Characters of a line (srt, vtt; 0: any)")
      ->check(small_counts())
      ->capture_default_str();
  app.add_option("--max-line-count,--max_line_count", style.max_line_count,
                 "Lines of a cue (srt, vtt; 0: any)")
      ->check(small_counts())
      ->capture_default_str();
  app.add_option("--max-words-per-line,--max_words_per_line", style.max_words_per_line,
                 "Words of a line (srt, vtt; 0: any)")
      ->check(small_counts())
      ->capture_default_str();
}

void parse_lists(const NumberLists& lists, TranscribeOptions& options) {
  options.batch_size = lists.batch_size.value_or(options.batched ? 8 : 1);
  options.split_channels = lists.channels == "split";
  options.temperatures = parse_numbers(lists.temperature, "--temperature");
  options.clip_timestamps = parse_numbers(lists.clip_timestamps, "--clip-timestamps");
  options.suppress_tokens.clear();
  for (const double id : parse_numbers(lists.suppress_tokens, "--suppress-tokens")) {
    if (id != std::floor(id) || std::abs(id) > std::numeric_limits<int32_t>::max()) {
      throw Error(ErrorCode::bad_request, "Ids of tokens are whole numbers.",
                  "--suppress-tokens " + lists.suppress_tokens);
    }
    options.suppress_tokens.push_back(static_cast<int32_t>(id));
  }
}

}  // namespace slim::cli
