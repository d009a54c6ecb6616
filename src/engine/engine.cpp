// Engine: the public face of Runtime.
#include <algorithm>
#include <string>

#include "engine/runtime.h"
#include "slim/slim.h"

namespace slim {

struct Engine::State {
  State(const std::string& model, const EngineOptions& options) : runtime(model, options) {}
  Runtime runtime;
};

const char* version() { return SLIM_VERSION; }

std::vector<std::string> devices() { return kernel_names(); }

std::string Transcription::text() const {
  std::string all;
  for (const Segment& segment : segments) all += segment.text;
  return all.substr(std::min(all.find_first_not_of(' '), all.size()));
}

Inspection inspect(const std::string& model, const EngineOptions& options) {
  const ModelFiles files = open_model(model);
  std::unique_ptr<ModelWeights> weights;
  if (files.checkpoint) weights = std::make_unique<ModelWeights>(files.spec, *files.checkpoint);
  Inspection inspection = inspect_model(files, weights.get(), cache_choice(options));
  inspection.model = model;
  return inspection;
}

Engine::Engine(const std::string& model, const EngineOptions& options)
    : state_(std::make_unique<State>(model, options)) {}

Engine::~Engine() = default;

std::vector<Transcription> Engine::transcribe(const std::vector<std::string>& paths,
                                              const TranscribeOptions& options, Stats* stats) {
  const AudioList audio{paths.size(),
                        [&](size_t index) { return AudioReader::open(paths[index]); }};
  return transcribe_audio(state_->runtime, audio, options, stats);
}

Transcription Engine::transcribe_samples(const std::vector<float>& samples,
                                         const TranscribeOptions& options, Stats* stats) {
  const AudioList audio{
      1, [&](size_t) { return AudioReader::from_samples(samples, "the samples given"); }};
  return transcribe_audio(state_->runtime, audio, options, stats).front();
}

Verification Engine::verify(const std::string& audio, const TranscribeOptions& options) {
  return verify_audio(state_->runtime, audio, options);
}

std::vector<BenchRow> Engine::bench(const BenchOptions& options) {
  return bench_model(state_->runtime, options);
}

}  // namespace slim
