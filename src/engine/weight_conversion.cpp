// Weights in another type: a model directory of our own from any file of a speech model.
//   f32, f16, bf16: each number rounded to the nearest, ties to even;
//   i8: of a row w of a matrix, with s = max |w| / 127, the integers round(w / s), and s beside
//       them, so that an integer is off by half of s at most.
// Vectors (biases, norms) are f32 whatever the type, since that is how they are used. With i8,
// tables of which single rows are read (embeddings, positions) and convolutions are f16, and the
// head has integers of its own where it else would be the embeddings' table.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "engine/ggml_text.h"
#include "engine/model_folder.h"
#include "models/config_writer.h"
#include "models/family.h"
#include "models/model.h"
#include "slim/error.h"
#include "slim/slim.h"

namespace slim {
namespace {

constexpr std::array kTypes = {DType::f32, DType::f16, DType::bf16, DType::i8};
constexpr const char* kHead = "head.weight";
constexpr const char* kEmbed = "decoder.embed.weight";
constexpr std::string_view kWeight = ".weight";
constexpr float kLargest = 127;

DType weight_type(const std::string& name) {
  for (const DType type : kTypes) {
    if (name == name_of(type)) return type;
  }
  throw Error(ErrorCode::bad_request, "Weights can be f32, f16, bf16 or i8.", name);
}

bool is_integer(DType type) { return type == DType::i8 || type == DType::i16; }

// ".../x.weight" to ".../x.scale".
std::string scale_of(const std::string& name) {
  return name.substr(0, name.size() - kWeight.size()) + ".scale";
}

class Retyper {
 public:
  Retyper(const ModelFiles& files, DType type)
      : files_(files), weights_(*files.checkpoint), type_(type), tied_(is_tied()) {}

  // Whether there is nothing to do.
  bool done() const {
    const std::vector<std::string> names = weights_.names();
    return weights_.format() == "safetensors" &&
           std::all_of(names.begin(), names.end(), [&](const std::string& name) {
             const Tensor& tensor = weights_.get(name);
             return tensor.shape().size() < 2 || tensor.type() == wanted(name, tensor);
           });
  }

  std::vector<NamedTensor> run() {
    for (const std::string& name : weights_.names()) {
      const bool scale = name.ends_with(".scale");  // goes with its integers
      if (!scale && !(tied_ && name == kHead)) add(name, name);
    }
    if (tied_ && type_ == DType::i8) add(kEmbed, kHead);
    return std::move(tensors_);
  }

  double worst() const { return worst_; }
  const std::string& worst_name() const { return worst_name_; }

 private:
  // Whether the head is the table of embeddings: by name, by bytes, or but for its rounding.
  bool is_tied() const {
    if (!files_.spec.tied_head) return false;
    if (!weights_.has(kHead)) return true;
    const Tensor& head = weights_.get(kHead);
    const Tensor& embed = weights_.get(kEmbed);
    return is_integer(head.type()) ||
           (head.type() == embed.type() && head.shape() == embed.shape() &&
            std::memcmp(head.data(), embed.data(), static_cast<size_t>(head.bytes())) == 0);
  }

  DType wanted(const std::string& name, const Tensor& tensor) const {
    if (tensor.shape().size() < 2) return DType::f32;
    const bool in_place = tensor.shape().size() > 2 || name.ends_with(".embed.weight") ||
                          name.ends_with(".positions.weight");
    return type_ == DType::i8 && in_place ? DType::f16 : type_;
  }

  void add(const std::string& from, const std::string& name) {
    const Tensor& stored = weights_.get(from);
    const DType type = wanted(name, stored);
    if (stored.type() == type) {
      tensors_.push_back({name, stored});
      if (is_integer(type)) tensors_.push_back({scale_of(name), weights_.get(scale_of(from))});
      return;
    }
    const Tensor values = floats(from, stored);
    if (type == DType::i8) {
      add_integers(name, values);
    } else if (type == DType::f32) {
      tensors_.push_back({name, values});
    } else {
      add_rounded(name, values, type);
    }
  }

  Tensor floats(const std::string& name, const Tensor& stored) const {
    Tensor values = stored.to_f32();
    if (!is_integer(stored.type())) return values;
    const Tensor scale = weights_.get(scale_of(name), {stored.size(0)}).to_f32();
    float* value = values.writable<float>();
    for (int64_t row = 0; row < stored.size(0); ++row) {
      for (int64_t i = 0; i < stored.size(1); ++i) *value++ *= scale.values<float>()[row];
    }
    return values;
  }

