// The table of families, and how a model on disk finds its own: by "architectures" in config.json,
// or by what the weights' format says it holds.
#include "models/family.h"

#include <algorithm>
#include <array>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "slim/error.h"

namespace slim {

const Family& whisper();  // families/whisper.cpp

std::span<const Family> families() {
  // A table, not self-registering objects: a linker drops those from a static library.
  static const std::array table = {whisper()};
  return table;
}

namespace {

const Family& find_family(std::string_view kind, const std::vector<std::string>& names,
                          std::string_view Family::*field, const std::filesystem::path& place) {
  std::vector<std::string_view> known;
  for (const Family& family : families()) {
    for (const std::string& name : names) {
      if (name == family.*field) return family;
    }
    known.push_back(family.*field);
  }
  throw Error(ErrorCode::unsupported_model,
              fmt::format("The {} '{}' is not supported; there is {}.", kind,
                          fmt::join(names, "', '"), fmt::join(known, ", ")),
              place.string());
}

const Family& family_of(const JsonObject& config) {
  return find_family("architecture", config.strings("architectures"), &Family::architecture,
                     config.place());
}

// What no family's reader can leave open, whatever the format.
void check_spec(const ModelSpec& spec, const std::filesystem::path& place) {
  const auto refuse = [&](const std::string& text) {
    throw Error(ErrorCode::bad_file, text, place.string());
  };
  for (const auto& [side, stack] :
       {std::pair{"encoder", &spec.encoder}, {"decoder", &spec.decoder}}) {
    if (std::min({stack->layers, stack->width, stack->mlp_width, stack->positions}) < 1) {
      refuse(fmt::format("The {} has a size of zero.", side));
    }
    if (stack->heads < 1 || stack->width % stack->heads != 0) {
      refuse(fmt::format("The {} attention heads of the {} do not divide its width, {}.",
                         stack->heads, side, stack->width));
    }
  }
  if (spec.vocabulary < 1) refuse("The vocabulary is empty.");
  if (spec.mel_bins != 80 && spec.mel_bins != 128) {
    refuse(fmt::format("The model hears {} mel bins; 80 and 128 are supported.", spec.mel_bins));
  }
  if (spec.encoder.width != spec.decoder.width) {
    refuse(
        fmt::format("The encoder is {} wide and the decoder {}: cross attention needs one width.",
                    spec.encoder.width, spec.decoder.width));
  }
}

}  // namespace

ModelFiles open_model(const std::filesystem::path& path) {
  std::error_code ignored;
  ModelFiles files;
  if (!std::filesystem::is_directory(path, ignored)) {
    if (!std::filesystem::exists(path, ignored)) {
      throw Error(ErrorCode::bad_file, "There is no such model directory or config.json.",
                  path.string());
    }
    files.directory = path.parent_path();
    const JsonObject config = JsonObject::read(path);
    files.spec = family_of(config).read_config(config);
    check_spec(files.spec, path);
    return files;
  }

  files.directory = path;
  const JsonObject config = JsonObject::read(path / "config.json");
  // A config that names an unknown architecture says more than the missing weights of one.
  if (config.has("architectures")) family_of(config);
  const std::shared_ptr<const Checkpoint> stored = Checkpoint::open(path);
  if (stored->content().empty()) {
    const Family& family = family_of(config);
    files.spec = family.read_config(config);
    files.checkpoint = stored->renamed(family.renames());
  } else {
    const Family& family =
        find_family("model type", {stored->content()}, &Family::content, stored->path());
    files.spec = family.read_checkpoint(*stored, config);
    files.checkpoint = stored;
  }
  check_spec(files.spec, stored->content().empty() ? path / "config.json" : stored->path());
  return files;
}

}  // namespace slim
