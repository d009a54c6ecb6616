// Transcription of files and of samples.
#include <algorithm>

#include "base/stopwatch.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

TranscriptionSetting setting_of(const Runtime& runtime, const TranscribeOptions& options) {
  if (options.batch_size < 1 || options.batch_size > 1024) {
    throw Error(ErrorCode::bad_request, "The batch size must lie between 1 and 1024.",
                std::to_string(options.batch_size));
  }
  TranscriptionSetting setting;
  setting.tokenizer = &runtime.tokenizer();
  setting.tokens = &runtime.tokens();
  setting.options = options;
  setting.window_frames = 2 * runtime.spec().encoder.positions;
  setting.text_positions = runtime.spec().decoder.positions;
  return setting;
}

}  // namespace

std::vector<Transcription> transcribe_audio(Runtime& runtime, const AudioList& audio,
                                            const TranscribeOptions& options, Stats* stats) {
  require_speech(runtime);
  const auto session = runtime.kernels().begin_session();
  const TranscriptionSetting setting = setting_of(runtime, options);
  const Model& model = runtime.model();
  Transcriber transcriber(model, setting);
  Stats unwanted;
  Stats& total = stats != nullptr ? *stats : unwanted;
  const Stopwatch clock;
  std::vector<Transcription> results;
  // As many recordings are open at a time as are decoded together.
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
    running = transcriber.run(recordings, first, &total);
    for (const auto& recording : recordings) results.push_back(recording->take());
  }
  total.load_seconds = runtime.load_seconds();
  total.total_seconds += clock.seconds();
  total.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  return results;
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
