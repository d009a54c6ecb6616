// Transcription of files and of samples.
#include "base/stopwatch.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

TranscriptionSetting setting_of(const Runtime& runtime, const TranscribeOptions& options) {
  return transcription_setting(runtime.tokenizer(), runtime.tokens(), runtime.spec(), options);
}

// Opens the files of one call, one after another.
class Opener {
 public:
  Opener(Runtime& runtime, const AudioList& audio, const TranscriptionSetting& setting,
         Stats* stats)
      : bins_(runtime.spec().mel_bins), audio_(audio), setting_(setting), stats_(stats) {}

  // Null at the end. A file that cannot be read is left out, if on_failure is there to say so.
  std::unique_ptr<Track> next() {
    const auto& failed = setting_.options.on_failure;
    while (next_ < audio_.count) {
      const size_t file = next_++;
      try {
        return open(file);
      } catch (const Error& error) {
        if (!failed || error.code() != ErrorCode::bad_file) throw;
        failed(file, error);
      }
    }
    return nullptr;
  }

 private:
  std::unique_ptr<Track> open(size_t file) const {
    const Stopwatch clock;
    auto track = std::make_unique<Track>(file, audio_.open(file), bins_, setting_);
    stats_->audio_seconds += track->seconds();
    stats_->mel_seconds += clock.seconds();
    return track;
  }

  int64_t bins_;
  const AudioList& audio_;
  const TranscriptionSetting& setting_;
  Stats* stats_;
  size_t next_ = 0;
};

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
  Opener opener(runtime, audio, setting, &total);
  std::vector<Transcription> results(audio.count);
  const auto done = [&](Track& track) {
    Transcription& result = results[track.file()];
    result = track.take();
    if (options.on_result && track.finished()) options.on_result(track.file(), result);
  };
  transcriber.run([&] { return opener.next(); }, done, &total);
  total.load_seconds = runtime.load_seconds();
  total.total_seconds += clock.seconds();
  total.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  return results;
}

std::vector<Transcription> detect_audio_languages(Runtime& runtime, const AudioList& audio,
                                                  TranscribeOptions options) {
  require_speech(runtime);
  options.language.clear();
  const auto session = runtime.kernels().begin_session();
  const TranscriptionSetting setting = setting_of(runtime, options);
  Transcriber transcriber(runtime.model(), setting);
  Stats unwanted;
  Opener opener(runtime, audio, setting, &unwanted);
  std::vector<Transcription> results(audio.count);
  std::vector<std::unique_ptr<Track>> tracks;
  do {
    tracks.clear();
    while (std::ssize(tracks) < options.batch_size) {
      tracks.push_back(opener.next());
      if (tracks.back()) continue;
      tracks.pop_back();
      break;
    }
    transcriber.detect_languages(tracks, &unwanted);
    for (const auto& track : tracks) {
      Transcription& result = results[track->file()];
      result = track->take();
      if (options.on_result) options.on_result(track->file(), result);
    }
  } while (!tracks.empty());
  return results;
}

void transcribe_windows(Runtime& runtime, const Model& model, std::unique_ptr<AudioReader> audio,
                        const TranscribeOptions& options,
                        std::function<void(const DecodedWindow&)> on_window) {
  const TranscriptionSetting setting = setting_of(runtime, options);
  Transcriber transcriber(model, setting);
  transcriber.on_window(std::move(on_window));
  auto track = std::make_unique<Track>(0, std::move(audio), runtime.spec().mel_bins, setting);
  Stats unwanted;
  transcriber.run([&] { return std::move(track); }, [](Track&) {}, &unwanted);
}

}  // namespace slim
