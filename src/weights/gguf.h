// GGUF, versions 2 and 3, as llama.cpp and its converters write it. Little-endian:
//
//   "GGUF"; u32 version; u64 tensors; u64 keys
//   per key: string key; u32 type; the value; a list is u32 type; u64 count; the values
//   per tensor: string name; u32 rank; u64 sizes[rank], the fastest first; u32 type; u64 offset
//   zeros up to a multiple of the alignment (key general.alignment, else 32); the tensors' bytes
//   string: u64 length; the bytes
//
// Types: F32, F16, BF16, and blocks Q8_0, Q4_0, Q4_K, Q5_K, Q6_K (tensor/weight_blocks.h). Weights
// stay in the file, where the alignment puts every one of them in place for its type.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "weights/builder.h"
#include "weights/gguf_metadata.h"

namespace slim {

// Canonical names (checkpoint.h); what has none keeps its own. The content is the key
// general.architecture. Throws Error{bad_file} naming file and tensor or key, and
// Error{unsupported_model} for other versions and types and for one part of a split model.
std::shared_ptr<const Checkpoint> read_gguf(const WeightsFile& file);
std::shared_ptr<const Checkpoint> open_gguf(const std::filesystem::path& path);

// The canonical name for llama.cpp's, of any architecture: "blk.3.attn_q.weight" is
// "decoder.layers.3.self.q.weight"; a name that is none of the canonical tensors is itself.
// `two_norms`: layers have an attn_norm_2, which then is attention's, and attn_norm the MLP's.
std::string canonical_gguf_name(std::string_view name, bool two_norms);

}  // namespace slim
