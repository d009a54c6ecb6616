// From public requests to the Translator's.
#include <algorithm>
#include <string>

#include "engine/runtime.h"
#include "engine/translator.h"

namespace slim {
namespace {

struct Prepared {
  std::vector<TranslationRequest> requests;
  std::vector<size_t> indices;  // of their sources; those of empty ones are missing
};

Prepared prepare(const Runtime& runtime, const std::vector<std::string>& sources,
                 const TranslateOptions& options, std::vector<Translation>& out) {
  const TranslationTokens& tokens = runtime.translation_tokens();
  const Route route{options.source, options.target};
  const std::vector<int32_t> prefix = tokens.target(options.target_prefix);
  Prepared prepared;
  for (size_t i = 0; i < sources.size(); ++i) {
    TranslationRequest request;
    request.source = read_source(runtime, sources[i], route, options.first + i);
    out[i].source_tokens = static_cast<int64_t>(request.source.size());
    if (request.source.empty()) {
      out[i].hypotheses.emplace_back();
      continue;
    }
    request.begun = tokens.begin(route);
    request.counted = static_cast<int64_t>(request.begun.size()) - 1;
    request.begun.insert(request.begun.end(), prefix.begin(), prefix.end());
    request.stream = options.first + i;
    prepared.requests.push_back(std::move(request));
    prepared.indices.push_back(i);
  }
  return prepared;
}

// `cut`: why it could not go on, if it could not; else end.
TranslationHypothesis described(const TranslationTokens& tokens, const Hypothesis& text,
                                int64_t counted, Finish cut, bool forced_end) {
  TranslationHypothesis out;
  // Without the start token and what is forced after it; a prefix is the text's.
  out.tokens.assign(text.tokens.begin() + 1 + counted, text.tokens.end());
  out.text = tokens.text(out.tokens);
  out.score = text.score;
  out.sum_logprob = text.sum_logprob;
  if (!text.ended || forced_end) out.finish = cut;
  return out;
}

}  // namespace

std::vector<int32_t> read_source(const Runtime& runtime, const std::string& text,
                                 const Route& route, size_t index) {
  const std::string place = "text " + std::to_string(index + 1);
  const StackSpec& encoder = runtime.spec().encoder;
  std::vector<int32_t> source;
  try {
    source = runtime.translation_tokens().source(text, route, false);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::bad_request) throw;
    throw Error(error.code(), error.text(),
                error.place().empty() ? place : place + ": " + error.place());
  }
  if (encoder.is_absolute() && std::ssize(source) > encoder.positions) {
    throw Error(ErrorCode::bad_request,
                "The text has " + std::to_string(source.size()) + " tokens, more than the " +
                    std::to_string(encoder.positions) + " positions of the encoder.",
                place);
  }
  return source;
}

std::vector<Translation> translate_texts(Runtime& runtime, const std::vector<std::string>& sources,
                                         const TranslateOptions& options, TranslateStats* stats) {
  require_reading(runtime);
  const TranslationTokens& tokens = runtime.translation_tokens();
  tokens.check({options.source, options.target});
  const TranslationSetting setting =
      translation_setting(options, tokens, runtime.spec().vocabulary);
  std::vector<Translation> translations(sources.size());
  const Prepared prepared = prepare(runtime, sources, options, translations);
  const auto session = runtime.kernels().begin_session();
  const Model& model = runtime.model();
  TranslateStats own;
  size_t finished = 0;
  const auto report = [&](size_t index) {
    ++finished;
    return !options.on_done || options.on_done(index, finished, sources.size());
  };
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!translations[i].hypotheses.empty() && !report(i)) return translations;
  }
  translate_requests(
      model, prepared.requests, setting, own, [&](size_t number, std::vector<Hypothesis> texts) {
        const TranslationRequest& request = prepared.requests[number];
        Translation& out = translations[prepared.indices[number]];
        const auto count = std::min(texts.size(), static_cast<size_t>(setting.hypotheses));
        for (const Hypothesis& text : std::span(texts).first(count)) {
          const auto added = std::ssize(text.tokens) - std::ssize(request.begun);
          // The token after these would have been the last, as Run::begin in translator.cpp has it.
          Finish cut = Finish::end;
          if (std::ssize(text.tokens) >= model.context()) cut = Finish::context;
          if (request.counted + added + 1 >= setting.most) cut = Finish::length;
          out.hypotheses.push_back(
              described(tokens, text, request.counted, cut, setting.forced_end.has_value()));
        }
        return report(prepared.indices[number]);
      });
  own.sources = static_cast<int64_t>(sources.size());
  for (const Translation& one : translations) own.source_tokens += one.source_tokens;
  own.load_seconds = runtime.load_seconds();
  own.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  if (stats != nullptr) *stats = own;
  return translations;
}

}  // namespace slim
