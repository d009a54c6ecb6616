// Verification and perplexity of language models, over a text file cut into sequences.
#include <array>
#include <cmath>
#include <string>

#include "base/stopwatch.h"
#include "engine/divergence.h"
#include "engine/logits.h"
#include "engine/runtime.h"
#include "engine/text_scoring.h"

namespace slim {
Verification verify_text(Runtime& runtime, const std::string& path, const ScoreOptions& options) {
  require_text(runtime);
  require_kv(runtime);
  const auto session = runtime.kernels().begin_session();
  const auto sequences = read_sequences(runtime, path, options);
  const Model& candidate = runtime.model();
  const std::array<const Model*, 2> models = {&runtime.model(kv_choice(RowType::f32)), &candidate};
  Divergence divergence;
  const int64_t scored = add_divergence(models, sequences, options, divergence);
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
  const int64_t scored =
      score_text(models, sequences, options, [&](const auto& tokens, size_t i, auto logits) {
        check_logits(logits[0]);
        if (i + 1 == tokens.size()) return;
        const auto next = static_cast<size_t>(tokens[i + 1]);
        losses.push_back(log_sum_exp(logits[0]) - logits[0][next]);
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
