// Golden: the tiny Whisper models of tests/golden/whisper (tools/make_golden_whisper.py) and what
// Transformers computes with them in float64.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/family.h"

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

// A model opened under a choice, on kernels of its own.
struct Loaded {
  Loaded(const std::filesystem::path& directory, const std::string& kernel_name,
         const CacheChoice& choice);
  ModelFiles files;
  std::unique_ptr<Kernels> kernels;
  std::shared_ptr<const ModelWeights> weights;
  std::unique_ptr<Model> model;
};

// Windows decoded side by side, each with its own pages.
class Decoding {
 public:
  // encoded: [windows * positions, D].
  Decoding(const Model& model, ConstMatrix encoded, int64_t windows);

  // One step: the next tokens of each window (possibly none of some). Returns the logits of every
  // token, [sum of counts, V].
  Tensor step(const std::vector<std::span<const int32_t>>& next);

 private:
  const Model& model_;
  std::vector<PageTable> self_;
  std::vector<PageTable> cross_;
};

std::span<const float> floats(const Tensor& tensor);
float largest(std::span<const float> values);
// max |a - b| / max |b|; infinity if a holds NaN or the sizes differ.
float relative_difference(std::span<const float> a, std::span<const float> b);

}  // namespace slim::test
