// GgufFields: what the metadata of language models have in common in GGUF files. Keys begin with
// the architecture ("llama.block_count"); whether projections are packed or have biases is read off
// the tensors of the first layer, for no key says it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "models/spec.h"
#include "weights/checkpoint.h"
#include "weights/gguf_metadata.h"

namespace slim {

class GgufFields {
 public:
  // checkpoint: of a GGUF file.
  explicit GgufFields(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), metadata_(*checkpoint.metadata()) {}

  // `name` is the key without the architecture: "block_count".
  std::string key(std::string_view name) const;
  bool has(std::string_view name) const { return metadata_.has(key(name)); }
  int64_t size(std::string_view name) const;  // in [1, kLargestSize]
  int64_t size(std::string_view name, int64_t fallback) const;
  double real(std::string_view name, double fallback) const;
  bool flag(std::string_view name, bool fallback) const;
  // Whether the first layer has this tensor: "self.q.bias".
  bool first_layer_has(std::string_view tensor) const;

  // Sizes, packing, biases, tied head and windows of a decoder; norms, activation, positions and
  // the order of the residual are the family's to say.
  ModelSpec decoder(std::string family) const;
  // Throws Error{unsupported_model} for a type other than none, linear, yarn and longrope.
  RopeSpec rope(int64_t head_width, bool interleaved) const;

 private:
  int64_t layer_size(std::string_view name, int64_t fallback) const;
  void read_scaling(RopeSpec& rope) const;

  const Checkpoint& checkpoint_;
  const GgufMetadata& metadata_;
};

}  // namespace slim
