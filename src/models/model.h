// Model: a decoder, with or without an encoder of audio or tokens before it, ready to run under one
// cache plan. The weights are shared between models built from the same ModelWeights. Thread-safe:
// each call works on the caller's state and its own scratch.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "attention/pages.h"
#include "attention/plan.h"
#include "base/function_ref.h"
#include "models/spec.h"
#include "weights/checkpoint.h"

namespace slim {

class LayerTransforms;

// The tensors of a model, checked against its spec once (names, shapes; an extra or missing tensor
// is Error{bad_file}). Matrices stay in the file's type, mapped; vectors are f32.
class ModelWeights {
 public:
  ModelWeights(const ModelSpec& spec, const Checkpoint& checkpoint);
  ~ModelWeights();

  // In the host's memory.
  AttentionWeights attention(int64_t decoder_layer, bool cross) const;
  // One per attention_layers(spec), computed on first use (seconds a layer of 4,096 columns, one
  // layer a processor), then kept. Thread-safe. On first use `look`, from any of the threads, sees
  // what each was computed from, which is not kept: its factors are several times its weights.
  const std::vector<Conditioning>& conditioning() const;
  using Look = FunctionRef<void(size_t layer, const LayerTransforms& transforms)>;
  const std::vector<Conditioning>& conditioning(Look look) const;
  int64_t bytes() const noexcept;

  struct Parts;
  const Parts& parts() const noexcept { return *parts_; }

 private:
  std::unique_ptr<Parts> parts_;
  int64_t bytes_ = 0;
  std::vector<AttentionSpec> attentions_;  // attention_layers(spec)
  mutable std::once_flag conditioned_;
  mutable std::vector<Conditioning> conditioning_;
};

// What a model on these kernels adds to multiply its vocabulary in integers first
// (rounded_head.h); 0: it does not.
int64_t rounded_head_bytes(const ModelSpec& spec, const ModelWeights& weights, Kernels& kernels);

// One forward pass: T tokens of several sequences.
struct DecoderStep {
  std::span<const int32_t> tokens;      // [T]
  std::span<const int32_t> positions;   // [T]: place of each token in its sequence
  std::span<const Slice> self;          // over the sequences' own pages; rows include this step's
  std::span<const Slice> cross;         // over encoder pages; none without an encoder
  std::span<const int64_t> logits_for;  // which of the T tokens need logits
  Matrix logits;  // [logits_for.size(), outputs] f32, in the host's memory whatever the device
  // What of them may not come becomes -infinity. A row is one of `logits`.
  std::span<const ForbiddenColumns> forbidden = {};
  bool log_probabilities = false;  // of what may come, instead of logits
  // Instead of logits, which then have no rows: what is to be found in them. `x` is theirs.
  const FindCandidates* candidates = nullptr;
  // What heads of cross attention score, by decoder layer (no heads: nothing is wanted of it), in a
  // step of one window; or none.
  std::span<const HeadScores> cross_scores = {};
};

// What an encoder that does not hear is given: rows of sources, one source after another.
struct Sources {
  std::span<const int64_t> lengths;      // rows of each
  std::span<const int32_t> tokens = {};  // [rows]
  // Instead of tokens, of a model of patches: [rows, 2 patch] f32, in the host's memory: values and
  // then 1 or 0, whether they are known. Where SeriesSpec::closed, the last row of a source is left
  // to its token.
  ConstMatrix patches = {};
  // [rows]: where each row stands in its source, ascending, if there are gaps; for models whose
  // positions are relative. None: row after row.
  std::span<const int32_t> places = {};
};

class Model {
 public:
  // Throws what plan() throws; builds each layer's Attention. `context`: the most tokens a sequence
  // will have; 0: what the model was made for. More than that is refused unless the positions can
  // be extended (rotary without limits of its own: it warns nobody, so the engine must).
  Model(const ModelSpec& spec, std::shared_ptr<const ModelWeights> weights, Kernels& kernels,
        const CacheChoice& choice, int64_t context = 0);
  // Under a plan made before: that of a converted model.
  Model(const ModelSpec& spec, std::shared_ptr<const ModelWeights> weights, Kernels& kernels,
        std::vector<LayerPlan> plan, int64_t context, const Arithmetic& arithmetic = {});
  ~Model();

