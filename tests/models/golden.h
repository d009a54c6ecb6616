// Golden: the tiny models of tests/golden/whisper, lm, seq2seq and moonshine
// (tools/make_golden_*.py) and what Transformers computes with them in float64.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/step_batch.h"
#include "models/family.h"
#include "models/model.h"

namespace slim::test {

constexpr int64_t kWindows = 3;  // in every golden file

std::filesystem::path golden_directory(const std::string& model);

struct Expected {
  Tensor mel;                   // [kWindows * frames, bins] f32
  Tensor encoded;               // [kWindows * positions, D] f32
  std::vector<int32_t> tokens;  // [kWindows * T]
  Tensor logits;                // [kWindows * T, V] f32

  int64_t length() const { return std::ssize(tokens) / kWindows; }
  std::span<const int32_t> window_tokens(int64_t window) const;
  std::span<const float> logits_at(int64_t window, int64_t position) const;
};
Expected read_expected(const std::string& model);

// A choice of cache; without a type, the kind's own.
CacheChoice cache(const std::string& kind, std::optional<RowType> type = {}, bool forced = false);

// A model opened under a choice, on kernels of its own (by a name from test_device_names(), which
// must not be null).
struct Loaded {
  Loaded(const std::filesystem::path& directory, const std::string& kernel_name,
         const CacheChoice& choice, int64_t context = 0);
  ModelFiles files;
  std::unique_ptr<Kernels> kernels;
  std::shared_ptr<const ModelWeights> weights;
  std::unique_ptr<Model> model;
};

// Sequences decoded side by side, each with its own pages.
class Decoding {
 public:
  // encoded: [windows * positions, D].
  Decoding(const Model& model, ConstMatrix encoded, int64_t windows);
  // Over encoder rows of any number each, one sequence for each table.
  Decoding(const Model& model, std::vector<PageTable> encoded);
  // Without an encoder. `length`: tokens each sequence will have.
  Decoding(const Model& model, int64_t sequences, int64_t length);

  // One step: the next tokens of each sequence (possibly none of some). Returns the logits of every
  // token, [sum of counts, V].
  Tensor step(const std::vector<std::span<const int32_t>>& next);
  Sequence& sequence(size_t index) { return sequences_.at(index); }

 private:
  StepBatch batch_;
  std::vector<PageTable> encoded_;
  std::vector<Sequence> sequences_;
};

// Texts of a language model and what Transformers scores them with.
struct Scored {
  std::vector<std::vector<int32_t>> tokens;  // by sequence, equally long
  std::vector<int64_t> at;                   // positions that logits are given for, ascending
  Tensor logits;                             // [sequences * at.size(), V]

  int64_t length() const { return std::ssize(tokens.front()); }
};
Scored read_scored(const std::filesystem::path& directory);

// Sources of an encoder-decoder model of text, of unequal lengths, and what Transformers makes of
// them.
struct Translated {
  std::vector<int32_t> sources;  // one after another
  std::vector<int64_t> lengths;
  Tensor encoded;                            // [sources.size(), D]
  Scored scored;                             // random targets
  std::vector<std::vector<int32_t>> greedy;  // the most likely token after those before
  int32_t start = 0;                         // what they start from
  int64_t length() const { return scored.length(); }
  int64_t greedy_length() const { return std::ssize(greedy.front()); }
  std::span<const int32_t> source(size_t index) const;
  std::vector<std::span<const int32_t>> all_sources() const;
};
Translated read_translated(const std::filesystem::path& directory);

// Windows of samples, of unequal lengths, and what Transformers makes of them
// (tools/make_golden_moonshine.py).
struct Spoken {
  std::vector<float> samples;  // one after another
  std::vector<int64_t> lengths;
  Tensor encoded;                            // [rows of all, D]
  Scored scored;                             // random targets
  std::vector<std::vector<int32_t>> greedy;  // the most likely token after those before
  std::vector<std::vector<int32_t>> beams;   // the best of four, of at most as many tokens
  int32_t start = 0;                         // what they start from
  int32_t end = 0;

  int64_t length() const { return scored.length(); }
  int64_t greedy_length() const { return std::ssize(greedy.front()); }
};
Spoken read_spoken(const std::filesystem::path& directory);
// What cross attention reads of each window.
std::vector<PageTable> hear(const Model& model, const Spoken& spoken);

// The largest difference of exact arithmetic from that, relative to the largest |logit| (3 to 11 in
// the models here). Weights are exact on both sides, so with kv in f32 only arithmetic differs, as
// in the Whisper models (1e-5 there), and angles: those of Transformers are products in f32,
// 150 * 2^-24 = 9e-6 off at the last position, times a score of up to 20.
constexpr float kExact = 5e-5F;

// The largest relative difference from the expected logits, `chunk` tokens a step. The sequences
// start a step apart, so that steps see them at different places.
float decode_difference(const Model& model, const Scored& scored, int64_t chunk);
float decode_difference(const Model& model, const Translated& translated, int64_t chunk);
float decode_difference(const Model& model, const Spoken& spoken, int64_t chunk);
// The sum over layers of what the plan predicts rounding rows to cost.
double predicted_error(const Model& model);

std::span<const float> floats(const Tensor& tensor);
float largest(std::span<const float> values);
// max |a - b| / max |b|; infinity if a holds NaN or the sizes differ.
float relative_difference(std::span<const float> a, std::span<const float> b);

}  // namespace slim::test
