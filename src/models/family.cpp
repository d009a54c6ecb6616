// The table of families, and how a model on disk finds its own: by "architectures" in config.json,
// or by what the file of its weights says it holds (CTranslate2, GGUF).
#include "models/family.h"

#include <algorithm>
#include <array>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "slim/error.h"

namespace slim {

// Each in families/, in the file of its name.
Family bloom();
Family cohere();
Family gemma();
Family gpt2();
Family gpt_neox();
Family gptj();
Family llama();
Family mpt();
Family olmo();
Family olmo2();
Family opt();
Family phi();
Family phi3();
Family qwen2();
Family stablelm();
Family whisper();

std::span<const Family> families() {
  // A table, not self-registering objects: a linker drops those from a static library.
  static const std::array table = {bloom(), cohere(), gemma(),    gpt2(),   gpt_neox(), gptj(),
                                   llama(), mpt(),    olmo(),     olmo2(),  opt(),      phi(),
                                   phi3(),  qwen2(),  stablelm(), whisper()};
  return table;
}

namespace {

[[noreturn]] void refuse_unknown(std::string_view kind, const std::vector<std::string>& names,
                                 const std::vector<std::string_view>& known,
                                 const std::filesystem::path& place) {
  throw Error(ErrorCode::unsupported_model,
              fmt::format("The {} '{}' is not supported; there is {}.", kind,
                          fmt::join(names, "', '"), fmt::join(known, ", ")),
              place.string());
}

const Family& family_of(const JsonObject& config) {
  if (config.has("quantization_config")) {
    config.reject("quantization_config", "asks for weights in a form that is not supported");
  }
  const std::vector<std::string> names = config.strings("architectures");
  std::vector<std::string_view> known;
  for (const Family& family : families()) {
    for (const std::string_view architecture : family.architectures) {
      if (std::find(names.begin(), names.end(), architecture) != names.end()) return family;
      known.push_back(architecture);
    }
  }
  refuse_unknown("architecture", names, known, config.place());
}

// By what a file says it holds, which is `field` of its family.
const Family& family_of(const Checkpoint& checkpoint, std::string_view Family::*field) {
  std::vector<std::string_view> known;
  for (const Family& family : families()) {
    if ((family.*field).empty()) continue;
    if (family.*field == checkpoint.content()) return family;
    known.push_back(family.*field);
  }
  refuse_unknown("model type", {checkpoint.content()}, known, checkpoint.path());
}

// What no family's reader can leave open, whatever the format. Throws the sentence alone.
class SpecCheck {
 public:
  SpecCheck(const ModelSpec& spec, const std::filesystem::path& place)
      : spec_(spec), place_(place.string()) {}

  void run() const {
    if (spec_.vocabulary < 1) refuse("The vocabulary is empty.");
    check_stack("decoder", spec_.decoder);
    if (!spec_.has_encoder()) return;
    check_stack("encoder", spec_.encoder);
    if (spec_.mel_bins != 80 && spec_.mel_bins != 128) {
      refuse(fmt::format("The model hears {} mel bins; 80 and 128 are supported.", spec_.mel_bins));
    }
    if (spec_.encoder.width != spec_.decoder.width) {
      refuse(
          fmt::format("The encoder is {} wide and the decoder {}: cross attention needs one width.",
                      spec_.encoder.width, spec_.decoder.width));
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& text) const {
    throw Error(ErrorCode::bad_file, text, place_);
  }

  void check_stack(const char* side, const StackSpec& stack) const {
    if (std::min({stack.layers, stack.width, stack.mlp_width, stack.positions}) < 1) {
      refuse(fmt::format("The {} has a size of zero.", side));
    }
    if (stack.heads < 1 || (stack.head_width == 0 && stack.width % stack.heads != 0)) {
      refuse(fmt::format("The {} attention heads of the {} do not divide its width, {}.",
                         stack.heads, side, stack.width));
    }
    if (stack.heads % stack.key_head_count() != 0) {
      refuse(fmt::format("The {} attention heads of the {} do not share its {} key heads evenly.",
                         stack.heads, side, stack.key_head_count()));
    }
    const int64_t rotated = stack.rope.width;
    if (stack.position_kind == Positions::rotary &&
        (rotated < 2 || rotated % 2 != 0 || rotated > stack.width_of_head())) {
      refuse(fmt::format("{} of the {} columns of a head cannot be rotated in pairs.", rotated,
                         stack.width_of_head()));
    }
    if (!stack.windows.empty() && std::ssize(stack.windows) != stack.layers) {
      refuse(fmt::format("There are {} attention windows for {} layers.", stack.windows.size(),
                         stack.layers));
    }
  }

  const ModelSpec& spec_;
  std::string place_;
};

}  // namespace

namespace {

constexpr std::string_view kGguf = ".gguf";

// A config.json alone.
ModelFiles open_config(const std::filesystem::path& path) {
  const JsonObject config = JsonObject::read(path);
  return {.directory = path.parent_path(),
          .spec = family_of(config).read_config(config),
          .checkpoint = nullptr};
}

ModelFiles open_gguf_file(const Checkpoint& stored, const std::filesystem::path& directory) {
  const Family& family = family_of(stored, &Family::gguf);
  return {.directory = directory,
          .spec = family.read_gguf(stored),
          .checkpoint = stored.renamed({}, family.ignored)};
}

bool present(const std::filesystem::path& path) {
  std::error_code unreadable;
  return std::filesystem::exists(path, unreadable);
}

// A GGUF file needs no config.json beside it.
bool needs_config(const std::filesystem::path& path) {
  if (present(path / "config.json")) return true;
  std::error_code unreadable;
  const std::filesystem::directory_iterator files(path, unreadable);
  return std::none_of(begin(files), end(files),
                      [](const auto& file) { return file.path().extension() == kGguf; });
}

ModelFiles open_directory(const std::filesystem::path& path) {
  if (!needs_config(path)) return open_gguf_file(*Checkpoint::open(path), path);
  const JsonObject config = JsonObject::read(path / "config.json");
  // A config that names an unknown architecture says more than the missing weights of one.
  if (config.has("architectures")) family_of(config);
  const std::shared_ptr<const Checkpoint> stored = Checkpoint::open(path);
  if (stored->metadata() != nullptr) return open_gguf_file(*stored, path);
  if (!stored->content().empty()) {
    const Family& family = family_of(*stored, &Family::content);
    return {.directory = path,
            .spec = family.read_checkpoint(*stored, config),
            .checkpoint = stored->renamed({}, family.ignored)};
  }
  const Family& family = family_of(config);
  const bool converted = present(path / kPlanFile);
  return {.directory = path,
          .spec = family.read_config(config),
          .checkpoint =
              stored->renamed(converted ? Checkpoint::Renames{} : family.renames, family.ignored),
          .converted = converted};
}

}  // namespace

ModelFiles open_model(const std::filesystem::path& path) {
  std::error_code ignored;
  ModelFiles files;
  if (std::filesystem::is_directory(path, ignored)) {
    files = open_directory(path);
  } else if (!present(path)) {
    throw Error(ErrorCode::bad_file, "There is no such model directory, GGUF file or config.json.",
                path.string());
  } else if (path.extension() == kGguf) {
    files = open_gguf_file(*Checkpoint::open(path), path.parent_path());
  } else {
    files = open_config(path);
  }
  const bool by_config = files.checkpoint == nullptr || files.checkpoint->content().empty();
  const std::filesystem::path config = files.directory / "config.json";
  SpecCheck(files.spec, by_config ? config : files.checkpoint->path()).run();
  return files;
}

}  // namespace slim
