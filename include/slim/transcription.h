// Speech to text: what Engine::transcribe takes and gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace slim {

class Error;
struct Transcription;

// What counts as speech where silence is left out. Names and defaults are those of Silero's
// detector in faster-whisper, which runs where its weights are given.
struct VadOptions {
  // Silero's weights: a file of safetensors, or a directory with model.safetensors; "": no network,
  // but a detector that goes by energy (docs/cli.md). Transcription::vad_detector says which it
  // was.
  std::string model;
  double threshold = 0.5;               // probability from which speech begins
  std::optional<double> neg_threshold;  // below which it ends; none: threshold - 0.15
  int min_speech_duration_ms = 0;       // shorter speech is left out
  // Longer is cut in two. With `batched` at most a window of the model (30 s).
  double max_speech_duration_s = std::numeric_limits<double>::infinity();
  std::optional<int> min_silence_duration_ms;  // shorter stays; none: 2000, with `batched` 160
  int speech_pad_ms = 400;                     // silence kept around speech
};

// Names and defaults are those of faster-whisper and openai-whisper.
struct TranscribeOptions {
  std::string language;             // "" detects it (multilingual models), or "en"
  bool multilingual = false;        // detect it anew for each window (multilingual models)
  std::string task = "transcribe";  // or "translate": into English, by multilingual models

  // What is put before a window's text. Earlier text, hotwords and prefix share 223 tokens (half
  // the context less one): of hotwords and prefix the first count, of earlier text the last.
  bool condition_on_previous_text = true;  // earlier text prompts a window
  std::string initial_prompt;              // counts as text before the first window
  std::string hotwords;                    // in the prompt of every window that has no prefix
  std::string prefix;                      // the first window's text begins with it

  // A window is decoded at the first temperature, and again at the next one where it came out too
  // repetitive or too unlikely. If all fail, the likeliest that is not too repetitive is taken.
  std::vector<double> temperatures = {0, 0.2, 0.4, 0.6, 0.8, 1};
  int beam_size = 5;    // texts kept side by side at temperature 0; 1: greedy
  int best_of = 5;      // texts sampled at a temperature above 0
  double patience = 1;  // round(beam_size * patience) texts that end are waited for
  // The best text is taken: of the largest mean log-probability a token; or, of n tokens, of the
  // largest sum over ((5 + n) / 6)^length_penalty (openai-whisper's, 0 to 1).
  std::optional<double> length_penalty;
  uint64_t seed = 0;                         // random numbers depend on it and on the window alone
  double compression_ratio_threshold = 2.4;  // above it: too repetitive
  double prompt_reset_on_temperature = 0.5;  // no earlier text after a window above this
  double no_speech_threshold = 0.6;          // skip a window above this probability of silence ...
  double logprob_threshold = -1.0;  // ... unless its mean log-probability is above this; a window
                                    // below this that is not silence is decoded again

  std::vector<int32_t> suppress_tokens = {-1};  // never sampled; -1: marks that are not speech
  bool suppress_blank = true;                   // nor a blank or the end as the first token
  // Stretches to transcribe, in seconds: start, end, start, end, ...; the last end may be left out.
  // Ascending; none: everything.
  std::vector<double> clip_timestamps;
  bool without_timestamps = false;  // decode without timestamp tokens

  bool split_channels = false;  // each channel by itself, instead of their mean

  bool vad_filter = false;  // transcribe without what holds no speech; times are those of the file
  VadOptions vad;

  // Times and probabilities of words, by the model's cross attention. Then marks of the first list
  // are part of the word after them, marks of the second of the word before them.
  bool word_timestamps = false;
  std::string prepend_punctuations = "\"'“¿([{-";
  std::string append_punctuations = "\"'.。,，!！?？:：”)]}、";
  // With word_timestamps: where words seem made up amid silences of more seconds than this, go on
  // after the silence before them.
  std::optional<double> hallucination_silence_threshold;

  double max_initial_timestamp = 1.0;  // seconds
  // Per window; 0: half the context (224), of models without timestamps 6.5 a second.
  int max_tokens = 0;
  // Windows decoded together, each of another file; with `batched`, and always by models without
  // timestamps (Moonshine), also of the same one, which is cut into chunks of at most a window
  // (30 s): at silences that the filter leaves out, else at the quietest moment of the window's
  // last third. A chunk is transcribed as if it were a file by itself, to its end, so nothing that
  // was said before it prompts it but initial_prompt.
  int batch_size = 1;
  bool batched = false;

  // All are called from the transcribing thread. Returning false from on_progress stops with what
  // there is so far.
  std::function<bool(size_t file, double seconds_done, double seconds_total)> on_progress;
  // A file is done, which need not be in order.
  std::function<void(size_t file, const Transcription& transcription)> on_result;
  // A file cannot be read. Where this is set, its transcription stays empty and the others go on;
  // else the error is thrown.
  std::function<void(size_t file, const Error& error)> on_failure;
};

struct Word {
  double start = 0;  // seconds from the start of the file
  double end = 0;
  std::string word;        // valid UTF-8, with its leading space and the marks beside it
  double probability = 0;  // mean of its tokens'
};

// The fields of faster-whisper's segments. Times never decrease from one to the next; of several
// channels, where each may speak over the others, those of beginnings. Times in seconds from the
// start of the file.
struct Segment {
  int id = 0;    // 1, 2, ...
  int seek = 0;  // first frame (10 ms) of the window it was decoded from
  double start = 0;
  double end = 0;
  std::string text;  // valid UTF-8, with its leading space
  std::vector<int32_t> tokens;
  double temperature = 0;  // the window was decoded at; the last where all failed
  double avg_logprob = 0;
  double compression_ratio = 0;  // of the window's text, by zlib
  double no_speech_prob = 0;
  std::optional<std::vector<Word>> words;  // with word_timestamps
  std::optional<int> channel;              // 0, 1, ...; with split_channels
};

struct Stats {
  double audio_seconds = 0;
  double load_seconds = 0;
  double mel_seconds = 0;
  double encode_seconds = 0;
  double decode_seconds = 0;
  double total_seconds = 0;  // without loading
  int64_t windows = 0;
  int64_t tokens = 0;                 // generated, in all beams and samples
  int64_t steps = 0;                  // decoder passes
  int64_t context_peak_bytes = 0;     // most pages held at once: rows, encoder rows, scales
  int64_t context_peak_kv_bytes = 0;  // what a standard cache in rows of the same type would hold
  int64_t weight_bytes = 0;           // as used: mapped or derived
};

struct Transcription {
  std::string language;  // of several channels, the one that is surest; "" where no token tells
  double language_probability = 1;
  double duration = 0;            // seconds
  double duration_after_vad = 0;  // of what was transcribed
  std::string vad_detector;  // what silence was left out by: "network", "energy"; "": it was not
  std::vector<Segment> segments;
  std::string text() const;  // all segments, leading space trimmed
};

}  // namespace slim
