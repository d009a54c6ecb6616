// Alignment heads: the (layer, head) pairs of cross attention that follow the audio in time, by
// which word times are found. Configs list them; where one does not, the published models of the
// same shape say which they are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/json.h"
#include "models/spec.h"

namespace slim {

using AlignmentHeads = std::vector<std::vector<int64_t>>;

// The field alignment_heads; empty where there is none. Rejects pairs that the decoder does not
// have.
AlignmentHeads read_alignment_heads(const JsonObject& config, const StackSpec& decoder);

// Those of a published model with as many layers, heads and tokens, else every head of the upper
// half of the layers.
AlignmentHeads usual_alignment_heads(const ModelSpec& spec);

// For a model whose config lists none: its generation_config.json, else the usual ones.
AlignmentHeads find_alignment_heads(const std::filesystem::path& directory, const ModelSpec& spec);

}  // namespace slim