  void add_rounded(const std::string& name, const Tensor& values, DType type) {
    Tensor rounded = Tensor::allocate(host_device(), type, values.shape());
    const float* from = values.values<float>();
    const float* const end = from + values.elements();
    if (type == DType::f16) {
      std::transform(from, end, rounded.writable<Half>(), to_half);
    } else {
      std::transform(from, end, rounded.writable<BFloat16>(), to_bfloat16);
    }
    note(name, values, rounded.to_f32());
    tensors_.push_back({name, rounded});
  }

  void add_integers(const std::string& name, const Tensor& values) {
    const int64_t rows = values.size(0);
    const int64_t columns = values.size(1);
    Tensor integers = Tensor::allocate(host_device(), DType::i8, {rows, columns});
    Tensor scales = Tensor::allocate(host_device(), DType::f32, {rows});
    Tensor rounded = Tensor::allocate(host_device(), DType::f32, {rows, columns});
    for (int64_t row = 0; row < rows; ++row) {
      const float* const from = values.values<float>() + row * columns;
      int8_t* const to = integers.writable<int8_t>() + row * columns;
      float largest = 0;
      for (int64_t i = 0; i < columns; ++i) largest = std::max(largest, std::abs(from[i]));
      const float scale = largest > 0 ? largest / kLargest : 1.0F;
      scales.writable<float>()[row] = scale;
      for (int64_t i = 0; i < columns; ++i) {
        if (!std::isfinite(from[i])) refuse(name);
        const float number = std::clamp(std::nearbyint(from[i] / scale), -kLargest, kLargest);
        to[i] = static_cast<int8_t>(number);
        rounded.writable<float>()[row * columns + i] = number * scale;
      }
    }
    note(name, values, rounded);
    tensors_.push_back({name, integers});
    tensors_.push_back({scale_of(name), scales});
  }

  // Of a matrix: the root of the mean square of what rounding changes, over that of its elements.
  void note(const std::string& name, const Tensor& values, const Tensor& rounded) {
    double changed = 0;
    double size = 0;
    for (int64_t i = 0; i < values.elements(); ++i) {
      const double value = double{values.values<float>()[i]};
      const double change = double{rounded.values<float>()[i]} - value;
      if (!std::isfinite(change)) refuse(name);
      changed += change * change;
      size += value * value;
    }
    const double error = size > 0 ? std::sqrt(changed / size) : 0;
    if (error <= worst_) return;
    worst_ = error;
    worst_name_ = name;
  }

  [[noreturn]] void refuse(const std::string& name) const {
    throw Error(
        ErrorCode::bad_file,
        fmt::format("The tensor '{}' has values that {} cannot hold.", name, name_of(type_)),
        weights_.path().string());
  }

  const ModelFiles& files_;
  const Checkpoint& weights_;
  DType type_;
  bool tied_;
  std::vector<NamedTensor> tensors_;
  double worst_ = 0;
  std::string worst_name_;
};

// Configuration and tokenizer: those of a directory, or made from what a file says.
void describe(const std::string& model, const ModelFiles& files, ModelFolder& folder) {
  const Checkpoint& stored = *files.checkpoint;
  if (stored.extras() != nullptr) {
    folder.write("tokenizer.json",
                 ggml_tokenizer_json(*stored.extras(), files.spec.vocabulary, model));
  } else {
    folder.copy_from(files.directory);
  }
  if (!stored.content().empty()) folder.write("config.json", write_config(files.spec));
}

}  // namespace

Conversion convert_weights(const std::string& model, const std::string& directory,
                           const std::string& type) {
  const DType wanted = weight_type(type);
  const ModelFiles files = open_model(model);
  if (!files.checkpoint || files.converted || !files.spec.hears()) {
    throw Error(ErrorCode::bad_request,
                "Weights of speech models can be converted to another type, of a directory that "
                "has not been converted for a cache or of a ggml file.",
                model);
  }
  const ModelWeights checked(files.spec, *files.checkpoint);  // throws where something is amiss
  Retyper retyper(files, wanted);
  if (retyper.done()) {
    throw Error(ErrorCode::bad_request,
                fmt::format("The weights are {} already: there is nothing to convert.", type),
                model);
  }
  ModelFolder folder(directory);
  describe(model, files, folder);
  Conversion result = folder.finish(*files.checkpoint, retyper.run());
  result.weights = type;
  result.rounding = retyper.worst();
  result.rounded = retyper.worst_name();
  return result;
}

}  // namespace slim
