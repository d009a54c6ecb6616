// Verification of speech: the same tokens through kv in f32 and through the chosen cache. Each
// token is its own step, so it is scored against rows that were stored and read back: a prefill
// that reads nothing back would prove nothing.
#include <algorithm>

#include "engine/divergence.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

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
    ++windows;
  }

  Divergence divergence;
  int64_t slim_bytes = 0;  // most that one window's pages held
  int64_t longest = 0;     // tokens of the longest window
  int64_t positions = 0;
  int64_t windows = 0;

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
  require_speech(runtime);
  require_kv(runtime);
  const auto session = runtime.kernels().begin_session();
  const Model& candidate = runtime.model();
  const Model& reference = runtime.model(kv_choice(RowType::f32));
  Scorer scorer(reference, candidate);
  // Sampled tokens would differ between caches, and cost several passes; so would beams.
  TranscribeOptions greedy = options;
  greedy.temperatures = {0};
  greedy.beam_size = 1;
  transcribe_windows(runtime, reference, AudioReader::open(audio), greedy,
                     [&](const DecodedWindow& window) { scorer.score(window); });
  if (scorer.divergence.tokens() == 0) {
    throw Error(ErrorCode::bad_request, "There is no speech in it to verify on.", audio);
  }
  Verification result = verification_of(scorer.divergence, candidate);
  result.sequences = scorer.windows;
  result.context.slim = scorer.slim_bytes;
  result.context.kv = kv_context(candidate, scorer.longest, scorer.positions);
  result.context_tokens = scorer.longest;
  result.context_bf16_bytes = bf16_context(candidate.spec(), scorer.longest, scorer.positions);
  return result;
}

}  // namespace slim
