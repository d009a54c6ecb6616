// Verification: the same tokens through kv in f32 and through the chosen cache. Each token is its
// own step, so it is scored against rows that were stored and read back: a prefill that reads
// nothing back would prove nothing.
#include <algorithm>

#include "engine/divergence.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

const CacheChoice kReference{"kv", DType::f32, false};

class Scorer {
 public:
  Scorer(const Model& reference, const Model& candidate)
      : reference_(reference), candidate_(candidate) {}

  void score(const DecodedWindow& window) {
    const PageTable reference_rows = reference_.remember(window.encoded);
    const PageTable candidate_rows = candidate_.remember(window.encoded);
    Sequence reference{reference_.new_sequence(), &reference_rows};
    Sequence candidate{candidate_.new_sequence(), &candidate_rows};
    StepBatch reference_step(reference_);
    StepBatch candidate_step(candidate_);
    std::vector<int32_t> tokens = window.prompt;
    tokens.insert(tokens.end(), window.tokens.begin(), window.tokens.end());
    const auto limit = static_cast<size_t>(reference_.spec().decoder.positions);
    tokens.resize(std::min(tokens.size(), limit));
    for (const int32_t token : tokens) {
      advance(reference_step, reference, token);
      advance(candidate_step, candidate, token);
      divergence.add(reference_step.logits(0), candidate_step.logits(0));
    }
    slim_bytes = std::max(slim_bytes, candidate.rows.held_bytes() + candidate_rows.held_bytes());
    longest = std::max(longest, static_cast<int64_t>(tokens.size()));
    positions = window.encoded.rows;
  }

  Divergence divergence;
  int64_t slim_bytes = 0;  // most that one window's pages held
  int64_t longest = 0;     // tokens of the longest window
  int64_t positions = 0;

 private:
  static void advance(StepBatch& step, Sequence& sequence, int32_t token) {
    step.clear();
    step.add(sequence, std::span(&token, 1));
    step.run();
  }

  const Model& reference_;
  const Model& candidate_;
};

}  // namespace

Verification verify_audio(Runtime& runtime, const std::string& audio,
                          const TranscribeOptions& options) {
  const auto session = runtime.kernels().begin_session();
  const Model& candidate = runtime.model();
  const Model& reference = runtime.model(kReference);
  Scorer scorer(reference, candidate);
  transcribe_windows(runtime, reference, AudioReader::open(audio), options,
                     [&](const DecodedWindow& window) { scorer.score(window); });
  if (scorer.divergence.tokens() == 0) {
    throw Error(ErrorCode::bad_request, "There is no speech in it to verify on.", audio);
  }
  const DType type = candidate.plan().front().row_type;
  Verification result;
  result.tokens = scorer.divergence.tokens();
  result.logit_rel = scorer.divergence.logit_rel();
  result.kl_mean = scorer.divergence.kl_mean();
  result.kl_p99 = scorer.divergence.kl_quantile(0.99);
  result.kl_max = scorer.divergence.kl_quantile(1);
  result.top1 = scorer.divergence.top1();
  result.context.slim = scorer.slim_bytes;
  result.context.kv =
      held_context(runtime.model({"kv", type, false}), scorer.longest, scorer.positions);
  result.layers = layer_reports(candidate.plan());
  return result;
}

}  // namespace slim
