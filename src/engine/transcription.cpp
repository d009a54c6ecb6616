// Transcription of files and of samples.
#include <algorithm>
#include <deque>

#include "base/stopwatch.h"
#include "engine/runtime.h"
#include "engine/transcriber.h"

namespace slim {
namespace {

TranscriptionSetting setting_of(const Runtime& runtime, const TranscribeOptions& options) {
  return transcription_setting(runtime.tokenizer(), runtime.tokens(), runtime.spec(), options);
}

// The segments of all channels in order of their beginnings.
Transcription merged(std::vector<Transcription> channels) {
  Transcription all;
  all.language_probability = -1;
  for (size_t i = 0; i < channels.size(); ++i) {
    Transcription& one = channels[i];
    for (Segment& segment : one.segments) {
      segment.channel = static_cast<int>(i);
      all.segments.push_back(std::move(segment));
    }
    all.duration = std::max(all.duration, one.duration);
    all.duration_after_vad = std::max(all.duration_after_vad, one.duration_after_vad);
    all.vad_detector = one.vad_detector;
    if (one.language_probability <= all.language_probability) continue;
    all.language = one.language;
    all.language_probability = one.language_probability;
  }
  std::stable_sort(all.segments.begin(), all.segments.end(),
                   [](const Segment& a, const Segment& b) { return a.start < b.start; });
  for (size_t i = 0; i < all.segments.size(); ++i) all.segments[i].id = static_cast<int>(i) + 1;
  return all;
}

// The files of one call: opened one after another, and what became of their tracks.
class Files {
 public:
  Files(const AudioList& audio, const TranscriptionSetting& setting, Stats* stats)
      : audio_(audio), setting_(setting), stats_(stats), files_(audio.count) {}

  // The next track; null at the end. A file that cannot be read is left out, if on_failure is there
  // to say so.
  std::unique_ptr<Track> next() {
    const auto& failed = setting_.options.on_failure;
    while (opened_.empty() && next_ < audio_.count) {
      const size_t file = next_++;
      try {
        open(file);
      } catch (const Error& error) {
        opened_.clear();
        if (!failed || error.code() != ErrorCode::bad_file) throw;
        failed(file, error);
      }
    }
    if (opened_.empty()) return nullptr;
    std::unique_ptr<Track> track = std::move(opened_.front());
    opened_.pop_front();
    return track;
  }

  // Takes what a track came to; `whole`: it is done.
  void take(Track& track, bool whole) {
    File& file = files_[track.origin().file];
    file.channels[track.origin().channel] = track.take();
    file.left -= whole ? 1 : 0;
    if (file.left > 0) return;
    file.result = merge(file);
    const auto& callback = setting_.options.on_result;
    if (callback) callback(track.origin().file, file.result);
  }

  std::vector<Transcription> results() {
    std::vector<Transcription> all;
    for (File& file : files_) {
      if (file.left > 0) file.result = merge(file);
      all.push_back(std::move(file.result));
    }
    return all;
  }

 private:
  struct File {
    std::vector<Transcription> channels;
    size_t left = 0;  // that are not done
    Transcription result;
  };

  void open(size_t file) {
    const Stopwatch clock;
    size_t channel = 0;
    for (std::unique_ptr<AudioReader>& audio : audio_.open(file)) {
      opened_.push_back(std::make_unique<Track>(Track::Origin{file, channel++}, std::move(audio),
                                                setting_.bins, setting_));
      stats_->audio_seconds += opened_.back()->seconds();
    }
    files_[file].left = channel;
    files_[file].channels.resize(channel);
    stats_->mel_seconds += clock.seconds();
  }

  Transcription merge(File& file) const {
    if (setting_.options.split_channels) return merged(std::move(file.channels));
    return std::move(file.channels.front());
  }

  const AudioList& audio_;
  const TranscriptionSetting& setting_;
  Stats* stats_;
  size_t next_ = 0;
  std::deque<std::unique_ptr<Track>> opened_;  // of one file
  std::vector<File> files_;
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
  Files files(audio, setting, &total);
  transcriber.run([&] { return files.next(); },
                  [&](Track& track) { files.take(track, track.finished()); }, &total);
  total.load_seconds = runtime.load_seconds();
  total.total_seconds += clock.seconds();
  total.weight_bytes = runtime.weights().bytes() + model.derived_bytes();
  return files.results();
}

std::vector<Transcription> detect_audio_languages(Runtime& runtime, const AudioList& audio,
                                                  TranscribeOptions options) {
  require_speech(runtime);
  if (runtime.tokens().plain()) {
    throw Error(ErrorCode::bad_request,
                "This model has no tokens for languages: it cannot tell which one is spoken.",
                runtime.name());
  }
  options.language.clear();
  const auto session = runtime.kernels().begin_session();
  const TranscriptionSetting setting = setting_of(runtime, options);
  Transcriber transcriber(runtime.model(), setting);
  Stats unwanted;
  Files files(audio, setting, &unwanted);
  std::vector<std::unique_ptr<Track>> tracks;
  do {
    tracks.clear();
    while (std::ssize(tracks) < options.batch_size) {
      std::unique_ptr<Track> track = files.next();
      if (!track) break;
      tracks.push_back(std::move(track));
    }
    transcriber.detect_languages(tracks, &unwanted);
    for (const auto& track : tracks) files.take(*track, true);
  } while (!tracks.empty());
  return files.results();
}

void transcribe_windows(Runtime& runtime, const Model& model, std::unique_ptr<AudioReader> audio,
                        const TranscribeOptions& options,
                        std::function<void(const DecodedWindow&)> on_window) {
  const TranscriptionSetting setting = setting_of(runtime, options);
  Transcriber transcriber(model, setting);
  transcriber.on_window(std::move(on_window));
  auto track = std::make_unique<Track>(Track::Origin{}, std::move(audio), setting.bins, setting);
  Stats unwanted;
  transcriber.run([&] { return std::move(track); }, [](Track&) {}, &unwanted);
}

}  // namespace slim
