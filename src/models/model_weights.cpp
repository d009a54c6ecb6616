// ModelWeights: takes every tensor a spec needs out of a checkpoint, by canonical name and shape,
// and refuses a checkpoint that holds any other: a tensor nobody reads is a model misunderstood.
#include <algorithm>
#include <cmath>
#include <future>
#include <set>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "models/blocks.h"
#include "models/model.h"
#include "slim/error.h"
#include "transforms/value_map.h"

namespace slim {
namespace {

// Tensors that mean nothing to any part: CTranslate2's place for what config.json holds.
constexpr std::string_view kIgnored[] = {"decoder/alignment_heads"};

// Takes tensors by name, remembers which, and counts their bytes (once, under two names) as used.
class Reader {
 public:
  explicit Reader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  bool has(const std::string& name) const { return checkpoint_.has(name); }
  int64_t bytes() const { return bytes_; }

  // In the file's type, in place.
  Tensor matrix(const std::string& name, const std::vector<int64_t>& shape) {
    const Tensor& tensor = take(name, shape);
    if (counted_.insert(tensor.data()).second) bytes_ += tensor.bytes();
    return tensor;
  }
  Tensor vector(const std::string& name, int64_t size) {
    Tensor vector = take(name, {size}).to_f32();
    bytes_ += vector.bytes();
    return vector;
  }
  NormWeights norm(const std::string& name, int64_t width) {
    return {vector(name + ".weight", width), vector(name + ".bias", width)};
  }
  LinearWeights linear(const std::string& name, int64_t outputs, int64_t inputs) {
    return {matrix(name + ".weight", {outputs, inputs}), vector(name + ".bias", outputs)};
  }
  LinearWeights convolution(const std::string& name, int64_t outputs, int64_t inputs);
  AttentionWeights attention(const std::string& name, int64_t width);
  MlpWeights mlp(const std::string& name, const StackSpec& stack) {
    return {norm(name + ".norm", stack.width), linear(name + ".up", stack.mlp_width, stack.width),
            linear(name + ".down", stack.width, stack.mlp_width)};
  }

  // Throws Error{bad_file} if the checkpoint holds a tensor that was not taken.
  void finish() const {
    for (const std::string& name : checkpoint_.names()) {
      if (taken_.contains(name) || std::count(std::begin(kIgnored), std::end(kIgnored), name) > 0) {
        continue;
      }
      throw Error(ErrorCode::bad_file,
                  fmt::format("The tensor '{}' belongs to no part of this model.", name),
                  checkpoint_.path().string());
    }
  }

 private:
  const Tensor& take(const std::string& name, const std::vector<int64_t>& shape) {
    const Tensor& tensor = checkpoint_.get(name, shape);
    const DType type = tensor.type();
    if (type != DType::f32 && type != DType::f16 && type != DType::bf16) {
      throw Error(ErrorCode::unsupported_model,
                  fmt::format("The tensor '{}' is {}; weights are f32, f16 or bf16 here.", name,
                              name_of(type)),
                  checkpoint_.path().string());
    }
    taken_.insert(name);
    return tensor;
  }

