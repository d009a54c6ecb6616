// The table of families, and how a model on disk finds its own: by "architectures" in config.json,
// or by what the weights' format says it holds.
#include "models/family.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/alignment_heads.h"
#include "models/gguf_fields.h"
#include "slim/error.h"

namespace slim {

// Each in families/, in the file of its name.
Family bart();
Family bloom();
Family cohere();
Family gemma();
Family gpt2();
Family gpt_neox();
Family gptj();
Family llama();
Family m2m100();
Family marian();
Family moonshine();
Family mpt();
Family olmo();
Family olmo2();
Family opt();
Family pegasus();
Family phi();
Family phi3();
Family qwen2();
Family stablelm();
Family t5();
Family transformer_spec();
Family whisper();

std::span<const Family> families() {
  // A table, not self-registering objects: a linker drops those from a static library.
  static const std::array table = {bart(),      bloom(),
                                   cohere(),    gemma(),
                                   gpt2(),      gpt_neox(),
                                   gptj(),      llama(),
                                   m2m100(),    marian(),
                                   moonshine(), mpt(),
                                   olmo(),      olmo2(),
                                   opt(),       pegasus(),
                                   phi(),       phi3(),
                                   qwen2(),     stablelm(),
                                   t5(),        transformer_spec(),
                                   whisper()};
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

const Family& family_of(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.metadata() != nullptr;
  std::vector<std::string_view> known;
  for (const Family& family : families()) {
    if (gguf ? family.read_gguf == nullptr : family.read_checkpoint == nullptr) continue;
    if (family.content == checkpoint.content()) return family;
    known.push_back(family.content);
  }
  refuse_unknown("model type", {checkpoint.content()}, known, checkpoint.path());
}

// Tables that are made, not read: no few bytes of a file may ask for gigabytes.
constexpr int64_t kMostReach = 1 << 10;  // of biases by distance: twice as many for each head
constexpr int64_t kMostSines = int64_t{1} << 28;

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
    if (spec_.hears() && !spec_.waveform && spec_.mel_bins != 80 && spec_.mel_bins != 128) {
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
    check_tables(stack);
  }

  void check_tables(const StackSpec& stack) const {
    const int64_t rows = stack.position_offset + stack.positions;
    const bool computable = stack.width % 2 == 0 && rows <= kMostSines / stack.width;
    if (stack.position_kind == Positions::sinusoid && !computable) {
      refuse(
          fmt::format("{} positions of width {} cannot be sines and cosines.", rows, stack.width));
    }
    // Half of the buckets of a direction, which the decoder has all, are one distance each.
    const bool bucketed = stack.buckets >= 4 && stack.buckets % 4 == 0 &&
                          stack.bias_reach > stack.buckets / 2 && stack.bias_reach <= kMostReach;
    if (stack.position_kind == Positions::relative && !bucketed) {
      refuse(fmt::format("{} buckets of relative positions cannot reach {} tokens.", stack.buckets,
                         stack.bias_reach));
    }
  }

  const ModelSpec& spec_;
  std::string place_;
};

ModelFiles open_config(const std::filesystem::path& path) {
  const JsonObject config = JsonObject::read(path);
  ModelFiles files;
  files.directory = path.parent_path();
  files.spec = family_of(config).read_config(config);
  SpecCheck(files.spec, path).run();
  return files;
}

// What read_gguf has put into the spec, and frequencies that old converters wrote out.
constexpr std::array<std::string_view, 4> kGgufIgnored = {
    "rope.factors", "rope.factors_long", "rope.factors_short", ".attn_rot_embd.weight"};

ModelFiles open_gguf(const std::filesystem::path& directory, const Checkpoint& stored) {
  ModelFiles files;
  files.directory = directory;
  files.spec = family_of(stored).read_gguf(GgufFields(stored));
  SpecCheck(files.spec, stored.path()).run();
  Checkpoint::Renames renames;
  if (files.spec.decoder.packed_gate) renames = {{".mlp.up.", ".mlp.gate_up."}};
  files.checkpoint = stored.renamed(renames, kGgufIgnored);
  return files;
}

// A ggml file says everything itself: what lies beside it may be of another model.
ModelFiles open_ggml(const std::filesystem::path& path, const Checkpoint& stored) {
  const Family& family = family_of(stored);
  ModelFiles files;
  files.directory = path.parent_path();
  files.spec = family.read_checkpoint(stored, JsonObject::parse("{}", path.string()));
  SpecCheck(files.spec, path).run();
  files.spec.alignment_heads = usual_alignment_heads(files.spec);
  files.checkpoint = stored.renamed({}, family.ignored);
  return files;
}

// Files that are a whole model.
bool is_model_file(const std::filesystem::path& path) {
  return path.extension() == ".gguf" || path.extension() == ".bin";
}

}  // namespace

ModelFiles open_model(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool is_directory = std::filesystem::is_directory(path, ignored);
  if (!is_directory && !std::filesystem::exists(path, ignored)) {
    throw Error(ErrorCode::bad_file,
                "There is no such model directory, GGUF or ggml file or config.json.",
                path.string());
  }
  if (!is_directory && !is_model_file(path)) return open_config(path);

  std::optional<JsonObject> config;
  const std::filesystem::path config_path = path / "config.json";
  if (is_directory && std::filesystem::exists(config_path, ignored)) {
    config = JsonObject::read(config_path);
    // A config that names an unknown architecture says more than the missing weights of one.
    if (config->has("architectures")) family_of(*config);
  }
  const std::shared_ptr<const Checkpoint> stored = Checkpoint::open(path);
  if (stored->metadata() != nullptr) {
    return open_gguf(is_directory ? path : path.parent_path(), *stored);
  }
  if (stored->extras() != nullptr) return open_ggml(path, *stored);
  if (!config) config = JsonObject::read(config_path);  // says that it is missing

  ModelFiles files;
  files.directory = path;
  const bool typed = !stored->content().empty();
  const Family& family = typed ? family_of(*stored) : family_of(*config);
  files.spec = typed ? family.read_checkpoint(*stored, *config) : family.read_config(*config);
  files.converted = std::filesystem::exists(path / kPlanFile, ignored);
  const bool canonical = typed || stored->scalar(kCanonicalNames) == 1;
  files.checkpoint =
      stored->renamed(canonical ? Checkpoint::Renames{} : family.renames, family.ignored);
  SpecCheck(files.spec, typed ? stored->path() : config_path).run();
  if (files.spec.mel_bins > 0 && files.spec.alignment_heads.empty()) {
    files.spec.alignment_heads = find_alignment_heads(path, files.spec);
  }
  return files;
}

}  // namespace slim
