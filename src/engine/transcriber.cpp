// The loop over windows.
#include "engine/transcriber.h"

#include <algorithm>

#include "base/stopwatch.h"
#include "models/waveform.h"

namespace slim {

Transcriber::Transcriber(const Model& model, const TranscriptionSetting& setting)
    : model_(model), setting_(setting) {
  if (setting_.options.word_timestamps) aligner_.emplace(model_, *setting_.tokens);
}

bool Transcriber::report(const Track& track) const {
  const auto& callback = setting_.options.on_progress;
  return !callback || callback(track.origin().file, track.seconds_done(), track.seconds());
}

void Transcriber::detect(std::span<const Active> active, const std::vector<PageTable>& encoded) {
  std::vector<const PageTable*> unknown;
  std::vector<Active> asking;  // of each track the earliest of its chunks, or all
  for (size_t i = 0; i < active.size(); ++i) {
    const auto same = [&](const Active& one) { return one.track == active[i].track; };
    const bool first =
        active[i].track->needs_language() && std::none_of(asking.begin(), asking.end(), same);
    if (!first && !setting_.options.multilingual) continue;
    unknown.push_back(&encoded[i]);
    asking.push_back(active[i]);
  }
  if (unknown.empty()) return;
  const SpeechTokens& tokens = *setting_.tokens;
  const std::vector<DetectedLanguage> detected = slim::detect_languages(model_, unknown, tokens);
  for (size_t i = 0; i < asking.size(); ++i) {
    const auto& [track, chunk] = asking[i];
    const SpeechTokens::Language& language = tokens.languages[detected[i].index];
    if (track->needs_language()) {
      track->set_language(language.id, language.code, detected[i].probability);
    }
    chunk->set_window_language(language.id, language.code);
  }
}

Transcriber::Encoded Transcriber::encode(const Model& model, std::span<const Active> active,
                                         Stats* stats) const {
  const Stopwatch clock;
  const double before = stats->mel_seconds;
  Encoded encoded =
      setting_.waveform ? encode_samples(model, active) : encode_spectra(model, active, stats);
  stats->encode_seconds += clock.seconds() - (stats->mel_seconds - before);
  return encoded;
}

Transcriber::Encoded Transcriber::encode_spectra(const Model& model, std::span<const Active> active,
                                                 Stats* stats) const {
  const auto batch = static_cast<int64_t>(active.size());
  const int64_t frames = setting_.window_frames;
  const int64_t bins = model.spec().mel_bins;
  const Stopwatch clock;
  Tensor mel = Tensor::allocate(host_device(), DType::f32, {batch * frames, bins});
  const std::span<float> all(mel.writable<float>(), static_cast<size_t>(mel.elements()));
  const auto window = static_cast<size_t>(frames * bins);
  for (size_t i = 0; i < active.size(); ++i) {
    active[i].chunk->read_window(all.subspan(i * window, window));
  }
  stats->mel_seconds += clock.seconds();
  Tensor rows = model.encode(mel.matrix(), batch);
  const int64_t length = rows.size(0) / batch;
  return {std::move(rows), std::vector<int64_t>(active.size(), length)};
}

// What is shorter than one row's samples goes on in silence.
Transcriber::Encoded Transcriber::encode_samples(const Model& model,
                                                 std::span<const Active> active) const {
  std::vector<float> samples;
  std::vector<int64_t> lengths;
  std::vector<int64_t> rows;
  for (const Active& one : active) {
    const std::vector<float>& own = one.chunk->samples();
    lengths.push_back(std::max(std::ssize(own), kWaveformLeast));
    rows.push_back(waveform_rows(lengths.back()));
    samples.insert(samples.end(), own.begin(), own.end());
    samples.resize(samples.size() + static_cast<size_t>(lengths.back()) - own.size());
  }
  return {model.encode(samples, lengths), std::move(rows)};
}

void Transcriber::decode(std::span<const Active> active, Stats* stats) {
  const auto batch = static_cast<int64_t>(active.size());
  const auto [encoded, lengths] = encode(model_, active, stats);
  Stopwatch clock;
  const std::vector<PageTable> rows = model_.remember(encoded.matrix(), lengths);
  stats->encode_seconds += clock.lap();

  detect(active, rows);
  std::vector<WindowRequest> requests;
  for (size_t i = 0; i < active.size(); ++i) {
    requests.push_back(active[i].chunk->request(&rows[i]));
  }
  DecodeCounts counts;
  const std::vector<WindowResult> results =
      decode_with_fallback(model_, requests, setting_.fallback, *setting_.tokenizer, &counts);
  for (size_t i = 0; i < active.size(); ++i) {
    if (on_window_) {
      const auto encode_again = [&](const Model& model) {
        return encode(model, active.subspan(i, 1), stats).rows;
      };
      on_window_({requests[i].prompt, results[i].tokens, encode_again});
    }
    active[i].chunk->accept(results[i], [&](auto start, auto text, int64_t frames) {
      return aligner_->align(rows[i], start, text, frames);
    });
  }
  stats->decode_seconds += clock.lap();
  stats->windows += batch;
  stats->steps += counts.steps;
  stats->tokens += counts.tokens;
  if (counts.peak.slim > stats->context_peak_bytes) {
    stats->context_peak_bytes = counts.peak.slim;
    stats->context_peak_kv_bytes = counts.peak.kv;
  }
}

void Transcriber::detect_languages(std::span<const std::unique_ptr<Track>> tracks, Stats* stats) {
  std::vector<Active> active;
  for (const auto& track : tracks) {
    if (!track->needs_language()) continue;
    if (Recording* const chunk = track->next()) active.push_back({track.get(), chunk});
  }
  if (active.empty()) return;
  const auto [encoded, lengths] = encode(model_, active, stats);
  detect(active, model_.remember(encoded.matrix(), lengths));
}

bool Transcriber::look(Track& track, Stats* stats) {
  const Active one{&track, track.next()};
  if (one.chunk == nullptr) return false;
  decode(std::span(&one, 1), stats);
  return true;
}

void Transcriber::fill(std::vector<Active>& active, Tracks& tracks, const Open& open) const {
  const auto width = static_cast<size_t>(setting_.options.batch_size);
  for (size_t i = 0; active.size() < width;) {
    if (i == tracks.size()) {
      std::unique_ptr<Track> track = open();
      if (!track) return;
      tracks.push_back(std::move(track));
    }
    if (Recording* const chunk = tracks[i]->next()) {
      active.push_back({tracks[i].get(), chunk});
    } else {
      ++i;
    }
  }
}

bool Transcriber::hand_over(Tracks& tracks, const Done& done) const {
  for (auto track = tracks.begin(); track != tracks.end();) {
    if (!(*track)->finished()) {
      ++track;
      continue;
    }
    const bool goes_on = report(**track);
    done(**track);
    track = tracks.erase(track);
    if (!goes_on) return false;
  }
  return true;
}

bool Transcriber::run(const Open& open, const Done& done, Stats* stats) {
  Tracks tracks;
  std::vector<Active> active;
  const auto begun = [&] {
    fill(active, tracks, open);
    return hand_over(tracks, done);
  };
  const auto decoded = [&] {
    decode(active, stats);
    std::erase_if(active, [](const Active& one) {
      if (one.chunk->next_window()) return false;
      one.track->finish(one.chunk);
      return true;
    });
    const auto goes_on = [&](const auto& track) { return track->finished() || report(*track); };
    return std::all_of(tracks.begin(), tracks.end(), goes_on);
  };
  while (begun()) {
    if (active.empty()) return true;
    if (!decoded()) break;
  }
  for (const auto& track : tracks) done(*track);
  return false;
}

}  // namespace slim
