// Transcriber: tracks in, segments out. Several chunks advance together, of one track or of many,
// a window each, so that the encoder and every decoder pass serve them all.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/track.h"
#include "engine/word_aligner.h"
#include "models/model.h"

namespace slim {

// What a window was decoded from and to: what verification scores.
struct DecodedWindow {
  std::vector<int32_t> prompt;
  std::vector<int32_t> tokens;
  // What a model's encoder makes of it, [S, D], in the device's memory; to be called at once.
  std::function<Tensor(const Model& model)> encode;
};

class Transcriber {
 public:
  Transcriber(const Model& model, const TranscriptionSetting& setting);

  // Called for every window as it is decoded; may be empty.
  void on_window(std::function<void(const DecodedWindow&)> callback) {
    on_window_ = std::move(callback);
  }

  // Opens the next track; null where there is none.
  using Open = std::function<std::unique_ptr<Track>()>;
  // Takes a track that is done; or what there is of it, where on_progress stopped.
  using Done = std::function<void(Track&)>;
  // Decodes all tracks to their ends, at most options.batch_size chunks at a time; one is opened
  // when those before it have no chunk left to begin. False if on_progress stopped it.
  bool run(const Open& open, const Done& done, Stats* stats);
  // Decodes one window of a track, its first; false if it has none.
  bool look(Track& track, Stats* stats);
  // Finds the language of each by its first window with sound; decodes nothing.
  void detect_languages(std::span<const std::unique_ptr<Track>> tracks, Stats* stats);

 private:
  // A chunk that has a window to decode.
  struct Active {
    Track* track;
    Recording* chunk;
  };
  using Tracks = std::vector<std::unique_ptr<Track>>;
  bool report(const Track& track) const;
  // Begins chunks until the batch is full or nothing is left.
  void fill(std::vector<Active>& active, Tracks& tracks, const Open& open) const;
  // Hands over what is done. False if on_progress stopped.
  bool hand_over(Tracks& tracks, const Done& done) const;
  // What the encoder makes of one window of each active chunk.
  struct Encoded {
    Tensor rows;                   // [sum of lengths, D]
    std::vector<int64_t> lengths;  // of each window
  };
  Encoded encode(const Model& model, std::span<const Active> active, Stats* stats) const;
  Encoded encode_spectra(const Model& model, std::span<const Active> active, Stats* stats) const;
  Encoded encode_samples(const Model& model, std::span<const Active> active) const;
  void detect(std::span<const Active> active, const std::vector<PageTable>& encoded);
  // One window of each active chunk.
  void decode(std::span<const Active> active, Stats* stats);

  const Model& model_;
  TranscriptionSetting setting_;
  std::optional<WordAligner> aligner_;  // where word times are wanted
  std::function<void(const DecodedWindow&)> on_window_;
};

}  // namespace slim
