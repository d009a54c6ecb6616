// Checkpoint: the tensors of a model on disk, by one canonical set of names, whatever the format.
// Bytes stay in the mapped file where they are aligned for their type, and are copied otherwise. A
// format is one file here and one line in the table of checkpoint.cpp; a family says which
// canonical names it needs and never mentions a format.
//
// Canonical names (weights are [outputs, inputs]; "?" marks what may be absent):
//   <side> = encoder | decoder;  <block> = <side>.layers.N
//   <side>.conv{1,2,3?}.weight [out, in, taps], .bias?;  <side>.conv_norm?.{weight,bias}
//   <side>.embed?.weight [V, D], or shared.weight for both;  <side>.embed_norm?.{weight,bias?}
//   <side>.positions?.weight [P, D];  <side>.relative_bias?.weight [buckets, H]
//   head?.weight [V, D];  head?.bias [V]
//   {patch_in?,patch_out?}.{up,down,skip}.{weight,bias}
//   <block>.self.{norm?,q,k,v,out}.{weight,bias?}, where a norm may have no parameters at all
//   <block>.self.qkv? [q, k and v stacked], instead of q, k and v
//   <block>.self.{q_norm?,k_norm?,post_norm?}.{weight,bias?}
//   <block>.cross.{norm,q,k,v,out}.{weight,bias?}
//   <block>.mlp.{norm?,gate?,up,down,post_norm?}.{weight,bias?}
//   <block>.mlp.gate_up? [gate and up stacked, or up and gate], instead of them
//   <side>.norm?.{weight,bias?}
//   rope.factors?, rope.factors_long?, rope.factors_short? [pairs]: they divide the frequencies
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace slim {

class GgufMetadata;
struct GgmlExtras;

// A scalar that is 1 in safetensors of our own making: their names are canonical.
constexpr const char* kCanonicalNames = "canonical names";

class Checkpoint {
 public:
  // Opens the weights of a model directory: model.safetensors, model.safetensors.index.json with
  // its shards, model.bin (CTranslate2), or a single *.gguf; or a .gguf or .safetensors file
  // itself, or one of whisper.cpp (ggml, any *.bin). Everything is validated before this returns:
  // headers and sizes with overflow checks, offsets inside the file, no overlap (two names over the
  // same bytes would make K equal V and slim look perfect), no duplicates, dtypes known. Throws
  // Error{bad_file} naming file and tensor. Names are canonical for CTranslate2, GGUF and ggml, and
  // the file's own for safetensors, where kCanonicalNames does not say otherwise: a family then
  // uses renamed().
  static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& path);

  // The format's name ("safetensors", "ctranslate2", "gguf", "ggml").
  const std::string& format() const noexcept { return format_; }
  // Where the weights came from, for messages.
  const std::filesystem::path& path() const noexcept { return path_; }
  // For CTranslate2 and ggml "WhisperSpec", for GGUF "llama"; empty for formats that do not say
  // what they hold.
  const std::string& content() const noexcept { return content_; }
  // GGUF's keys: the model's configuration and its vocabulary. Null for other formats.
  const GgufMetadata* metadata() const noexcept { return metadata_.get(); }
  // ggml's vocabulary and mel filters. Null for other formats.
  const GgmlExtras* extras() const noexcept { return extras_.get(); }

  bool has(std::string_view name) const;
  // Throws Error{bad_file} "…: tensor 'x' is missing".
  const Tensor& get(std::string_view name) const;
  // As get, and throws unless the shape is the given one (-1 matches any size).
  const Tensor& get(std::string_view name, const std::vector<int64_t>& shape) const;
  std::vector<std::string> names() const;
  // Scalars a format stores beside tensors ("encoder.heads"); -1 if it has none of that name.
  int64_t scalar(std::string_view name) const;

  // A checkpoint over the same bytes in whose names every occurrence of `from` is replaced by `to`,
  // for each (from, to) of the table in order; a '#' in both stands for a number. Tensors whose
  // name ends in one of `ignored` are left out. Throws Error{bad_file} if two names become one.
  using Renames = std::vector<std::pair<std::string, std::string>>;
  std::shared_ptr<const Checkpoint> renamed(const Renames& renames,
                                            std::span<const std::string_view> ignored = {}) const;

 private:
  friend class CheckpointBuilder;
  std::string format_;
  std::string content_;
  std::filesystem::path path_;
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, int64_t, std::less<>> scalars_;
  std::shared_ptr<const GgufMetadata> metadata_;
  std::shared_ptr<const GgmlExtras> extras_;
};

}  // namespace slim
