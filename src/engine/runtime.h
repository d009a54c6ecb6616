// Runtime: a loaded model with everything needed to run it, and one Model for each cache choice
// that has been asked for. Loading is one place; what is done with a speech model and with a
// language model are free functions over it, below.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "audio/audio_reader.h"
#include "engine/divergence.h"
#include "engine/speech_tokens.h"
#include "engine/text_tokens.h"
#include "engine/translation_tokens.h"
#include "kernels/kernels.h"
#include "models/family.h"
#include "models/model.h"
#include "slim/slim.h"
#include "text/tokenizer.h"

namespace slim {

class Runtime {
 public:
  // `kernels`: what to run on instead of options.device; may be null.
  Runtime(const std::string& model, const EngineOptions& options,
          std::unique_ptr<Kernels> kernels = nullptr);

  const std::string& name() const noexcept { return name_; }
  const ModelSpec& spec() const noexcept { return files_.spec; }
  bool hears() const noexcept { return spec().hears(); }
  bool reads() const noexcept { return spec().reads(); }
  bool forecasts() const noexcept { return spec().forecasts(); }
  const std::filesystem::path& directory() const noexcept { return files_.directory; }
  int64_t context() const noexcept { return context_; }
  const ModelWeights& weights() const noexcept { return *weights_; }
  std::shared_ptr<const ModelWeights> shared_weights() const noexcept { return weights_; }
  // Of models of speech and text.
  const Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
  std::shared_ptr<const Tokenizer> shared_tokenizer() const noexcept { return tokenizer_; }
  const SpeechTokens& tokens() const { return speech_tokens_.value(); }   // of speech models
  const TextTokens& text_tokens() const { return text_tokens_.value(); }  // of models of text
  // Of models that write a text for another one.
  const TranslationTokens& translation_tokens() const { return translation_tokens_.value(); }
  Kernels& kernels() const noexcept { return *kernels_; }
  const CacheChoice& choice() const noexcept { return choice_; }
  // If the plan of model() was measured.
  const std::optional<Calibration>& calibration() const noexcept { return calibration_; }
  double load_seconds() const noexcept { return load_seconds_; }

  // The model under the options' cache, and under another. Built on first use, then kept.
  // Thread-safe.
  const Model& model() { return model(choice_); }
  const Model& model(const CacheChoice& choice);
  // One more model over the same weights, which is the caller's: what its plan derives and its
  // pages go with it. Its products are in f32.
  std::unique_ptr<Model> new_model(std::vector<LayerPlan> plan) const;
  std::vector<LayerPlan> plan(const CacheChoice& choice) const;
  // The same without a look at the weights, at no cost: which kinds and types layers can have.
  std::vector<LayerPlan> unseen_plan(const CacheChoice& choice) const;

 private:
  void read_vocabulary();

