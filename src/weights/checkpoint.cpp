// The table of formats, and looking tensors up.
#include "weights/checkpoint.h"

#include <algorithm>
#include <system_error>

#include "base/check.h"
#include "slim/error.h"
#include "weights/builder.h"
#include "weights/ctranslate2.h"
#include "weights/ggml.h"
#include "weights/gguf.h"
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

// Files of any name that ends so.
constexpr std::string_view kGguf = ".gguf";
constexpr std::string_view kGgml = ".bin";
constexpr std::string_view kSafetensors = ".safetensors";

// The directory's only GGUF file; empty if there is none.
std::filesystem::path find_gguf(const std::filesystem::path& directory) {
  std::filesystem::path found;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().extension() != kGguf) continue;
    if (!found.empty()) {
      fail_file(directory, "The directory has several GGUF files: name the one that is meant.");
    }
    found = at->path();
  }
  return found;
}

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] < 0 ? "any" : std::to_string(shape[i]);
  }
  return text + "]";
}

constexpr char kNumber = '#';

// The end of the number that begins at `at`, if `tail` follows it; else nothing.
size_t end_of_number(std::string_view text, size_t at, std::string_view tail) {
  const size_t end = std::min(text.find_first_not_of("0123456789", at), text.size());
  return end > at && text.substr(end).starts_with(tail) ? end : std::string_view::npos;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  const size_t mark = from.find(kNumber);
  const std::string_view head = from.substr(0, mark);
  const std::string_view tail = mark == from.npos ? "" : from.substr(mark + 1);
  for (size_t at = text.find(head); at != std::string::npos; at = text.find(head, at)) {
    const size_t first = at + head.size();
    const size_t last = mark == from.npos ? first : end_of_number(text, first, tail);
    if (last == std::string::npos) {
      ++at;
      continue;
    }
    std::string into(to);
    if (const size_t hole = into.find(kNumber); mark != from.npos && hole != into.npos) {
      into.replace(hole, 1, text.substr(first, last - first));
    }
    text.replace(at, last + tail.size() - at, into);
    at += into.size();
  }
  return text;
}

}  // namespace

std::shared_ptr<const Checkpoint> Checkpoint::open(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    if (path.extension() == kGguf) return open_gguf(path);
    if (path.extension() == kGgml) return open_ggml(path);
    if (path.extension() == kSafetensors) return open_safetensors(path);
    fail_file(path, "There is no such model directory.");
  }
  std::string known;
  for (const Format& format : kFormats) {
    if (std::filesystem::exists(path / format.file, error)) return format.open(path);
    known += std::string(format.file) + ", ";
  }
  if (const auto file = find_gguf(path); !file.empty()) return open_gguf(file);
  fail_file(path, "The directory has no weights: none of " + known + "*" + std::string(kGguf) +
                      " is there.");
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
  builder.set_metadata(metadata_);
  builder.set_extras(extras_);
  return builder.finish();
}

}  // namespace slim
