// ModelFolder: a model directory of our own that is being written: model.safetensors under
// canonical names, with what stands beside the weights of a model. Everything is written to a
// folder beside the wanted one, which then takes its name: nothing half-written is ever seen under
// it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "slim/report.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"

namespace slim {

class ModelFolder {
 public:
  // Throws Error{bad_request} unless `path` is new or an empty folder; Error{bad_file} with the
  // system's reason where it cannot be written, as all of these do.
  explicit ModelFolder(const std::filesystem::path& path);
  // Nothing stays without finish().
  ~ModelFolder();
  ModelFolder(const ModelFolder&) = delete;
  ModelFolder& operator=(const ModelFolder&) = delete;

  // Configuration and tokenizer: each file that is there.
  void copy_from(const std::filesystem::path& directory);
  void write(const std::string& name, std::string_view text);
  // Writes the weights and gives the folder its name. The report's bytes are those of `source` and
  // of `tensors`.
  Conversion finish(const Checkpoint& source, const std::vector<NamedTensor>& tensors);

 private:
  std::filesystem::path path_;
  std::filesystem::path partial_;
};

}  // namespace slim
