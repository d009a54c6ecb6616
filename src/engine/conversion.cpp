// Conversion: a model directory with the weights that a plan needs: where a layer runs k, its value
// weights are gone and the value map stands in their place, with spill and shaping beside it.
// Everything is written to a folder beside the wanted one, which then takes its name: nothing
// half-written is ever seen under it.
#include <unistd.h>

#include <array>
#include <set>

#include "attention/derived.h"
#include "base/new_file.h"
#include "engine/plan_file.h"
#include "engine/runtime.h"
#include "weights/safetensors_writer.h"

namespace slim {
namespace {

namespace fs = std::filesystem;

// What stands beside the weights of a model, each if it is there.
constexpr std::array kCopied = {"config.json",
                                "generation_config.json",
                                "tokenizer.json",
                                "tokenizer.model",
                                "spiece.model",
                                "sentencepiece.bpe.model",
                                "source.spm",
                                "target.spm",
                                "tokenizer_config.json",
                                "special_tokens_map.json",
                                "added_tokens.json",
                                "vocab.json",
                                "merges.txt",
                                "chat_template.jinja",
                                "chat_template.json",
                                "preprocessor_config.json"};

[[noreturn]] void fail(const fs::path& path, const std::error_code& reason) {
  throw Error(ErrorCode::bad_file, "The directory cannot be written: " + reason.message() + ".",
              path.string());
}

// A folder that is removed unless it is given its name.
class NewFolder {
 public:
  explicit NewFolder(fs::path path) : path_(std::move(path)) {
    if (!path_.has_filename()) path_ = path_.parent_path();  // "dir/"
    std::error_code reason;
    if (fs::exists(path_, reason) && !fs::is_empty(path_, reason)) {
      throw Error(ErrorCode::bad_request, "The directory is not empty: it is left as it is.",
                  path_.string());
    }
    partial_ = path_;
    partial_ += ".partial-" + std::to_string(getpid());
    if (!fs::create_directories(partial_, reason) && reason) fail(path_, reason);
  }
  ~NewFolder() {
    std::error_code ignored;
    if (!partial_.empty()) fs::remove_all(partial_, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const fs::path& partial() const noexcept { return partial_; }
  void finish() {
    std::error_code reason;
    fs::rename(partial_, path_, reason);  // over an empty folder too
    if (reason) fail(path_, reason);
    partial_.clear();
  }

 private:
  fs::path path_;
  fs::path partial_;
};

void add(std::vector<NamedTensor>& tensors, const std::string& name, const Tensor& tensor) {
  if (!tensor.empty()) tensors.push_back({name, tensor});
}

void add_linear(std::vector<NamedTensor>& tensors, const std::string& name,
                const LinearWeights& linear) {
  add(tensors, name + ".weight", linear.weight);
  add(tensors, name + ".scale", linear.scale);
  add(tensors, name + ".bias", linear.bias);
}

void add_keys(std::vector<NamedTensor>& tensors, const std::string& name,
              const AttentionWeights& weights, const RowChoice& rows) {
  add_linear(tensors, name + ".q", weights.q);
  add_linear(tensors, name + ".k", weights.k);
  add(tensors, name + ".v.bias", weights.v.bias);
  const DerivedWeights derived = derive_weights(weights, rows);
  add_linear(tensors, name + ".value_map", derived.value_map);
  add(tensors, name + ".spill.weight", derived.spill);
  add(tensors, name + ".spill_map.weight", derived.spill_map);
  add(tensors, name + ".shaping_u.weight", derived.shaping_u);
  add(tensors, name + ".shaping_g.weight", derived.shaping_g);
  add(tensors, name + ".shaping_order.weight", derived.shaping_order);
}

std::vector<NamedTensor> converted(const Checkpoint& checkpoint, const ModelWeights& weights,
                                   const std::vector<LayerPlan>& plan) {
  std::vector<NamedTensor> tensors;
  std::set<std::string> replaced;
  for (const LayerPlan& layer : plan) {
    if (layer.kind != "k") continue;
    const std::string name =
        "decoder.layers." + std::to_string(layer.layer) + (layer.cross ? ".cross" : ".self");
    for (const char* part : {".q.", ".k.", ".v.", ".qkv."}) {
      for (const char* what : {"weight", "bias", "scale"}) replaced.insert(name + part + what);
    }
    add_keys(tensors, name, weights.attention(layer.layer, layer.cross), layer.rows);
  }
  for (const std::string& name : checkpoint.names()) {
    if (!replaced.contains(name)) tensors.push_back({name, checkpoint.get(name)});
  }
  return tensors;
}

void copy_beside(const fs::path& from, const fs::path& to) {
  for (const char* name : kCopied) {
    if (!fs::exists(from / name)) continue;
    std::error_code reason;
    if (!fs::copy_file(from / name, to / name, reason)) fail(to / name, reason);
  }
}

int64_t bytes_of(const std::vector<NamedTensor>& tensors) {
  int64_t bytes = 0;
  for (const NamedTensor& one : tensors) bytes += one.tensor.bytes();
  return bytes;
}

}  // namespace

Conversion convert(const std::string& model, const std::string& directory,
                   const EngineOptions& options) {
  const ModelFiles files = open_model(model);
  if (!files.checkpoint || files.checkpoint->format() != "safetensors" || files.converted) {
    throw Error(ErrorCode::bad_request,
                "Only a model directory in safetensors that has not been converted yet can be.",
                model);
  }
  const PlannedModel planned = plan_model(model, files, options);
  NewFolder folder(directory);
  const std::vector<NamedTensor> tensors =
      converted(*files.checkpoint, *planned.weights, planned.plan);
  write_safetensors(folder.partial() / "model.safetensors", tensors,
                    {{"format", "slim"}, {"slim_version", version()}});
  copy_beside(files.directory, folder.partial());
  const std::string text = write_plan(planned.plan);
  NewFile plan_file(folder.partial() / kPlanFile);
  plan_file.write(std::as_bytes(std::span(text)));
  plan_file.finish();
  folder.finish();

  Conversion result;
  result.directory = directory;
  for (const std::string& name : files.checkpoint->names()) {
    result.source_bytes += files.checkpoint->get(name).bytes();
  }
  result.written_bytes = bytes_of(tensors);
  result.layers = layer_reports(planned.plan);
  result.calibration = planned.calibration;
  return result;
}

}  // namespace slim
