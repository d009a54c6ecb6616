// Verification of speech: what kv in f32 hears greedily, through both caches.
#include <string>
#include <vector>

#include "engine/paired_scorer.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

std::vector<int32_t> tokens_of(const DecodedWindow& window) {
  std::vector<int32_t> tokens = window.prompt;
  tokens.insert(tokens.end(), window.tokens.begin(), window.tokens.end());
  return tokens;
}

}  // namespace

Verification verify_audio(Runtime& runtime, const std::string& audio,
                          const TranscribeOptions& options) {
  require_speech(runtime);
  require_kv(runtime);
  const auto session = runtime.kernels().begin_session();
  const Model& candidate = runtime.model();
  const Model& reference = runtime.model(kv_choice(RowType::f32));
  PairedScorer scorer(reference, candidate);
  // Sampled tokens would differ between caches, and cost several passes; so would beams.
  TranscribeOptions greedy = options;
  greedy.temperatures = {0};
  greedy.beam_size = 1;
  transcribe_windows(
      runtime, reference, AudioReader::open(audio), greedy,
      [&](const DecodedWindow& window) { scorer.score(window.encode, tokens_of(window)); });
  if (scorer.tokens() == 0) {
    throw Error(ErrorCode::bad_request, "There is no speech in it to verify on.", audio);
  }
  return scorer.verification();
}

}  // namespace slim
