// The safetensors format: a little-endian u64 with the header's length, a JSON header that gives
// each tensor's dtype, shape and byte range, then the bytes. Sharded models have an index beside.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "weights/builder.h"

namespace slim {

constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // the format's own limit, in bytes

// The format's name for a type ("BF16"); empty if it has none.
std::string_view safetensors_name(DType type);

// Adds the tensors of one file under their own names, which it returns. Accepts F32, F16, BF16, I8,
// I16 and I32. Throws Error{bad_file} naming file and tensor.
std::vector<std::string> read_safetensors(const WeightsFile& file, CheckpointBuilder& builder);

// A file, or a directory's model.safetensors.
std::shared_ptr<const Checkpoint> open_safetensors(const std::filesystem::path& path);

// A directory's shards by its model.safetensors.index.json: the tensors of each shard must be
// exactly those the index says, and a shard's name must be a plain file name.
std::shared_ptr<const Checkpoint> open_sharded_safetensors(const std::filesystem::path& directory);

}  // namespace slim