  const Checkpoint& checkpoint_;
  std::set<std::string, std::less<>> taken_;
  std::set<const std::byte*> counted_;
  int64_t bytes_ = 0;
};

bool all_zero(const Tensor& vector) {
  const std::span values(vector.values<float>(), static_cast<size_t>(vector.elements()));
  return std::all_of(values.begin(), values.end(), [](float value) { return value == 0; });
}

// [out, in, tap] to [out, tap * in + channel]: the inputs of one output become three neighbouring
// rows of x, so that a convolution is a matrix product over a sliding window.
Tensor tap_major(const Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const int64_t inputs = weight.size(1);
  const int64_t taps = weight.size(2);
  Tensor moved = Tensor::allocate(host_device(), weight.type(), {outputs, taps * inputs});
  visit(weight.type(), [&]<typename T>(std::type_identity<T>) {
    const T* from = weight.values<T>();
    T* to = moved.writable<T>();
    for (int64_t row = 0; row < outputs * taps; ++row) {
      const T* source = from + row / taps * inputs * taps + row % taps;
      for (int64_t i = 0; i < inputs; ++i) to[row * inputs + i] = source[i * taps];
    }
  });
  return moved;
}

LinearWeights Reader::convolution(const std::string& name, int64_t outputs, int64_t inputs) {
  return {tap_major(matrix(name + ".weight", {outputs, inputs, 3})),
          vector(name + ".bias", outputs)};
}

AttentionWeights Reader::attention(const std::string& name, int64_t width) {
  AttentionWeights weights;
  weights.q = matrix(name + ".q.weight", {width, width});
  weights.q.bias = vector(name + ".q.bias", width);
  weights.k = matrix(name + ".k.weight", {width, width});
  // Whisper has none; a format that stores the three projections as one fills in zeros.
  if (has(name + ".k.bias")) {
    weights.k.bias = vector(name + ".k.bias", width);
    if (all_zero(weights.k.bias)) {
      bytes_ -= weights.k.bias.bytes();
      weights.k.bias = {};
    }
  }
  weights.v = matrix(name + ".v.weight", {width, width});
  weights.v.bias = vector(name + ".v.bias", width);
  weights.out = matrix(name + ".out.weight", {width, width});
  weights.out.bias = vector(name + ".out.bias", width);
  return weights;
}

// Position t: sin(t w_i) in the first half of the columns, cos(t w_i) in the second, with
// w_i = 10000^(-i / (D/2 - 1)). What Whisper's encoder adds where its file stores no table.
Tensor sinusoids(int64_t positions, int64_t width) {
  Tensor table = Tensor::allocate(host_device(), DType::f32, {positions, width});
  float* values = table.writable<float>();
  const int64_t half = width / 2;
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = half > 1 ? static_cast<double>(i) / static_cast<double>(half - 1) : 0;
    const double frequency = std::pow(10000.0, -exponent);
    for (int64_t t = 0; t < positions; ++t) {
      const double angle = static_cast<double>(t) * frequency;
      values[t * width + i] = static_cast<float>(std::sin(angle));
      values[t * width + half + i] = static_cast<float>(std::cos(angle));
    }
  }
  return table;
}

void read_encoder(Reader& reader, const ModelSpec& spec, ModelWeights::Parts& parts) {
  const StackSpec& stack = spec.encoder;
  parts.conv1 = reader.convolution("encoder.conv1", stack.width, spec.mel_bins);
  parts.conv2 = reader.convolution("encoder.conv2", stack.width, stack.width);
  const std::string positions = "encoder.positions.weight";
  const bool computed = !reader.has(positions) && stack.width % 2 == 0;
  parts.encoder_positions = computed ? sinusoids(stack.positions, stack.width)
                                     : reader.matrix(positions, {stack.positions, stack.width});
  for (int64_t i = 0; i < stack.layers; ++i) {
    const std::string layer = fmt::format("encoder.layers.{}", i);
    parts.encoder.push_back({reader.norm(layer + ".self.norm", stack.width),
                             reader.attention(layer + ".self", stack.width),
                             reader.mlp(layer + ".mlp", stack)});
  }
  parts.encoder_norm = reader.norm("encoder.norm", stack.width);
}

void read_decoder(Reader& reader, const ModelSpec& spec, ModelWeights::Parts& parts) {
  const StackSpec& stack = spec.decoder;
  parts.embed = reader.matrix("decoder.embed.weight", {spec.vocabulary, stack.width});
  parts.decoder_positions =
      reader.matrix("decoder.positions.weight", {stack.positions, stack.width});
  for (int64_t i = 0; i < stack.layers; ++i) {
    const std::string layer = fmt::format("decoder.layers.{}", i);
    parts.decoder.push_back({reader.norm(layer + ".self.norm", stack.width),
                             reader.attention(layer + ".self", stack.width),
                             reader.norm(layer + ".cross.norm", stack.width),
                             reader.attention(layer + ".cross", stack.width),
                             reader.mlp(layer + ".mlp", stack)});
  }
  parts.decoder_norm = reader.norm("decoder.norm", stack.width);
  parts.head = reader.has("head.weight")
                   ? reader.matrix("head.weight", {spec.vocabulary, stack.width})
                   : parts.embed;
}

}  // namespace

ModelWeights::ModelWeights(const ModelSpec& spec, const Checkpoint& checkpoint)
    : parts_(std::make_unique<Parts>()) {
  Reader reader(checkpoint);
  read_encoder(reader, spec, *parts_);
  read_decoder(reader, spec, *parts_);
  reader.finish();
  parts_->bytes = reader.bytes();
}

ModelWeights::~ModelWeights() = default;

AttentionWeights ModelWeights::attention(int64_t decoder_layer, bool cross) const {
  const DecoderLayer& layer = parts_->decoder.at(static_cast<size_t>(decoder_layer));
  return cross ? layer.cross : layer.self;
}

const std::vector<Conditioning>& ModelWeights::conditioning() const {
  std::call_once(parts_->conditioned, [this] {
    std::vector<Conditioning> found(2 * parts_->decoder.size());
    // Self and cross attention at once: LAPACK's SVD keeps one core busy.
    const auto measure = [&](bool cross) {
      for (size_t i = 0; i < parts_->decoder.size(); ++i) {
        const DecoderLayer& layer = parts_->decoder[i];
        found[2 * i + (cross ? 1 : 0)].condition_k =
            condition_number(cross ? layer.cross.k : layer.self.k);
      }
    };
    std::future<void> other = std::async(std::launch::async, measure, true);
    measure(false);
    other.get();
    parts_->conditioning = std::move(found);
  });
  return parts_->conditioning;
}

int64_t ModelWeights::bytes() const noexcept { return parts_->bytes; }

}  // namespace slim
