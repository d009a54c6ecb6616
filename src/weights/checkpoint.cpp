// The table of formats, and looking tensors up.
#include "weights/checkpoint.h"

#include <algorithm>
#include <system_error>

#include "base/check.h"
#include "slim/error.h"
#include "weights/builder.h"
#include "weights/ctranslate2.h"
#include "weights/safetensors.h"

namespace slim {
namespace {

struct Format {
  std::string_view file;  // a directory that has it is of this format; the first match counts
  std::shared_ptr<const Checkpoint> (*open)(const std::filesystem::path& directory);
};

constexpr Format kFormats[] = {{"model.safetensors", open_safetensors},
                               {"model.safetensors.index.json", open_sharded_safetensors},
                               {"model.bin", open_ctranslate2}};

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] < 0 ? "any" : std::to_string(shape[i]);
  }
  return text + "]";
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
    at += to.size();
  }
  return text;
}

}  // namespace

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::filesystem::path& directory) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    fail_file(directory, "There is no such model directory.");
  }
  std::string known;
  for (const Format& format : kFormats) {
    if (std::filesystem::exists(directory / format.file, error)) return format.open(directory);
    known += (known.empty() ? "" : ", ") + std::string(format.file);
  }
  fail_file(directory, "The directory has no weights: none of " + known + " is there.");
}

bool Checkpoint::has(std::string_view name) const { return tensors_.contains(name); }

const Tensor& Checkpoint::get(std::string_view name) const {
  const auto at = tensors_.find(name);
  if (at == tensors_.end()) fail_tensor(path_, name, "is missing");
  return at->second;
}

const Tensor& Checkpoint::get(std::string_view name, const std::vector<int64_t>& shape) const {
  const Tensor& tensor = get(name);
  const bool fits =
      std::equal(shape.begin(), shape.end(), tensor.shape().begin(), tensor.shape().end(),
                 [](int64_t wanted, int64_t size) { return wanted < 0 || wanted == size; });
  if (!fits) {
    fail_tensor(path_, name,
                "has the shape " + text_of(tensor.shape()) + " instead of " + text_of(shape));
  }
  return tensor;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

int64_t Checkpoint::scalar(std::string_view name) const {
  const auto at = scalars_.find(name);
  return at == scalars_.end() ? -1 : at->second;
}

std::shared_ptr<const Checkpoint> Checkpoint::renamed(
    const Renames& renames, std::span<const std::string_view> ignored) const {
  const WeightsFile file{path_, {}, nullptr};
  CheckpointBuilder builder(format_, path_, content_);
  for (const auto& [name, tensor] : tensors_) {
    const auto ends = [&name = name](std::string_view ending) { return name.ends_with(ending); };
    if (std::any_of(ignored.begin(), ignored.end(), ends)) continue;
    std::string canonical = name;
    for (const auto& [from, to] : renames) {
      check(!from.empty(), "a rename says what it replaces");
      canonical = replace_all(std::move(canonical), from, to);
    }
    builder.add(file, canonical, tensor);
  }
  for (const auto& [name, value] : scalars_) builder.add_scalar(file, name, value);
  return builder.finish();
}

}  // namespace slim
