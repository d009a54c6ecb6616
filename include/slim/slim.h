// Slim's whole public C++ interface, with the headers it includes: load a model, transcribe,
// translate, generate, forecast, inspect, verify, measure, convert.
//
//   slim::Engine engine("models/llama-2-7b", {});
//   slim::GenerateRequest request;
//   request.prompt = "The rows of a slim cache";
//   for (const auto& sample : engine.generate(request).samples) use(sample.text);
//
// Slim caches keys alone, or the input of an attention layer, instead of keys and values ("slim
// attention", arXiv 2503.05840): the same mathematics in half the memory or less. Everything
// throws slim::Error.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "slim/error.h"
#include "slim/forecasting.h"
#include "slim/generation.h"
#include "slim/live.h"
#include "slim/report.h"
#include "slim/transcription.h"
#include "slim/translation.h"

namespace slim {

const char* version();  // "0.1.0"

struct EngineOptions {
  std::string device = "cpu";  // one of devices()
  int threads = 0;             // 0: one per processor this process may use
  std::string cache = "auto";  // auto, kv, x, k
  std::string cache_type;      // "" (by the plan), or one of cache_types()
  // What activations are rounded to. On cards: float16, those of prompts and encoders to 11 bits,
  // off by 2^-12 of each number, or float32 (not at all; auto). On processors, where weights are
  // i8: int8 (auto), int16 (each row, by its largest number), or float32. A product with a row x is
  // then off by 1/254 (int8) or 1/65278 (int16) of max |x| times the sum of the output's |weights|
  // at most; verify measures it. Other weights are always multiplied in f32 there. float32_int16
  // and int8_int16 (auto for models with an encoder, unless cache_type is f32), and int16, also
  // round what attention multiplies, of encoders and over rows of i16 that stand for keys and
  // values, to 16 bits: each vector x off by the larger of |x|_2 / 92,000 and max |x| / 65,534 a
  // number. Error{bad_request} for what cannot be.
  std::string compute_type = "auto";
  double cache_budget = 1.0;  // largest predicted error, relative to that of kv in bf16
  // A text file of 128 tokens at least (1024 are used), for language models whose plan may seal
  // keys: then their rows are chosen by the KL measured on it instead of the predicted error, at
  // most cache_budget^2 times that of kv in bf16. Loading takes a few passes over the text more,
  // and the memory of one more plan beside kv in f32. Error{bad_request} if nothing is left to
  // choose: speech, a converted model, other kinds, rows given altogether.
  std::string calibration;
  std::optional<int64_t> spill;  // columns beside the keys, for every k layer; none: chosen
  std::optional<int64_t> rank;   // of shaped rounding, likewise
  int64_t context = 0;           // most tokens of a sequence; 0: what the model was made for
  // The most that the caller will ask for, if known (else 0): where that is less than the context,
  // it is the context. Below 64, pages are as much smaller, where a processor reads them.
  int64_t most_tokens = 0;
  bool force_cache = false;  // run a combination that the plan refuses, to look at its error
};

std::vector<std::string> devices();
std::vector<std::string> cache_types();    // "f32", "f16", ...
std::vector<std::string> compute_types();  // "auto", "float32", ...

// Works on a model directory, a GGUF or ggml file or a config.json alone.
Inspection inspect(const std::string& model, const EngineOptions& options);

// Writes a model directory in which the chosen plan and the weights derived for it are stored:
// model.safetensors, slim_plan.json, and copies of config and tokenizer. `directory` must not
// exist, or be empty; nothing is left of it on failure.
Conversion convert(const std::string& model, const std::string& directory,
                   const EngineOptions& options);

// Writes a model directory with weights of another type, f32, f16, bf16 or i8 (a scale for each
// output), from any form of a speech model: a directory of Hugging Face's or CTranslate2's, or a
// ggml file. No plan is stored: all caches run. `directory` as above. Throws Error{bad_request} for
// other models and types, and for a directory of safetensors whose weights are of that type.
Conversion convert_weights(const std::string& model, const std::string& directory,
                           const std::string& type);

class Engine {
 public:
  // `model`: a directory (Hugging Face safetensors or CTranslate2, with tokenizer), a GGUF file, or
  // a ggml file of whisper.cpp.
  Engine(const std::string& model, const EngineOptions& options);
  ~Engine();

