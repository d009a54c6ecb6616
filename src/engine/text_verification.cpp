// Verification and perplexity of language models, over a text file cut into sequences.
#include <algorithm>
#include <cmath>
#include <string>

#include "base/mapped_file.h"
#include "base/stopwatch.h"
#include "engine/divergence.h"
#include "engine/logits.h"
#include "engine/runtime.h"
#include "engine/text_scoring.h"

namespace slim {
namespace {

constexpr int64_t kContext = 1024;  // of a sequence, unless asked for

int64_t sequence_length(const Runtime& runtime, int64_t asked) {
  const int64_t limit = runtime.context();
  if (asked == 0) return std::min(kContext, limit);
  if (asked >= 2 && asked <= limit) return asked;
  throw Error(ErrorCode::bad_request,
              "Sequences can have between 2 and " + std::to_string(limit) + " tokens.",
              std::to_string(asked));
}

std::vector<std::vector<int32_t>> read_sequences(const Runtime& runtime, const std::string& path,
                                                 const ScoreOptions& options) {
  if (options.max_tokens < 0 || options.step_tokens < 0) {
    throw Error(ErrorCode::bad_request, "The number of tokens must not be negative.");
  }
  const int64_t length = sequence_length(runtime, options.context);
  const auto file = MappedFile::open(path);
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()),
                              file->bytes().size());
  const TextTokens& ids = runtime.text_tokens();
  std::vector<int32_t> begin;
  if (ids.begins) begin.push_back(*ids.begin);
  std::vector<int32_t> tokens = runtime.tokenizer().encode(text);
  if (options.max_tokens > 0) {
    tokens.resize(std::min(tokens.size(), static_cast<size_t>(options.max_tokens)));
  }
  auto sequences = cut_text(tokens, begin, length);
  if (sequences.empty()) {
    throw Error(ErrorCode::bad_request, "There are not two tokens of text in it.", path);
  }
  return sequences;
}

// Calls score for each sequence until on_progress has enough; returns how many it was.
int64_t each_sequence(const std::vector<std::vector<int32_t>>& sequences,
                      const ScoreOptions& options,
                      FunctionRef<void(const std::vector<int32_t>&)> score) {
  int64_t total = 0;
  for (const auto& tokens : sequences) total += static_cast<int64_t>(tokens.size());
  int64_t done = 0;
  int64_t count = 0;
  for (const auto& tokens : sequences) {
    score(tokens);
    ++count;
    done += static_cast<int64_t>(tokens.size());
    if (options.on_progress && !options.on_progress(done, total)) break;
  }
  return count;
}

int64_t step_of(const Runtime& runtime, const ScoreOptions& options) {
  return options.step_tokens > 0 ? options.step_tokens : scoring_step(runtime.spec().vocabulary);
}

}  // namespace

Verification verify_text(Runtime& runtime, const std::string& path, const ScoreOptions& options) {
  require_text(runtime);
  require_kv(runtime);
  const auto session = runtime.kernels().begin_session();
  const auto sequences = read_sequences(runtime, path, options);
  const Model& candidate = runtime.model();
  const std::array<const Model*, 2> models = {&runtime.model(kv_choice(RowType::f32)), &candidate};
  Divergence divergence;
  const int64_t scored = each_sequence(sequences, options, [&](const auto& tokens) {
    score_sequence(models, tokens, step_of(runtime, options),
                   [&](size_t, std::span<const std::span<float>> logits) {
                     check_logits(logits[0]);
                     divergence.add(logits[0], logits[1]);
                   });
  });
  Verification result = verification_of(divergence, candidate);
  result.sequences = scored;
  result.context_tokens = static_cast<int64_t>(sequences.front().size());  // none is longer
  result.context.slim = held_context(candidate, result.context_tokens, 0);
  result.context.kv = kv_context(candidate, result.context_tokens, 0);
  result.context_bf16_bytes = bf16_context(candidate.spec(), result.context_tokens, 0);
  return result;
}

Perplexity measure_perplexity(Runtime& runtime, const std::string& path,
                              const ScoreOptions& options) {
  require_text(runtime);
  const auto session = runtime.kernels().begin_session();
  const auto sequences = read_sequences(runtime, path, options);
  const std::array<const Model*, 1> models = {&runtime.model()};
  const Stopwatch clock;
  std::vector<double> losses;
  const int64_t scored = each_sequence(sequences, options, [&](const auto& tokens) {
    score_sequence(models, tokens, step_of(runtime, options),
                   [&](size_t i, std::span<const std::span<float>> logits) {
                     check_logits(logits[0]);
                     if (i + 1 == tokens.size()) return;
                     const auto next = static_cast<size_t>(tokens[i + 1]);
                     losses.push_back(log_sum_exp(logits[0]) - logits[0][next]);
                   });
  });
  Perplexity result;
  result.tokens = static_cast<int64_t>(losses.size());
  result.sequences = scored;
  const auto count = static_cast<double>(losses.size());
  for (const double loss : losses) result.nll_mean += loss / count;
  double squares = 0;
  for (const double loss : losses) squares += (loss - result.nll_mean) * (loss - result.nll_mean);
  result.nll_error = count > 1 ? std::sqrt(squares / (count - 1) / count) : 0;
  result.perplexity = std::exp(result.nll_mean);
  result.seconds = clock.seconds();
  return result;
}

}  // namespace slim
