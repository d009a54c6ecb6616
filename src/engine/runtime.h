// Runtime: a loaded model with everything needed to run it, and one Model for each cache
// choice that has been asked for. Loading is one place; transcription, verification and benchmarks
// are free functions over it.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "audio/audio_reader.h"
#include "engine/speech_tokens.h"
#include "kernels/kernels.h"
#include "models/family.h"
#include "models/model.h"
#include "slim/slim.h"
#include "text/tokenizer.h"

namespace slim {

class Runtime {
 public:
  Runtime(const std::string& model, const EngineOptions& options);

  const std::string& name() const noexcept { return name_; }
  const ModelSpec& spec() const noexcept { return files_.spec; }
  const ModelWeights& weights() const noexcept { return *weights_; }
  const Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
  const SpeechTokens& tokens() const noexcept { return tokens_; }
  Kernels& kernels() const noexcept { return *kernels_; }
  const CacheChoice& choice() const noexcept { return choice_; }
  double load_seconds() const noexcept { return load_seconds_; }

  // The model under the options' cache, and under another. Built on first use, then kept.
  // Thread-safe.
  const Model& model() { return model(choice_); }
  const Model& model(const CacheChoice& choice);

 private:
  std::string name_;
  ModelFiles files_;
  CacheChoice choice_;
  std::unique_ptr<Kernels> kernels_;
  std::shared_ptr<const ModelWeights> weights_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  SpeechTokens tokens_;
  double load_seconds_ = 0;
  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Model>> models_;
};

// From the public options. Throws Error{bad_request} for an unknown cache or type.
CacheChoice cache_choice(const EngineOptions& options);

// Recordings, each opened when its turn comes.
struct AudioList {
  size_t count = 0;
  std::function<std::unique_ptr<AudioReader>(size_t index)> open;
};
// What was done before on_progress stopped it is returned. `stats` is added to; may be null.
std::vector<Transcription> transcribe_audio(Runtime& runtime, const AudioList& audio,
                                            const TranscribeOptions& options, Stats* stats);
// Transcribes one recording with `model`, handing over each window as it is decoded.
struct DecodedWindow;
void transcribe_windows(Runtime& runtime, const Model& model, std::unique_ptr<AudioReader> audio,
                        const TranscribeOptions& options,
                        std::function<void(const DecodedWindow&)> on_window);
Inspection inspect_model(const ModelFiles& files, const ModelWeights* weights,
                         const CacheChoice& choice);
Verification verify_audio(Runtime& runtime, const std::string& audio,
                          const TranscribeOptions& options);
std::vector<BenchRow> bench_model(Runtime& runtime, const BenchOptions& options);

// What one sequence of `tokens` rows over a full window really holds: pages are allocated and
// counted.
int64_t held_context(const Model& model, int64_t tokens, int64_t positions);
std::vector<LayerReport> layer_reports(const std::vector<LayerPlan>& plan);

}  // namespace slim
