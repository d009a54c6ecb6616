// Loading, and the table of models by cache choice.
#include "engine/runtime.h"

#include <array>

#include "base/json.h"
#include "base/stopwatch.h"

namespace slim {
namespace {

// English-only vocabularies list language tokens that their models were never trained on.
constexpr int64_t kMultilingualVocabulary = 51865;

bool is_multilingual(const ModelFiles& files) {
  const std::filesystem::path path = files.directory / "generation_config.json";
  if (std::filesystem::exists(path)) {
    const JsonObject config = JsonObject::read(path);
    if (config.has("is_multilingual")) return config.boolean("is_multilingual");
  }
  return files.spec.vocabulary >= kMultilingualVocabulary;
}

std::string key_of(const CacheChoice& choice) {
  const std::string type = choice.row_type ? std::string(name_of(*choice.row_type)) : "";
  return choice.kind + "/" + type + (choice.forced ? "/forced" : "");
}

}  // namespace

CacheChoice cache_choice(const EngineOptions& options) {
  static constexpr std::array kRowTypes = {DType::f32, DType::f16, DType::bf16, DType::i8};
  CacheChoice choice;
  choice.kind = options.cache;
  choice.forced = options.force_cache;
  if (options.cache_type.empty()) return choice;
  for (const DType type : kRowTypes) {
    if (options.cache_type == name_of(type)) choice.row_type = type;
  }
  if (!choice.row_type) {
    throw Error(ErrorCode::bad_request, "A cache type is one of f32, f16, bf16, i8.",
                options.cache_type);
  }
  return choice;
}

Runtime::Runtime(const std::string& model, const EngineOptions& options)
    : name_(model), choice_(cache_choice(options)) {
  const Stopwatch clock;
  kernels_ = make_kernels(options.device, options.threads);
  files_ = open_model(model);
  if (files_.checkpoint == nullptr) {
    throw Error(ErrorCode::bad_file, "There are no weights beside this config.json.", model);
  }
  tokenizer_ = Tokenizer::load(files_.directory / "tokenizer.json");
  tokens_ = speech_tokens(*tokenizer_, is_multilingual(files_));
  if (tokens_.first_timestamp > files_.spec.vocabulary) {
    throw Error(ErrorCode::bad_file, "The tokenizer's steering tokens lie beyond the vocabulary.",
                (files_.directory / "tokenizer.json").string());
  }
  weights_ = std::make_shared<const ModelWeights>(files_.spec, *files_.checkpoint);
  this->model();
  load_seconds_ = clock.seconds();
}

const Model& Runtime::model(const CacheChoice& choice) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Model>& slot = models_[key_of(choice)];
  if (!slot) slot = std::make_unique<Model>(files_.spec, weights_, *kernels_, choice);
  return *slot;
}

}  // namespace slim
