// Families: how a config and tensor names of known architectures become a ModelSpec and canonical
// names. A family is one file in families/ and one line in the table of family.cpp.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "models/spec.h"
#include "weights/checkpoint.h"

namespace slim {

struct Family {
  std::string_view name;                        // "llama"
  std::vector<std::string_view> architectures;  // in config.json: "LlamaForCausalLM"
  std::string_view content = {};                // in CTranslate2's model.bin: "WhisperSpec"
  // From a Hugging Face config.json (models/config_fields.h reads what families have in common).
  ModelSpec (*read_config)(const JsonObject& config) = nullptr;
  // From a checkpoint whose config holds no sizes (CTranslate2): sizes by tensor shapes. `config`
  // is the directory's config.json. None if there is no such format.
  ModelSpec (*read_checkpoint)(const Checkpoint& checkpoint, const JsonObject& config) = nullptr;
  std::string_view gguf = {};  // general.architecture: "llama"
  // From a GGUF file, whose names are canonical (models/gguf_fields.h).
  ModelSpec (*read_gguf)(const Checkpoint& checkpoint) = nullptr;
  // From safetensors names to canonical ones, applied in order to every name.
  Checkpoint::Renames renames = {};
  // Ends of the names of tensors that mean nothing: buffers that can be computed. Any other that
  // no part of the model reads is an error.
  std::vector<std::string_view> ignored = {};
};

std::span<const Family> families();

// The plan that a converted model was stored for; its tensors have canonical names.
constexpr const char* kPlanFile = "slim_plan.json";

// A model on disk: a directory with config.json and weights, a config.json alone, or a GGUF file
// (or a directory that holds one and nothing else to read).
struct ModelFiles {
  std::filesystem::path directory;
  ModelSpec spec;
  std::shared_ptr<const Checkpoint> checkpoint;  // canonical names; null for a config alone
  bool converted = false;                        // there is a kPlanFile in the directory
};

// Throws Error{bad_file} for missing or malformed files, Error{unsupported_model} for an
// architecture that is not in the table (listing those that are).
ModelFiles open_model(const std::filesystem::path& path);

}  // namespace slim
