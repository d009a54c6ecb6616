// Transcription of files and of samples.
#include <algorithm>

#include "base/stopwatch.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

TranscriptionSetting setting_of(const Runtime& runtime, const TranscribeOptions& options) {
  return transcription_setting(runtime.tokenizer(), runtime.tokens(), runtime.spec(), options);
}

// What is done with recordings that are open together; `first` is the number of the first. False
// stops.
using Work = std::function<bool(Transcriber&, std::span<const std::unique_ptr<Recording>>,
                                size_t first, Stats*)>;

// As many recordings are open at a time as are decoded together.
std::vector<Transcription> for_groups(Runtime& runtime, const AudioList& audio,
                                      const TranscribeOptions& options, Stats* stats,
                                      const Work& work) {
  require_speech(runtime);
  const auto session = runtime.kernels().begin_session();
  const TranscriptionSetting setting = setting_of(runtime, options);
  const Model& model = runtime.model();
  Transcriber transcriber(model, setting);
  Stats unwanted;
  Stats& total = stats != nullptr ? *stats : unwanted;
  const Stopwatch clock;
  std::vector<Transcription> results;
  const auto width = static_cast<size_t>(options.batch_size);
  bool running = true;
  for (size_t first = 0; first < audio.count && running; first += width) {
    const Stopwatch reading;
    std::vector<std::unique_ptr<Recording>> recordings;
    for (size_t i = first; i < std::min(first + width, audio.count); ++i) {
      recordings.push_back(
          std::make_unique<Recording>(audio.open(i), runtime.spec().mel_bins, setting));
      total.audio_seconds += recordings.back()->seconds();
    }
    total.mel_seconds += reading.seconds();
    running = work(transcriber, recordings, first, &total);
    for (const auto& recording : recordings) results.push_back(recording->take());
  }
  total.load_seconds = runtime.load_seconds();
  total.total_seconds += clock.seconds();
  total.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  return results;
}

}  // namespace

std::vector<Transcription> transcribe_audio(Runtime& runtime, const AudioList& audio,
                                            const TranscribeOptions& options, Stats* stats) {
  return for_groups(runtime, audio, options, stats,
                    [](Transcriber& transcriber, auto recordings, size_t first, Stats* total) {
                      return transcriber.run(recordings, first, total);
                    });
}

std::vector<Transcription> detect_audio_languages(Runtime& runtime, const AudioList& audio,
                                                  TranscribeOptions options) {
  options.language.clear();
  return for_groups(runtime, audio, options, nullptr,
                    [](Transcriber& transcriber, auto recordings, size_t, Stats* total) {
                      transcriber.detect_languages(recordings, total);
                      return true;
                    });
}

void transcribe_windows(Runtime& runtime, const Model& model, std::unique_ptr<AudioReader> audio,
                        const TranscribeOptions& options,
                        std::function<void(const DecodedWindow&)> on_window) {
  const TranscriptionSetting setting = setting_of(runtime, options);
  Transcriber transcriber(model, setting);
  transcriber.on_window(std::move(on_window));
  std::vector<std::unique_ptr<Recording>> recordings;
  recordings.push_back(
      std::make_unique<Recording>(std::move(audio), runtime.spec().mel_bins, setting));
  Stats unwanted;
  transcriber.run(recordings, 0, &unwanted);
}

}  // namespace slim
