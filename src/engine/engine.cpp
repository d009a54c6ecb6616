// Engine: the public face of Runtime.
#include <algorithm>
#include <string>

#include "engine/benchmark.h"
#include "engine/compute_type.h"
#include "engine/engine_state.h"

namespace slim {
namespace {

std::vector<std::unique_ptr<AudioReader>> alone(std::unique_ptr<AudioReader> reader) {
  std::vector<std::unique_ptr<AudioReader>> one;
  one.push_back(std::move(reader));
  return one;
}

// `paths` must outlive it.
AudioList files(const std::vector<std::string>& paths, const TranscribeOptions& options) {
  return {paths.size(), [&paths, split = options.split_channels](size_t index) {
            return split ? AudioReader::open_channels(paths[index])
                         : alone(AudioReader::open(paths[index]));
          }};
}

}  // namespace

const char* version() { return SLIM_VERSION; }

std::vector<std::string> devices() { return kernel_names(); }

std::vector<std::string> cache_types() {
  std::vector<std::string> names;
  for (int type = 0; type <= static_cast<int>(RowType::i4); ++type) {
    names.emplace_back(name_of(static_cast<RowType>(type)));
  }
  return names;
}

std::vector<std::string> compute_types() { return compute_type_names(); }

std::string Transcription::text() const {
  std::string all;
  for (const Segment& segment : segments) all += segment.text;
  return all.substr(std::min(all.find_first_not_of(' '), all.size()));
}

Inspection inspect(const std::string& model, const EngineOptions& options) {
  const ModelFiles files = open_model(model);
  Inspection inspection = inspect_model(files, plan_model(model, files, options), options.context);
  inspection.model = model;
  return inspection;
}

Engine::Engine(const std::string& model, const EngineOptions& options)
    : state_(std::make_unique<State>(model, options)) {}

Engine::~Engine() = default;

bool Engine::hears() const { return state_->runtime.hears(); }

bool Engine::reads() const { return state_->runtime.reads(); }

bool Engine::forecasts() const { return state_->runtime.forecasts(); }

int64_t Engine::context() const { return state_->runtime.context(); }

std::vector<Transcription> Engine::transcribe(const std::vector<std::string>& paths,
                                              const TranscribeOptions& options, Stats* stats) {
  return transcribe_audio(state_->runtime, files(paths, options), options, stats);
}

std::vector<Transcription> Engine::detect_languages(const std::vector<std::string>& paths,
                                                    const TranscribeOptions& options) {
  return detect_audio_languages(state_->runtime, files(paths, options), options);
}

Transcription Engine::transcribe_samples(const std::vector<float>& samples,
                                         const TranscribeOptions& options, Stats* stats) {
  const AudioList audio{
      1, [&](size_t) { return alone(AudioReader::from_samples(samples, "the samples given")); }};
  return transcribe_audio(state_->runtime, audio, options, stats).front();
}

Verification Engine::verify(const std::string& audio, const TranscribeOptions& options) {
  return verify_audio(state_->runtime, audio, options);
}

Generation Engine::generate(const GenerateRequest& request) {
  return std::move(generate_text(state_->runtime, {request}).front());
}

std::vector<Generation> Engine::generate(const std::vector<GenerateRequest>& requests) {
  return generate_text(state_->runtime, requests);
}

std::vector<int32_t> Engine::tokenize(const std::string& text) const {
  require_words(state_->runtime);
  return state_->runtime.tokenizer().encode(text, true, true);
}

Verification Engine::verify_text(const std::string& path, const ScoreOptions& options) {
  return slim::verify_text(state_->runtime, path, options);
}

Perplexity Engine::perplexity(const std::string& path, const ScoreOptions& options) {
  return measure_perplexity(state_->runtime, path, options);
}

std::vector<Translation> Engine::translate(const std::vector<std::string>& texts,
                                           const TranslateOptions& options, TranslateStats* stats) {
  return translate_texts(state_->runtime, texts, options, stats);
}

TranslationLanguages Engine::languages() const {
  require_reading(state_->runtime);
  const TranslationTokens& tokens = state_->runtime.translation_tokens();
  TranslationLanguages languages{tokens.languages(), {}};
  for (const Route& pair : tokens.pairs()) languages.pairs.emplace_back(pair.source, pair.target);
  return languages;
}

Verification Engine::verify_translation(const std::string& path, const TranslateOptions& options) {
  return slim::verify_translation(state_->runtime, path, options);
}

std::vector<Forecast> Engine::forecast(const std::vector<Series>& series,
                                       const ForecastOptions& options, ForecastStats* stats) {
  return forecast_series(state_->runtime, series, options, stats);
}

SeriesLimits Engine::series_limits() const {
  require_series(state_->runtime);
  const SeriesSpec& series = state_->runtime.spec().series;
  return {series.context, series.horizon, series.patch == 0};
}

Verification Engine::verify_forecast(const std::vector<Series>& series,
                                     const ForecastOptions& options) {
  return slim::verify_forecast(state_->runtime, series, options);
}

std::vector<BenchRow> Engine::bench(const BenchOptions& options) {
  Runtime& runtime = state_->runtime;
  std::vector<BenchRow> rows =
      runtime.spec().has_encoder() ? bench_encoded(runtime, options) : bench_text(runtime, options);
  // Afterwards, so that its memory is not in the rows' peaks.
  Kernels& kernels = runtime.kernels();
  const int64_t whole = int64_t{kernels.device().host() ? 1 : 2} << 30;
  const double limit = read_limit(kernels, options.read_bytes > 0 ? options.read_bytes : whole);
  for (BenchRow& row : rows) row.read_limit = limit;
  return rows;
}

}  // namespace slim
