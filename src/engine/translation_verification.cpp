// Verification of models of text for text: what kv in f32 writes greedily, through both caches.
#include <array>
#include <string>

#include "base/mapped_file.h"
#include "engine/paired_scorer.h"
#include "engine/runtime.h"
#include "engine/translator.h"

namespace slim {
namespace {

std::vector<std::string> read_lines(const std::string& path) {
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace

Verification verify_translation(Runtime& runtime, const std::string& path,
                                const TranslateOptions& options) {
  require_reading(runtime);
  require_kv(runtime);
  const TranslationTokens& tokens = runtime.translation_tokens();
  const Route route{options.source, options.target};
  tokens.check(route);
  TranslateOptions greedy = options;
  greedy.beams = 1;
  greedy.sampling.temperature = 0;
  const TranslationSetting setting = translation_setting(greedy, tokens, runtime.spec().vocabulary);
  std::vector<TranslationRequest> requests;
  const std::vector<std::string> lines = read_lines(path);
  for (size_t i = 0; i < lines.size(); ++i) {
    TranslationRequest request;
    request.source = read_source(runtime, lines[i], route, i);
    if (request.source.empty()) continue;
    request.begun = tokens.begin(route);
    request.counted = static_cast<int64_t>(request.begun.size()) - 1;
    requests.push_back(std::move(request));
  }
  if (requests.empty()) {
    throw Error(ErrorCode::bad_request, "There is no text in it to verify on.", path);
  }
  const auto session = runtime.kernels().begin_session();
  const Model& candidate = runtime.model();
  const Model& reference = runtime.model(kv_choice(RowType::f32));
  PairedScorer scorer(reference, candidate);
  TranslateStats stats;
  size_t count = 0;
  translate_requests(reference, requests, setting, stats,
                     [&](size_t index, std::vector<Hypothesis> texts) {
                       const TranslationRequest& request = requests[index];
                       const std::array lengths = {static_cast<int64_t>(request.source.size())};
                       const auto encode = [&](const Model& model) {
                         return model.encode(request.source, lengths);
                       };
                       scorer.score(encode, texts.front().tokens);
                       ++count;
                       return !options.on_done || options.on_done(index, count, requests.size());
                     });
  return scorer.verification();
}

}  // namespace slim
