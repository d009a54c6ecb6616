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

}  // namespace

std::vector<Generation> generate_text(Runtime& runtime,
                                      const std::vector<GenerateRequest>& requests) {
  require_text(runtime);
  const auto session = runtime.kernels().begin_session();
  const Model& model = runtime.model();
  std::vector<TextRequest> texts;
  for (const GenerateRequest& request : requests) {
    TextRequest text;
    text.tokens = prompt_tokens(runtime, request);
    text.samples = request.samples;
    text.options = &request.options;
    text.continues = !request.prompt.empty() || !request.tokens.empty();
    texts.push_back(std::move(text));
  }
  Generator generator(model, runtime.shared_tokenizer(), runtime.text_tokens());
  std::vector<Generation> generations = generator.run(texts);
  for (Generation& generation : generations) {
    generation.stats.load_seconds = runtime.load_seconds();
    generation.stats.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  }
  return generations;
}

}  // namespace slim