  std::string name_;
  ModelFiles files_;
  CacheChoice choice_;
  int64_t context_ = 0;
  std::unique_ptr<Kernels> kernels_;
  std::shared_ptr<const ModelWeights> weights_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::optional<SpeechTokens> speech_tokens_;
  std::optional<TextTokens> text_tokens_;
  std::optional<TranslationTokens> translation_tokens_;
  std::optional<Calibration> calibration_;
  double load_seconds_ = 0;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Model>> models_;
};

// From the public options, and the plan of a converted model. Throws Error{bad_request} for an
// unknown cache or type, for one that a converted model has no weights for, and for a compute type
// that weights or kernels do not allow.
CacheChoice cache_choice(const EngineOptions& options, const ModelFiles& files,
                         const Kernels& kernels);
// `weights` may be null.
std::vector<LayerPlan> plan_layers(const ModelSpec& spec, const ModelWeights* weights,
                                   const CacheChoice& choice);
// The standard cache in rows of this type; products in f32 are what others are compared with.
CacheChoice kv_choice(RowType type, const Arithmetic& arithmetic = {});
// The longest sequence: what was asked for, or what the model was made for.
int64_t context_of(const ModelSpec& spec, int64_t asked);

// Throw Error{bad_request} if the model is of the other sort.
void require_words(const Runtime& runtime);  // speech or text
void require_speech(const Runtime& runtime);
void require_text(const Runtime& runtime);
void require_reading(const Runtime& runtime);
void require_series(const Runtime& runtime);
// Whether the model can run a standard cache: a converted one has no value weights. The second
// throws Error{bad_request} if not.
bool has_kv(const Runtime& runtime);
void require_kv(const Runtime& runtime);

// ---- Speech ----------------------------------------------------------------------------------

// Files, each opened when its turn comes: as one recording, or as one for each channel.
struct AudioList {
  size_t count = 0;
  std::function<std::vector<std::unique_ptr<AudioReader>>(size_t index)> open;
};
// What was done before on_progress stopped it is returned. `stats` is added to; may be null.
std::vector<Transcription> transcribe_audio(Runtime& runtime, const AudioList& audio,
                                            const TranscribeOptions& options, Stats* stats);
// The languages alone; options.language does not count.
std::vector<Transcription> detect_audio_languages(Runtime& runtime, const AudioList& audio,
                                                  TranscribeOptions options);
// Transcribes one recording with `model`, handing over each window as it is decoded.
struct DecodedWindow;
void transcribe_windows(Runtime& runtime, const Model& model, std::unique_ptr<AudioReader> audio,
                        const TranscribeOptions& options,
                        std::function<void(const DecodedWindow&)> on_window);
Verification verify_audio(Runtime& runtime, const std::string& audio,
                          const TranscribeOptions& options);

// ---- Text ------------------------------------------------------------------------------------

std::vector<Generation> generate_text(Runtime& runtime,
                                      const std::vector<GenerateRequest>& requests);
Verification verify_text(Runtime& runtime, const std::string& path, const ScoreOptions& options);
Perplexity measure_perplexity(Runtime& runtime, const std::string& path,
                              const ScoreOptions& options);
std::vector<BenchRow> bench_text(Runtime& runtime, const BenchOptions& options);

// ---- Text for text ---------------------------------------------------------------------------

// `stats` may be null.
std::vector<Translation> translate_texts(Runtime& runtime, const std::vector<std::string>& sources,
                                         const TranslateOptions& options, TranslateStats* stats);
Verification verify_translation(Runtime& runtime, const std::string& path,
                                const TranslateOptions& options);

// ---- Series ----------------------------------------------------------------------------------

// In f32. Throws Error{bad_request}, with its number, for a series that is empty, has an infinite
// value, or none that is known where the model looks.
std::vector<std::vector<float>> checked_series(const Runtime& runtime,
                                               const std::vector<Series>& series);
// `stats` may be null.
std::vector<Forecast> forecast_series(Runtime& runtime, const std::vector<Series>& series,
                                      const ForecastOptions& options, ForecastStats* stats);
Verification verify_forecast(Runtime& runtime, const std::vector<Series>& series,
                             const ForecastOptions& options);

// ---- All ------------------------------------------------------------------------------------

// Of models with an encoder.
std::vector<BenchRow> bench_encoded(Runtime& runtime, BenchOptions options);

// A model's plan, and what it was made of.
struct PlannedModel {
  std::shared_ptr<const ModelWeights> weights;  // null for a config alone
  std::vector<LayerPlan> plan;
  std::optional<Calibration> calibration;
  Arithmetic arithmetic = {};
  int64_t rounded_head_bytes = 0;
};
// `files`: those of `model`. Loads it only where the plan is to be measured.
PlannedModel plan_model(const std::string& model, const ModelFiles& files,
                        const EngineOptions& options);
Inspection inspect_model(const ModelFiles& files, const PlannedModel& planned, int64_t context);
// The figures of a divergence, and of a plan.
Verification verification_of(const Divergence& divergence, const Model& candidate);
std::vector<LayerReport> layer_reports(const std::vector<LayerPlan>& plan);

// Bytes held by a sequence of `tokens` rows whose last page is not full yet, with `positions`
// encoder rows: pages are allocated and counted.
int64_t held_context(const Model& model, int64_t tokens, int64_t positions);
// The same for a standard cache, in as many pages of a sequence's own and its encoder rows alone:
// in rows of the plan's types, or in bf16 where those are sealed.
int64_t kv_context(const Model& model, int64_t tokens, int64_t positions);
// Both, as a model on the host would have them whose context is `tokens`; and rows of a standard
// cache in bf16 alone.
ContextBytes planned_context(const std::vector<LayerPlan>& layers, int64_t tokens,
                             int64_t positions);
int64_t bf16_context(const ModelSpec& spec, int64_t tokens, int64_t positions);
// What a standard cache in bf16 keeps of one token in the self-attention of all layers.
int64_t bf16_bytes_per_token(const ModelSpec& spec);

}  // namespace slim
