// Families: how a config and tensor names of a known architecture become a ModelSpec and canonical
// names. A family is one file in families/ and one line in the table of family.cpp.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/json.h"
#include "models/spec.h"
#include "weights/checkpoint.h"

namespace slim {

struct Family {
  std::string_view name;          // "whisper"
  std::string_view architecture;  // in config.json: "WhisperForConditionalGeneration"
  std::string_view content;       // in formats that store it: "WhisperSpec"
  // From a Hugging Face config.json.
  ModelSpec (*read_config)(const JsonObject& config);
  // From a checkpoint whose config holds no sizes (CTranslate2): sizes by tensor shapes. `config`
  // is the directory's config.json.
  ModelSpec (*read_checkpoint)(const Checkpoint& checkpoint, const JsonObject& config);
  // From safetensors names to canonical ones, applied in order to every name.
  const Checkpoint::Renames& (*renames)();
};

std::span<const Family> families();

// A model on disk: directory with config.json and weights, or a config.json alone.
struct ModelFiles {
  std::filesystem::path directory;
  ModelSpec spec;
  std::shared_ptr<const Checkpoint> checkpoint;  // canonical names; null for a config alone
};

// Throws Error{bad_file} for missing or malformed files, Error{unsupported_model} for an
// architecture that is not in the table (listing those that are).
ModelFiles open_model(const std::filesystem::path& path);

}  // namespace slim
