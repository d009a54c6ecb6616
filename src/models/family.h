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

class GgufFields;

struct Family {
  std::string_view name;                        // "llama"
  std::vector<std::string_view> architectures;  // in config.json: "LlamaForCausalLM"
  std::string_view content;  // in a format that stores it: "WhisperSpec" (CTranslate2, ggml),
                             // "phi2" (GGUF); or nothing
  // From a Hugging Face config.json (models/config_fields.h reads what families have in common).
  ModelSpec (*read_config)(const JsonObject& config) = nullptr;
  // From a checkpoint whose config holds no sizes (CTranslate2): sizes by tensor shapes. `config`
  // is the directory's config.json; of a ggml file, which is alone, it is empty. None if there is
  // no such format.
  ModelSpec (*read_checkpoint)(const Checkpoint& checkpoint, const JsonObject& config) = nullptr;
  // From the keys and tensors of a GGUF file (models/gguf_fields.h). None where llama.cpp has no
  // such models.
  ModelSpec (*read_gguf)(const GgufFields& fields) = nullptr;
  // From safetensors names to canonical ones, applied in order to every name.
  Checkpoint::Renames renames;
  // Ends of the names of tensors that mean nothing: buffers that can be computed. Any other that
  // no part of the model reads is an error.
  std::vector<std::string_view> ignored;
};

std::span<const Family> families();

// The plan that a converted model was stored for.
constexpr const char* kPlanFile = "slim_plan.json";

// A model on disk: directory with config.json and weights, a GGUF or ggml file, or a config.json
// alone.
struct ModelFiles {
  std::filesystem::path directory;
  ModelSpec spec;
  std::shared_ptr<const Checkpoint> checkpoint;  // canonical names; null for a config alone
  bool converted = false;                        // there is a kPlanFile in the directory
};

// `path`: the directory, the .gguf file or a directory with only that, the ggml .bin file, or the
// config.json. Where a
// directory's weights are a GGUF file, that is all that is read of it. Throws Error{bad_file} for
// missing or malformed files, Error{unsupported_model} for an
// architecture that is not in the table (listing those that are).
ModelFiles open_model(const std::filesystem::path& path);

}  // namespace slim
