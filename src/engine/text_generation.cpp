// From public requests to the Generator's.
#include "base/check.h"
#include "engine/generator.h"
#include "engine/runtime.h"

namespace slim {
namespace {

// An empty prompt is the token that begins a text alone.
std::vector<int32_t> prompt_tokens(const Runtime& runtime, const GenerateRequest& request) {
  if (!request.tokens.empty()) return request.tokens;
  std::vector<int32_t> tokens = runtime.tokenizer().encode(request.prompt, true, true);
  const TextTokens& ids = runtime.text_tokens();
  if (tokens.empty() && ids.begin) tokens.push_back(*ids.begin);
  return tokens;
}

struct Prompts {
  std::vector<TextRequest> texts;
  std::vector<PageTable> encoded;  // which the texts point to
};

Prompts continued_prompts(const Runtime& runtime, const std::vector<GenerateRequest>& requests) {
  Prompts prompts;
  for (const GenerateRequest& request : requests) {
    TextRequest text;
    text.tokens = prompt_tokens(runtime, request);
    text.samples = request.samples;
    text.options = &request.options;
    text.continues = !request.prompt.empty() || !request.tokens.empty();
    prompts.texts.push_back(std::move(text));
  }
  return prompts;
}

// The encoder gets the prompts, and the decoder begins as it does.
Prompts read_prompts(const Runtime& runtime, const Model& model,
                     const std::vector<GenerateRequest>& requests) {
  const TranslationTokens& tokens = runtime.translation_tokens();
  if (tokens.asks_for_languages()) {
    throw Error(ErrorCode::bad_request,
                "The model writes from one language into another, and a prompt names neither: "
                "translate with it.");
  }
  std::vector<std::vector<int32_t>> sources;
  for (const GenerateRequest& request : requests) {
    sources.push_back(request.tokens.empty() ? tokens.source(request.prompt, {}, true)
                                             : request.tokens);
    if (sources.back().empty()) throw Error(ErrorCode::bad_request, "The prompt is empty.");
  }
  Prompts prompts;
  prompts.encoded =
      model.read(std::vector<std::span<const int32_t>>(sources.begin(), sources.end()));
  for (size_t i = 0; i < requests.size(); ++i) {
    TextRequest text;
    text.tokens = tokens.begin({});
    text.samples = requests[i].samples;
    text.options = &requests[i].options;
    text.continues = false;
    text.encoded = &prompts.encoded[i];
    prompts.texts.push_back(std::move(text));
  }
  return prompts;
}

}  // namespace

std::vector<Generation> generate_text(Runtime& runtime,
                                      const std::vector<GenerateRequest>& requests) {
  if (!runtime.reads()) require_text(runtime);
  const auto session = runtime.kernels().begin_session();
  const Model& model = runtime.model();
  const Prompts prompts = runtime.reads() ? read_prompts(runtime, model, requests)
                                          : continued_prompts(runtime, requests);
  Generator generator(model,
                      runtime.reads() ? runtime.translation_tokens().target_tokenizer()
                                      : runtime.shared_tokenizer(),
                      runtime.text_tokens());
  std::vector<Generation> generations = generator.run(prompts.texts);
  for (size_t i = 0; i < generations.size(); ++i) {
    GenerateStats& stats = generations[i].stats;
    if (runtime.reads()) stats.prompt_tokens = prompts.encoded[i].rows();
    stats.load_seconds = runtime.load_seconds();
    stats.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  }
  return generations;
}

}  // namespace slim
