// Three passes: parse what the file claims, resolve aliases and scales by name, then add tensors
// under their canonical names.
#include "weights/ctranslate2.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "slim/error.h"
#include "weights/byte_cursor.h"

namespace slim {
namespace {

constexpr uint32_t kVersion = 6;

std::string read_string(const WeightsFile& file, ByteCursor& cursor) {
  std::string_view text = cursor.text<uint16_t>();
  if (!text.ends_with('\0')) {
    fail_file(file.path, "The string that ends at byte " + std::to_string(cursor.at()) +
                             " has no zero at its end.");
  }
  text.remove_suffix(1);
  check_name(file.path, text);
  return std::string(text);
}

struct Contents {
  std::string content;
  std::map<std::string, TensorEntry> tensors;
  std::map<std::string, const TensorEntry*> by_name;  // tensors and aliases
  std::map<std::string, std::string> targets;         // of aliases
};

TensorEntry read_entry(const WeightsFile& file, const std::string& name, ByteCursor& cursor) {
  constexpr DType kTypes[] = {DType::f32, DType::i8,  DType::i16,
                              DType::i32, DType::f16, DType::bf16};
  TensorEntry entry;
  entry.shape.resize(cursor.number<uint8_t>());
  for (int64_t& size : entry.shape) size = cursor.number<uint32_t>();
  const size_t type = cursor.number<uint8_t>();
  if (type >= std::size(kTypes)) {
    fail_tensor(file.path, name, "has the unknown dtype " + std::to_string(type));
  }
  entry.type = kTypes[type];
  const int64_t needed = checked_bytes(file.path, name, entry.type, entry.shape);
  const auto stored = cursor.number<uint32_t>();
  if (stored != needed) {
    fail_tensor(
        file.path, name,
        "has " + std::to_string(stored) + " bytes, but its shape needs " + std::to_string(needed));
  }
  entry.bytes = cursor.take(stored);
  return entry;
}

Contents parse(const WeightsFile& file) {
  ByteCursor cursor(file);
  if (const auto version = cursor.number<uint32_t>(); version != kVersion) {
    throw Error(ErrorCode::unsupported_model,
                "The CTranslate2 file has version " + std::to_string(version) +
                    ", but only version 6 can be read.",
                file.path.string());
  }
  Contents contents;
  contents.content = read_string(file, cursor);
  cursor.number<uint32_t>();  // the revision of the content's specification
  for (size_t left = cursor.count<uint32_t>(9, kMaxTensors, "tensors"); left > 0; --left) {
    const std::string name = read_string(file, cursor);
    const auto [at, added] = contents.tensors.emplace(name, read_entry(file, name, cursor));
    if (!added) fail_tensor(file.path, name, "is given twice");
    contents.by_name.emplace(name, &at->second);
  }
  for (size_t left = cursor.count<uint32_t>(6, kMaxTensors, "aliases"); left > 0; --left) {
    const std::string alias = read_string(file, cursor);
    const auto target = contents.tensors.find(read_string(file, cursor));
    if (target == contents.tensors.end()) {
      fail_tensor(file.path, alias, "is an alias of a tensor that is missing");
    }
    if (!contents.by_name.emplace(alias, &target->second).second) {
      fail_tensor(file.path, alias, "is given twice");
    }
    contents.targets.emplace(alias, target->first);
  }
  if (cursor.left() > 0) {
    fail_file(file.path,
              "The file goes on for " + std::to_string(cursor.left()) + " bytes after its end.");
  }
  return contents;
}

struct Part {
  std::string_view stored;
  std::initializer_list<std::string_view> canonical;  // several: stacked by rows
};

std::span<const Part> side_parts() {
  static const Part parts[] = {{"conv1", {"conv1"}},
                               {"conv2", {"conv2"}},
                               {"embeddings", {"embed"}},
                               {"embeddings_0", {"embed"}},
                               {"layernorm_embedding", {"embed_norm"}},
                               {"position_encodings", {"positions"}},
                               {"layer_norm", {"norm"}}};
  return parts;
}

std::span<const Part> block_parts() {
  static const Part parts[] = {{"self_attention/layer_norm", {"self.norm"}},
                               {"self_attention/linear_0", {"self.q", "self.k", "self.v"}},
                               {"self_attention/linear_1", {"self.out"}},
                               {"attention/layer_norm", {"cross.norm"}},
                               {"attention/linear_0", {"cross.q"}},
                               {"attention/linear_1", {"cross.k", "cross.v"}},
                               {"attention/linear_2", {"cross.out"}},
                               {"ffn/layer_norm", {"mlp.norm"}},
                               {"ffn/linear_0", {"mlp.up"}},  // of a gated MLP: the gate
                               {"ffn/linear_0_noact", {"mlp.up"}},
                               {"ffn/linear_1", {"mlp.down"}}};
  return parts;
}

std::string_view canonical_leaf(std::string_view leaf) {
  constexpr std::pair<std::string_view, std::string_view> kLeaves[] = {{"weight", ".weight"},
                                                                       {"bias", ".bias"},
                                                                       {"gamma", ".weight"},
                                                                       {"beta", ".bias"},
                                                                       {"encodings", ".weight"}};
  for (const auto& [stored, canonical] : kLeaves) {
    if (leaf == stored) return canonical;
  }
  return {};
}

// "decoder/layer_3/attention/linear_1/bias" is "decoder.layers.3.cross.k.bias" and "...v.bias";
// a name that is none of the canonical tensors is itself.
std::vector<std::string> canonical_names(const std::string& name) {
  std::string_view rest = name;
  const size_t last = rest.rfind('/');
  if (last == std::string_view::npos) return {name};
  const std::string_view leaf = canonical_leaf(rest.substr(last + 1));
  if (leaf.empty()) return {name};
  rest = rest.substr(0, last);
  if (rest == "decoder/projection") return {"head" + std::string(leaf)};

  const size_t first = rest.find('/');
  std::string prefix(rest.substr(0, first));
  if (first == std::string_view::npos || (prefix != "encoder" && prefix != "decoder"))
    return {name};
  rest = rest.substr(first + 1);
  auto parts = side_parts();
  if (constexpr std::string_view kLayer = "layer_"; rest.starts_with(kLayer)) {
    const size_t end = rest.find_first_not_of("0123456789", kLayer.size());
    if (end != std::string_view::npos && end > kLayer.size() && rest[end] == '/') {
      prefix += ".layers." + std::string(rest.substr(kLayer.size(), end - kLayer.size()));
      rest = rest.substr(end + 1);
      parts = block_parts();
    }
  }
  for (const Part& part : parts) {
    if (rest != part.stored) continue;
    std::vector<std::string> names;
    for (const std::string_view canonical : part.canonical) {
      names.push_back(prefix + "." + std::string(canonical) + std::string(leaf));
    }
    return names;
  }
  return {name};
}

bool is_integer(DType type) {
  return type == DType::i8 || type == DType::i16 || type == DType::i32;
}

template <typename T>
int64_t read_as(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

int64_t integer_of(const TensorEntry& scalar) {
  if (scalar.type == DType::i8) return read_as<int8_t>(scalar.bytes);
  if (scalar.type == DType::i16) return read_as<int16_t>(scalar.bytes);
  return read_as<int32_t>(scalar.bytes);
}

// Turns entries into tensors; a weight under two names becomes one tensor.
class Loader {
 public:
  Loader(const WeightsFile& file, const Contents& contents)
      : file_(file), contents_(contents), builder_("ctranslate2", file.path, contents.content) {}

  std::shared_ptr<const Checkpoint> load() {
    for (const auto& [name, entry] : contents_.by_name) {
      if (entry->shape.empty() && is_integer(entry->type)) {
        add_scalar(name, *entry);
      } else if (!is_scale_of_integers(name) && !repeats_bias(name, *entry)) {
        if (stays_integers(name, *entry)) {
          add(name, integers(*entry), scales(name, take_tensor(file_, *find_scale(name)).to_f32()));
        } else {
          add(name, tensor(name, *entry));
        }
      }
    }
    return builder_.finish();
  }

 private:
  const TensorEntry* find(const std::string& name) const {
    const auto at = contents_.by_name.find(name);
    return at == contents_.by_name.end() ? nullptr : at->second;
  }

  // None of what has none. An alias has that of its tensor, unless it has its own.
  const TensorEntry* find_scale(const std::string& name) const {
    constexpr const char* kSuffix = "_scale";
    if (const TensorEntry* own = find(name + kSuffix); own != nullptr) return own;
    const auto target = contents_.targets.find(name);
    return target == contents_.targets.end() ? nullptr : find(target->second + kSuffix);
  }

  bool is_scale_of_integers(std::string_view name) const {
    constexpr std::string_view kSuffix = "_scale";
    if (!name.ends_with(kSuffix)) return false;
    const TensorEntry* weight = find(std::string(name.substr(0, name.size() - kSuffix.size())));
    return weight != nullptr && is_integer(weight->type);
  }

  // Whether the kernels take the integers as they are: those of linear layers and embeddings, by
  // rows.
  bool stays_integers(const std::string& name, const TensorEntry& entry) const {
    const bool table = name.find("/embeddings") != std::string::npos;
    const bool linear =
        name == "decoder/projection/weight" || name.find("/linear_") != std::string::npos;
    if (!name.ends_with("/weight") || !(linear || table) || entry.shape.size() != 2) return false;
    const TensorEntry* scale = find_scale(name);
    const bool type = entry.type == DType::i8 || (entry.type == DType::i16 && linear);
    return type && scale != nullptr && scale->shape == std::vector{entry.shape[0]} &&
           find(name + "_zero") == nullptr;
  }

  void add_scalar(const std::string& name, const TensorEntry& entry) {
    const bool heads = name == "encoder/num_heads" || name == "decoder/num_heads";
    builder_.add_scalar(file_, heads ? name.substr(0, 7) + ".heads" : name, integer_of(entry));
  }

  Tensor tensor(const std::string& name, const TensorEntry& entry) {
    const TensorEntry* scale = is_integer(entry.type) ? find_scale(name) : nullptr;
    Tensor& made = made_[{&entry, scale}];
    if (!made.empty()) return made;
    if (find(name + "_zero") != nullptr) {
      throw Error(ErrorCode::unsupported_model,
                  "Tensor '" + name + "' is quantised with zero points, which is not supported.",
                  file_.path.string());
    }
    if (scale == nullptr && is_integer(entry.type) && name.ends_with("/weight")) {
      fail_tensor(file_.path, name, "is quantised, but its scale is missing");
    }
    made = take_tensor(file_, entry);
    if (scale != nullptr) made = dequantise(name, made, take_tensor(file_, *scale).to_f32());
    return made;
  }

  Tensor dequantise(const std::string& name, const Tensor& stored, const Tensor& scale) {
    Tensor values = stored.to_f32();
    const int64_t rows = stored.shape().empty() ? 1 : stored.size(0);
    if (scale.elements() != rows && scale.elements() != 1) {
      fail_tensor(file_.path, name,
                  "has " + std::to_string(rows) + " rows, but " + std::to_string(scale.elements()) +
                      " scales");
    }
    const int64_t group = scale.elements() == 0 ? 0 : values.elements() / scale.elements();
    float* value = values.writable<float>();
    for (int64_t i = 0; i < scale.elements(); ++i) {
      const float divisor = checked_divisor(name, scale, i);
      for (int64_t j = 0; j < group; ++j) *value++ /= divisor;
    }
    return values;
  }

  float checked_divisor(const std::string& name, const Tensor& scale, int64_t i) const {
    const float divisor = scale.values<float>()[i];
    if (!std::isfinite(divisor) || divisor <= 0.0F) {
      fail_tensor(file_.path, name, "has a scale that is not positive and finite");
    }
    return divisor;
  }

  Tensor integers(const TensorEntry& entry) {
    Tensor& made = made_[{&entry, nullptr}];
    if (made.empty()) made = take_tensor(file_, entry);
    return made;
  }

  // What integers are multiplied by, of what the file has them divided by.
  Tensor scales(const std::string& name, const Tensor& divisors) const {
    Tensor factors = Tensor::allocate(host_device(), DType::f32, divisors.shape());
    for (int64_t i = 0; i < divisors.elements(); ++i) {
      factors.writable<float>()[i] = 1.0F / checked_divisor(name, divisors, i);
    }
    return factors;
  }

  // What a name alone does not say: a gated MLP has a second linear_0, and layers may share biases
  // by distance.
  std::vector<std::string> names_of(const std::string& name) const {
    constexpr std::string_view kBias = "/layer_0/self_attention/relative_attention_bias";
    constexpr std::string_view kGate = "/ffn/linear_0/";
    if (name.ends_with(kBias)) {
      return {name.substr(0, name.size() - kBias.size()) + ".relative_bias.weight"};
    }
    std::vector<std::string> names = canonical_names(name);
    if (const size_t at = name.find(kGate); at != name.npos) {
      const std::string mlp = name.substr(0, at) + "/ffn/linear_0_noact/weight";
      const size_t up = names.front().find(".up.");
      if (find(mlp) != nullptr && up != std::string::npos) names.front().replace(up, 4, ".gate.");
    }
    return names;
  }

  // Of a layer that has the biases of the first.
  bool repeats_bias(const std::string& name, const TensorEntry& entry) const {
    if (!name.ends_with("/self_attention/relative_attention_bias")) return false;
    const std::string side = name.substr(0, name.find('/'));
    return name.find("/layer_0/") == name.npos &&
           find(side + "/layer_0/self_attention/relative_attention_bias") == &entry;
  }

  void add_part(const std::string& name, const Tensor& tensor, const Tensor& scale) {
    builder_.add(file_, name, tensor);
    if (scale.empty()) return;
    const std::string layer = name.substr(0, name.size() - std::string_view("weight").size());
    builder_.add(file_, layer + "scale", scale);
  }

  // With a scale for each row, or none.
  void add(const std::string& name, const Tensor& tensor, const Tensor& scale = {}) {
    const auto names = names_of(name);
    if (names.size() == 1) return add_part(names[0], tensor, scale);
    const auto count = static_cast<int64_t>(names.size());
    const int64_t rows = tensor.shape().empty() ? 0 : tensor.size(0);
    // With fewer key heads than query heads the parts are not equal.
    const bool grouped = find(name.substr(0, name.rfind("linear_")) + "num_heads_kv") != nullptr;
    if (rows == 0 || rows % count != 0 || grouped) {
      fail_tensor(file_.path, name,
                  "cannot be split into " + std::to_string(count) + " projections of equal width");
    }
    const int64_t part = rows / count;
    for (int64_t i = 0; i < count; ++i) {
      add_part(names[static_cast<size_t>(i)], tensor.slice(i * part, part),
               scale.empty() ? Tensor() : scale.slice(i * part, part));
    }
  }

  const WeightsFile& file_;
  const Contents& contents_;
  CheckpointBuilder builder_;
  std::map<std::pair<const TensorEntry*, const TensorEntry*>, Tensor> made_;
};

}  // namespace

std::shared_ptr<const Checkpoint> read_ctranslate2(const WeightsFile& file) {
  const Contents contents = parse(file);
  return Loader(file, contents).load();
}

std::shared_ptr<const Checkpoint> open_ctranslate2(const std::filesystem::path& directory) {
  return read_ctranslate2(WeightsFile::open(directory / "model.bin"));
}

}  // namespace slim
