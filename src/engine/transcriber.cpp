// The loop over windows.
#include "engine/transcriber.h"

#include <algorithm>

#include "base/stopwatch.h"

namespace slim {

Transcriber::Transcriber(const Model& model, const TranscriptionSetting& setting)
    : model_(model), setting_(setting) {
  if (setting_.options.word_timestamps) aligner_.emplace(model_, *setting_.tokens);
}

bool Transcriber::report(std::span<const std::unique_ptr<Recording>> recordings,
                         size_t first) const {
  const auto& callback = setting_.options.on_progress;
  if (!callback) return true;
  for (size_t i = 0; i < recordings.size(); ++i) {
    if (!callback(first + i, recordings[i]->seconds_done(), recordings[i]->seconds())) return false;
  }
  return true;
}

void Transcriber::detect(std::span<Recording* const> active,
                         const std::vector<PageTable>& encoded) {
  std::vector<const PageTable*> unknown;
  std::vector<Recording*> waiting;
  for (size_t i = 0; i < active.size(); ++i) {
    if (!active[i]->needs_language()) continue;
    unknown.push_back(&encoded[i]);
    waiting.push_back(active[i]);
  }
  if (unknown.empty()) return;
  const SpeechTokens& tokens = *setting_.tokens;
  const std::vector<DetectedLanguage> detected = slim::detect_languages(model_, unknown, tokens);
  for (size_t i = 0; i < waiting.size(); ++i) {
    const SpeechTokens::Language& language = tokens.languages[detected[i].index];
    waiting[i]->set_language(language.id, language.code, detected[i].probability);
  }
}

Tensor Transcriber::encode(std::span<Recording* const> active, Stats* stats) const {
  const auto batch = static_cast<int64_t>(active.size());
  const int64_t frames = setting_.window_frames;
  const int64_t bins = model_.spec().mel_bins;
  Stopwatch clock;
  Tensor mel = Tensor::allocate(host_device(), DType::f32, {batch * frames, bins});
  const std::span<float> all(mel.writable<float>(), static_cast<size_t>(mel.elements()));
  const auto window = static_cast<size_t>(frames * bins);
  for (size_t i = 0; i < active.size(); ++i)
    active[i]->read_window(all.subspan(i * window, window));
  stats->mel_seconds += clock.lap();
  Tensor encoded = model_.encode(mel.matrix(), batch);
  stats->encode_seconds += clock.lap();
  return encoded;
}

std::vector<PageTable> Transcriber::remember(const Tensor& encoded, int64_t batch) const {
  const int64_t positions = encoded.size(0) / batch;
  std::vector<PageTable> rows;
  rows.reserve(static_cast<size_t>(batch));
  for (int64_t i = 0; i < batch; ++i) {
    rows.push_back(model_.remember(encoded.slice(i * positions, positions).matrix()));
  }
  return rows;
}

void Transcriber::decode(std::span<Recording* const> active, Stats* stats) {
  const auto batch = static_cast<int64_t>(active.size());
  const Tensor encoded = encode(active, stats);
  Stopwatch clock;
  const std::vector<PageTable> rows = remember(encoded, batch);
  stats->encode_seconds += clock.lap();

  detect(active, rows);
  std::vector<WindowRequest> requests;
  for (size_t i = 0; i < active.size(); ++i) requests.push_back(active[i]->request(&rows[i]));
  DecodeCounts counts;
  const std::vector<WindowResult> results =
      decode_with_fallback(model_, requests, setting_.fallback, *setting_.tokenizer, &counts);
  const int64_t positions = encoded.size(0) / batch;
  for (size_t i = 0; i < active.size(); ++i) {
    if (on_window_) {
      const auto first = static_cast<int64_t>(i) * positions;
      on_window_({requests[i].prompt, results[i].tokens, encoded.slice(first, positions).matrix()});
    }
    active[i]->accept(results[i], [&](auto start, auto text, int64_t frames) {
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

void Transcriber::detect_languages(std::span<const std::unique_ptr<Recording>> recordings,
                                   Stats* stats) {
  std::vector<Recording*> active;
  for (const auto& recording : recordings) {
    if (recording->needs_language() && recording->next_window()) active.push_back(recording.get());
  }
  if (active.empty()) return;
  const Tensor encoded = encode(active, stats);
  detect(active, remember(encoded, static_cast<int64_t>(active.size())));
}

bool Transcriber::run(std::span<const std::unique_ptr<Recording>> recordings, size_t first,
                      Stats* stats) {
  const auto width = static_cast<size_t>(std::max(1, setting_.options.batch_size));
  size_t next = 0;
  std::vector<Recording*> active;
  while (true) {
    std::erase_if(active, [](Recording* recording) { return !recording->next_window(); });
    while (active.size() < width && next < recordings.size()) {
      Recording* recording = recordings[next++].get();
      if (recording->next_window()) active.push_back(recording);
    }
    if (active.empty()) return report(recordings, first);
    decode(active, stats);
    if (!report(recordings, first)) return false;
  }
}

}  // namespace slim
