// Transcriber: recordings in, segments out. Several recordings advance together, one window each,
// so that the encoder and every decoder pass serve them all.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/recording.h"
#include "engine/word_aligner.h"
#include "models/model.h"

namespace slim {

// What a window was decoded from and to: what verification scores.
struct DecodedWindow {
  std::vector<int32_t> prompt;
  std::vector<int32_t> tokens;
  ConstMatrix encoded;  // [S, D], in the device's memory; valid during the call
};

class Transcriber {
 public:
  Transcriber(const Model& model, const TranscriptionSetting& setting);

  // Called for every window as it is decoded; may be empty.
  void on_window(std::function<void(const DecodedWindow&)> callback) {
    on_window_ = std::move(callback);
  }

  // Decodes all recordings to their ends, at most options.batch_size at a time. `first` is the
  // number of the first one, for on_progress. False if on_progress stopped it.
  bool run(std::span<const std::unique_ptr<Recording>> recordings, size_t first, Stats* stats);
  // Finds the language of each by its first window with sound; decodes nothing.
  void detect_languages(std::span<const std::unique_ptr<Recording>> recordings, Stats* stats);

 private:
  bool report(std::span<const std::unique_ptr<Recording>> recordings, size_t first) const;
  // What the encoder makes of one window of each active recording: [B * S, D].
  Tensor encode(std::span<Recording* const> active, Stats* stats) const;
  std::vector<PageTable> remember(const Tensor& encoded, int64_t batch) const;
  void detect(std::span<Recording* const> active, const std::vector<PageTable>& encoded);
  // One window of each active recording.
  void decode(std::span<Recording* const> active, Stats* stats);

  const Model& model_;
  TranscriptionSetting setting_;
  std::optional<WordAligner> aligner_;  // where word times are wanted
  std::function<void(const DecodedWindow&)> on_window_;
};

}  // namespace slim
