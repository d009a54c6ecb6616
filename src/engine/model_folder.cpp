// The list of files that make a model, and the folder's two names.
#include "engine/model_folder.h"

#include <unistd.h>

#include <array>
#include <set>
#include <span>
#include <system_error>

#include "base/new_file.h"
#include "slim/error.h"
#include "slim/slim.h"

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
                                "target_vocab.json",
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

}  // namespace

ModelFolder::ModelFolder(const fs::path& path) : path_(path) {
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

ModelFolder::~ModelFolder() {
  std::error_code ignored;
  if (!partial_.empty()) fs::remove_all(partial_, ignored);
}

void ModelFolder::copy_from(const fs::path& directory) {
  for (const char* name : kCopied) {
    if (!fs::exists(directory / name)) continue;
    std::error_code reason;
    if (!fs::copy_file(directory / name, partial_ / name, reason)) fail(partial_ / name, reason);
  }
}

void ModelFolder::write(const std::string& name, std::string_view text) {
  NewFile file(partial_ / name);
  file.write(std::as_bytes(std::span(text)));
  file.finish();
}

Conversion ModelFolder::finish(const Checkpoint& source, const std::vector<NamedTensor>& tensors) {
  write_safetensors(partial_ / "model.safetensors", tensors,
                    {{"format", "slim"}, {"slim_version", version()}});
  std::error_code reason;
  fs::rename(partial_, path_, reason);  // over an empty folder too
  if (reason) fail(path_, reason);
  partial_.clear();

  Conversion result;
  result.directory = path_.string();
  std::set<const std::byte*> counted;  // a tensor under two names once
  for (const std::string& name : source.names()) {
    const Tensor& tensor = source.get(name);
    if (counted.insert(tensor.data()).second) result.source_bytes += tensor.bytes();
  }
  for (const NamedTensor& one : tensors) result.written_bytes += one.tensor.bytes();
  return result;
}

}  // namespace slim
