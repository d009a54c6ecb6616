// Loading, and the table of models by cache choice.
#include "engine/runtime.h"

#include <array>

#include "base/json.h"
#include "base/stopwatch.h"
#include "engine/calibration.h"
#include "engine/compute_type.h"
#include "engine/ggml_text.h"
#include "engine/gguf_text.h"
#include "engine/plan_file.h"

namespace slim {
namespace {

// English-only vocabularies list language tokens that their models were never trained on.
constexpr int64_t kMultilingualVocabulary = 51865;

std::shared_ptr<const Tokenizer> read_tokenizer(const ModelFiles& files) {
  const Checkpoint& checkpoint = *files.checkpoint;
  if (checkpoint.metadata() != nullptr) return read_gguf_tokenizer(*checkpoint.metadata());
  if (checkpoint.extras() == nullptr) return Tokenizer::load(files.directory);
  return read_ggml_tokenizer(*checkpoint.extras(), files.spec.vocabulary,
                             checkpoint.path().string());
}

bool is_multilingual(const ModelFiles& files) {
  const std::filesystem::path path = files.directory / "generation_config.json";
  // What lies beside a ggml file may be of another model.
  if (files.checkpoint->extras() == nullptr && std::filesystem::exists(path)) {
    const JsonObject config = JsonObject::read(path);
    if (config.has("is_multilingual")) return config.boolean("is_multilingual");
  }
  return files.spec.vocabulary >= kMultilingualVocabulary;
}

std::string key_of(const CacheChoice& choice) {
  std::string key = choice.kind + "/" + std::to_string(choice.budget);
  key += choice.row_type ? "/" + std::string(name_of(*choice.row_type)) : "/";
  key += choice.spill ? "/" + std::to_string(*choice.spill) : "/";
  key += choice.rank ? "/" + std::to_string(*choice.rank) : "/";
  key += "/" + std::string(name_of(choice.arithmetic));
  return key + (choice.forced ? "/forced" : "");
}

std::optional<int64_t> checked_size(const std::optional<int64_t>& value, const char* name) {
  if (value && (*value < 0 || *value > 1 << 20)) {
    throw Error(ErrorCode::bad_request, "The option must be 0 or a number of columns.", name);
  }
  return value;
}

}  // namespace

CacheChoice cache_choice(const EngineOptions& options, const ModelFiles& files,
                         const Kernels& kernels) {
  CacheChoice choice;
  const bool may_round = files.spec.has_encoder() && options.cache_type != "f32";
  choice.arithmetic =
      compute_type(options.compute_type, may_round, files.checkpoint.get(), kernels);
  choice.kind = options.cache;
  choice.forced = options.force_cache;
  choice.budget = options.cache_budget;
  choice.spill = checked_size(options.spill, "spill");
  choice.rank = checked_size(options.rank, "rank");
  if (!(options.cache_budget > 0)) {
    throw Error(ErrorCode::bad_request, "The budget must be above 0.", "cache_budget");
  }
  if (!options.cache_type.empty()) choice.row_type = row_type(options.cache_type);
  if (!files.converted) return choice;
  choice.stored = read_plan(files.directory / kPlanFile);
  if (options.cache != "auto" || choice.row_type || choice.spill || choice.rank) {
    throw Error(ErrorCode::bad_request,
                "The model was converted for one cache, which auto chooses; for others use the "
                "model it was made from.",
                files.directory.string());
  }
  return choice;
}

CacheChoice kv_choice(RowType type, const Arithmetic& arithmetic) {
  CacheChoice choice;
  choice.arithmetic = arithmetic;
  choice.kind = "kv";
  choice.row_type = type;
  return choice;
}

int64_t context_of(const ModelSpec& spec, int64_t asked) {
  if (asked < 0) {
    throw Error(ErrorCode::bad_request, "The context must not be negative.", std::to_string(asked));
  }
  return asked > 0 ? asked : spec.decoder.positions;
}

bool has_kv(const Runtime& runtime) { return runtime.choice().stored.empty(); }

void require_kv(const Runtime& runtime) {
  if (has_kv(runtime)) return;
  throw Error(ErrorCode::bad_request,
              "A converted model has no value weights to run a standard cache with: compare the "
              "model it was made from.",
              runtime.name());
}

void require_words(const Runtime& runtime) {
  if (!runtime.forecasts()) return;
  throw Error(ErrorCode::bad_request,
              "This is a model of series of numbers: it forecasts, and knows neither speech nor "
              "text.",
              runtime.name());
}

void require_speech(const Runtime& runtime) {
  if (runtime.hears()) return;
  require_words(runtime);
  throw Error(ErrorCode::bad_request, "This is a model of text: it cannot transcribe speech.",
              runtime.name());
}

void require_text(const Runtime& runtime) {
  if (!runtime.spec().has_encoder()) return;
  require_words(runtime);
  throw Error(ErrorCode::bad_request,
              runtime.hears()
                  ? "This is a speech model: it transcribes, and cannot continue or score a text."
                  : "This model writes a text for another one that its encoder reads, and cannot "
                    "continue or score a text.",
              runtime.name());
}

void require_series(const Runtime& runtime) {
  if (runtime.forecasts()) return;
  throw Error(ErrorCode::bad_request,
              "This is a model of speech or text: it cannot forecast a series of numbers.",
              runtime.name());
}

void require_reading(const Runtime& runtime) {
  if (runtime.reads()) return;
  require_words(runtime);
  throw Error(ErrorCode::bad_request,
              runtime.hears() ? "This is a speech model: it reads no text."
                              : "This is a language model: it continues a text, and has no encoder "
                                "that reads another.",
              runtime.name());
}

Runtime::Runtime(const std::string& model, const EngineOptions& options,
                 std::unique_ptr<Kernels> kernels)
    : name_(model), kernels_(std::move(kernels)) {
  const Stopwatch clock;
  if (kernels_ == nullptr) kernels_ = make_kernels(options.device, options.threads);
  files_ = open_model(model);
  if (files_.checkpoint == nullptr) {
    throw Error(ErrorCode::bad_file, "There are no weights beside this config.json.", model);
  }
  choice_ = cache_choice(options, files_, *kernels_);
  context_ = context_of(files_.spec, options.context);
  if (options.most_tokens > 0) context_ = std::min(context_, options.most_tokens);
  if (!forecasts()) read_vocabulary();
  weights_ = std::make_shared<const ModelWeights>(files_.spec, *files_.checkpoint);
  if (options.calibration.empty()) {
    this->model();
  } else {
    MeasuredModel measured = measure_plan(*this, options.calibration);
    calibration_ = measured.calibration;
    std::unique_ptr<Model>& chosen = models_[key_of(choice_)];
    chosen = std::move(measured.model);  // in f32: what the cache does to it was measured
    if (choice_.arithmetic != Arithmetic()) {
      chosen = std::make_unique<Model>(spec(), weights_, *kernels_, chosen->plan(), context_,
                                       choice_.arithmetic);
    }
  }
  load_seconds_ = clock.seconds();
}

void Runtime::read_vocabulary() {
  const GgufMetadata* metadata = files_.checkpoint->metadata();
  tokenizer_ = read_tokenizer(files_);
  if (hears()) {
    speech_tokens_ = spec().waveform ? plain_speech_tokens(files_.directory, spec().vocabulary)
                                     : slim::speech_tokens(*tokenizer_, is_multilingual(files_));
    if (!speech_tokens_->plain() && speech_tokens_->first_timestamp > files_.spec.vocabulary) {
      throw Error(ErrorCode::bad_file, "The tokenizer's steering tokens lie beyond the vocabulary.",
                  (files_.directory / "tokenizer.json").string());
    }
  } else if (reads()) {
    translation_tokens_.emplace(
        tokenizer_,
        metadata != nullptr ? read_gguf_translation(*metadata)
                            : TranslationFiles::read(files_.directory),
        files_.spec.vocabulary,
        metadata != nullptr ? nullptr : Tokenizer::load_target(files_.directory));
    text_tokens_ = TextTokens{{}, false, translation_tokens_->ends()};
  } else {
    // A GGUF file says everything itself: what lies beside it may be of another model.
    const int64_t vocabulary = files_.spec.vocabulary;
    text_tokens_ =
        metadata != nullptr
            ? read_text_tokens({}, vocabulary, *tokenizer_, read_gguf_ends(*metadata, *tokenizer_))
            : read_text_tokens(files_.directory, vocabulary, *tokenizer_);
  }
}

const Model& Runtime::model(const CacheChoice& choice) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Model>& slot = models_[key_of(choice)];
  if (!slot) slot = std::make_unique<Model>(files_.spec, weights_, *kernels_, choice, context_);
  return *slot;
}

std::unique_ptr<Model> Runtime::new_model(std::vector<LayerPlan> plan) const {
  return std::make_unique<Model>(files_.spec, weights_, *kernels_, std::move(plan), context_);
}

std::vector<LayerPlan> Runtime::plan(const CacheChoice& choice) const {
  return plan_layers(files_.spec, weights_.get(), choice);
}

std::vector<LayerPlan> Runtime::unseen_plan(const CacheChoice& choice) const {
  return plan_layers(files_.spec, nullptr, choice);
}

}  // namespace slim