  bool hears() const;      // a speech model: transcribes; else a model of series or text
  bool forecasts() const;  // ... of series of numbers: foretells them; else of text
  bool reads() const;  // ... which writes one text for another: translates; else a language model
  int64_t context() const;  // most tokens of a sequence

  // Speech models (others: Error{bad_request}).
  //
  // One result per path, in order; "-" is standard input. A file that cannot be read throws, with
  // its path; nothing of the others is lost if you pass them one at a time. Thread-safe: calls in
  // several threads do not disturb each other.
  std::vector<Transcription> transcribe(const std::vector<std::string>& paths,
                                        const TranscribeOptions& options, Stats* stats = nullptr);
  // 16 kHz mono samples.
  Transcription transcribe_samples(const std::vector<float>& samples,
                                   const TranscribeOptions& options, Stats* stats = nullptr);
  // The language of each file and its probability, by its first window with sound; no segments.
  // English-only models hear English with probability 1.
  std::vector<Transcription> detect_languages(const std::vector<std::string>& paths,
                                              const TranscribeOptions& options);
  // Transcribes the audio greedily with kv in f32, then scores those tokens, one at a time, under
  // both.
  Verification verify(const std::string& audio, const TranscribeOptions& options);

  // Language models, and for generate() also those of text for text, whose encoder reads the prompt
  // (others: Error{bad_request}). Thread-safe.
  //
  // A prompt that is longer than the context is Error{bad_request} with both counts; so is an empty
  // one where the tokenizer has no token to begin with.
  Generation generate(const GenerateRequest& request);
  // Several at once: each pass serves all of them. Times and bytes are those of the whole run.
  std::vector<Generation> generate(const std::vector<GenerateRequest>& requests);
  // The ids of a text, with the tokens that the tokenizer puts before it.
  std::vector<int32_t> tokenize(const std::string& text) const;
  // Scores a text file's tokens under kv in f32 and under the chosen cache.
  Verification verify_text(const std::string& path, const ScoreOptions& options);
  Perplexity perplexity(const std::string& path, const ScoreOptions& options);

  // Models that write a text for another one (others: Error{bad_request}). Thread-safe.
  //
  // A translation for each text, in order; that of an empty text is empty. Throws
  // Error{bad_request} for languages that the model does not know, naming those it knows; for a
  // text that is not UTF-8, is longer than the model's positions (with both counts), or has special
  // tokens alone.
  std::vector<Translation> translate(const std::vector<std::string>& texts,
                                     const TranslateOptions& options,
                                     TranslateStats* stats = nullptr);
  TranslationLanguages languages() const;
  // Translates the lines of a text file greedily with kv in f32, then scores those tokens, one at a
  // time, under both.
  Verification verify_translation(const std::string& path, const TranslateOptions& options);

  // Models of series (others: Error{bad_request}). Thread-safe.
  //
  // A forecast for each series, in order; of unequal lengths, they do as each does alone. Throws
  // Error{bad_request} with the series' number if it is empty, has an infinite value, or none that
  // is known among those that the model looks at.
  std::vector<Forecast> forecast(const std::vector<Series>& series, const ForecastOptions& options,
                                 ForecastStats* stats = nullptr);
  SeriesLimits series_limits() const;
  // What kv in f32 and the chosen cache say of what comes after each series: of models that draw,
  // over the likeliest path, one token at a time.
  Verification verify_forecast(const std::vector<Series>& series, const ForecastOptions& options);

  // kv and slim (in the chosen kind and type), at every batch size or prompt length.
  std::vector<BenchRow> bench(const BenchOptions& options);

 private:
  friend class ChatSession;
  friend class LiveTranscription;
  struct State;
  std::unique_ptr<State> state_;
};

// A conversation whose rows are kept: a turn computes only the tokens that differ from what is
// cached already. Not thread-safe; several sessions over one engine do not disturb each other.
class ChatSession {
 public:
  // The engine must outlive it. Throws Error{bad_request} if the model has no chat template.
  explicit ChatSession(Engine& engine, const std::string& system = {});
  ~ChatSession();

  // Adds the user's message and the model's answer to the conversation. On an Error, and where a
  // callback cancelled before any token came, the conversation is as before.
  Generation reply(const std::string& message, const GenerateOptions& options);
  void reset();  // back to the system message alone
  const std::vector<Message>& messages() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slim
