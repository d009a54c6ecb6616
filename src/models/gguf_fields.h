// What the GGUF files of language models have in common: llama.cpp names the keys of all
// architectures alike, behind the architecture's name ("llama.block_count"), and its converters
// write no flag for what the tensors show anyway: biases, packed projections, a tied head. A value
// that nothing here knows is an Error naming key and file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "models/config_fields.h"
#include "models/spec.h"
#include "weights/checkpoint.h"
#include "weights/gguf_metadata.h"

namespace slim {

// The keys of a file's own architecture, named without it, and the tensors beside them. Absent keys
// are errors unless there is a fallback.
class GgufFields {
 public:
  // Of a checkpoint that has metadata. Must outlive this.
  explicit GgufFields(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  const Checkpoint& tensors() const noexcept { return checkpoint_; }
  const GgufMetadata& metadata() const noexcept { return *checkpoint_.metadata(); }

  bool has(std::string_view key) const { return metadata().has(full(key)); }
  int64_t integer(std::string_view key, int64_t low, int64_t high) const;
  int64_t size(std::string_view key) const;  // in [1, kLargestSize]
  int64_t size(std::string_view key, int64_t fallback) const;
  double real(std::string_view key) const;
  double positive(std::string_view key) const;
  double positive(std::string_view key, double fallback) const;
  bool flag(std::string_view key, bool fallback) const;
  std::string string(std::string_view key, std::string_view fallback) const;
  [[noreturn]] void reject(std::string_view key, std::string_view why) const;

 private:
  std::string full(std::string_view key) const {
    return checkpoint_.content() + "." + std::string(key);
  }
  const Checkpoint& checkpoint_;
};

// Everything that keys and tensors tell of any decoder: sizes, vocabulary, biases, packing, gate,
// head, window, clamp, and the epsilon of its norms. What else an architecture is, its family adds.
ModelSpec read_decoder(const GgufFields& fields, std::string family, const NormSpec& norm);

// The rope of a decoder read by read_decoder, with the factors that the file stores as tensors.
// Throws Error{unsupported_model} for a scaling other than none, linear, yarn and longrope, naming
// it. (Llama-3's comes as factors.)
RopeSpec read_rope(const GgufFields& fields, const StackSpec& stack);

}  // namespace slim