  const ModelSpec& spec() const noexcept { return spec_; }
  const std::vector<LayerPlan>& plan() const noexcept { return plan_; }
  Kernels& kernels() const noexcept { return kernels_; }
  int64_t context() const noexcept { return context_; }
  const Arithmetic& arithmetic() const noexcept { return arithmetic_; }

  // Of a model that hears mel bins. mel: [batch * frames, bins] f32 in the host's memory, frames
  // even and at most 2 * encoder positions. Returns [batch * frames / 2, D] f32, in the device's.
  Tensor encode(ConstMatrix mel, int64_t batch) const;
  // Of a model that hears samples: windows of 16 kHz one after another, `lengths` of each, in the
  // host's memory. Returns waveform_rows() of each (models/waveform.h), [rows, D] f32, in the
  // device's. Throws Error{bad_request} for a window that gives no row, or more than there are
  // positions.
  Tensor encode(std::span<const float> samples, std::span<const int64_t> lengths) const;
  // Of a model that reads: the tokens of sources one after another, `lengths` of each. Returns a
  // row for each, [tokens, D] f32, in the device's memory. Throws Error{bad_request} for a source
  // without tokens or, where positions are absolute, with more than there are, and for a token
  // outside the source's vocabulary.
  Tensor encode(std::span<const int32_t> tokens, std::span<const int64_t> lengths) const {
    return encode(Sources{.lengths = lengths, .tokens = tokens});
  }
  // The same, and of a model that forecasts.
  Tensor encode(const Sources& sources) const;
  // Stores what the cross attention layers need of the encoder output of one window or source,
  // [S, D], or of several, one after another; it lies in the device's memory.
  PageTable remember(ConstMatrix encoded) const;
  std::vector<PageTable> remember(ConstMatrix encoded, std::span<const int64_t> lengths) const;
  // Both for any number of sources, some thousand tokens at a time: a table for each, in their
  // order.
  std::vector<PageTable> read(std::span<const std::span<const int32_t>> sources) const;

  PageTable new_sequence() const;  // no rows yet
  // Goes back to `rows` rows, re-opening a sealed page from its integers where that is needed.
  void truncate(PageTable& table, int64_t rows) const;
  // Which regime of positions a sequence of so many tokens is in. When it changes, the sequence has
  // to be computed anew (longrope: the rows of later layers came from other angles).
  int32_t regime(int64_t tokens) const;
  void forward(const DecoderStep& step) const;
  // Whether a step may ask for more than logits. Those that are scaled or capped are finished in
  // the host's memory.
  bool judges_logits() const;

  PagePool& self_pages() const noexcept;
  PagePool* hot_pages() const noexcept;    // null if nothing is sealed
  PagePool& cross_pages() const noexcept;  // with an encoder
  int64_t derived_bytes() const;           // weights the cache kinds hold beside the model's own
  // What a decoding step has to read: of weights, whatever its batch; and of the cached rows of a
  // sequence that has `rows` of them with the step's own, and `positions` encoder rows. Each layer
  // reads each row it attends to once, those that layers share included.
  int64_t step_weight_bytes() const;
  int64_t step_row_bytes(int64_t rows, int64_t positions) const;

 private:
  struct Layers;
  struct Planned;

  Model(const ModelSpec& spec, std::shared_ptr<const ModelWeights> weights, Kernels& kernels,
        Planned planned, int64_t context);
  static Planned plan_layers(const ModelSpec& spec, const ModelWeights& weights,
                             const CacheChoice& choice);

  void check_source(int64_t length) const;

  ModelSpec spec_;
  std::shared_ptr<const ModelWeights> weights_;
  Kernels& kernels_;
  std::vector<LayerPlan> plan_;
  int64_t context_ = 0;
  Arithmetic arithmetic_;
  std::unique_ptr<Layers> layers_;
};

}  // namespace slim
