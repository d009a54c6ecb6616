// Names, shapes, types, and the ways files pack the weights of a layer.
#include "models/weight_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "slim/error.h"

namespace slim {
namespace {

const std::vector<DType> kFloats = {DType::f32, DType::f16, DType::bf16};
const std::vector<DType> kTables = {DType::f32,  DType::f16,  DType::bf16, DType::i8,  DType::q8_0,
                                    DType::q4_0, DType::q4_k, DType::q5_k, DType::q6_k};
const std::vector<DType> kWeights = {DType::f32,  DType::f16,  DType::bf16, DType::i8,
                                     DType::i16,  DType::q8_0, DType::q4_0, DType::q4_k,
                                     DType::q5_k, DType::q6_k};

bool all_zero(const Tensor& vector) {
  const std::span values(vector.values<float>(), static_cast<size_t>(vector.elements()));
  return std::all_of(values.begin(), values.end(), [](float value) { return value == 0; });
}

// Whether it holds 0, 1, ... each once: kernels write where it points.
bool is_order(const Tensor& order) {
  std::vector<bool> seen(static_cast<size_t>(order.elements()));
  for (int64_t i = 0; i < order.elements(); ++i) {
    const int32_t channel = order.values<int32_t>()[i];
    if (channel < 0 || channel >= order.elements() || seen[static_cast<size_t>(channel)]) {
      return false;
    }
    seen[static_cast<size_t>(channel)] = true;
  }
  return true;
}

// [rows, columns] to [columns, rows]. Elements are moved, whatever they mean.
Tensor transposed(const Tensor& matrix) {
  const int64_t rows = matrix.size(0);
  const int64_t columns = matrix.size(1);
  const int64_t size = size_of(matrix.type());
  Tensor moved = Tensor::allocate(host_device(), matrix.type(), {columns, rows});
  std::byte* to = moved.writable_matrix().data;
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row, to += size) {
      std::memcpy(to, matrix.data() + (row * columns + column) * size, static_cast<size_t>(size));
    }
  }
  return moved;
}

// [out, in, tap] to [out, tap * in + channel]: the inputs of one output become three neighbouring
// rows of x, so that a convolution is a matrix product over a sliding window.
Tensor tap_major(const Tensor& weight) {
  const int64_t outputs = weight.size(0);
  const int64_t inputs = weight.size(1);
  const int64_t taps = weight.size(2);
  Tensor moved = Tensor::allocate(host_device(), weight.type(), {outputs, taps * inputs});
  for (int64_t output = 0; output < outputs; ++output) {
    const Tensor one = transposed(weight.slice(output, 1).reshape({inputs, taps}));
    std::memcpy(moved.writable_matrix().data + output * one.bytes(), one.data(),
                static_cast<size_t>(one.bytes()));
  }
  return moved;
}

// Rows [first, first + run) of every `period` rows, one after the other: in place if that is one
// run, else copied.
struct RowRuns {
  int64_t first = 0;
  int64_t run = 0;
  int64_t period = 0;
};

Tensor pick(const Tensor& tensor, const RowRuns& runs) {
  if (tensor.empty()) return {};
  if (runs.period == tensor.size(0)) return tensor.slice(runs.first, runs.run);
  std::vector<int64_t> shape = tensor.shape();
  const int64_t count = shape[0] / runs.period;
  shape[0] = count * runs.run;
  Tensor picked = Tensor::allocate(host_device(), tensor.type(), std::move(shape));
  std::byte* to = picked.writable_matrix().data;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor part = tensor.slice(i * runs.period + runs.first, runs.run);
    std::memcpy(to, part.data(), static_cast<size_t>(part.bytes()));
    to += part.bytes();
  }
  return picked;
}

LinearWeights pick(const LinearWeights& weights, const RowRuns& runs) {
  return {pick(weights.weight, runs), pick(weights.scale, runs), pick(weights.bias, runs),
          weights.inputs};
}

}  // namespace

const Tensor& WeightReader::take(const std::string& name, const std::vector<int64_t>& shape,
                                 const std::vector<DType>& types) {
  const Tensor& tensor = checkpoint_.get(name, shape);
  if (std::find(types.begin(), types.end(), tensor.type()) == types.end()) {
    std::string known;
    for (const DType type : types) known += fmt::format(" {}", name_of(type));
    throw Error(ErrorCode::unsupported_model,
                fmt::format("The tensor '{}' is {}; here it may be one of:{}.", name,
                            name_of(tensor.type()), known),
                checkpoint_.path().string());
  }
  taken_.insert(name);
  return tensor;
}

Tensor WeightReader::matrix(const std::string& name, const std::vector<int64_t>& shape,
                            const std::vector<DType>& types) {
  const Tensor& tensor = take(name, shape, types);
  if (counted_.insert(tensor.data()).second) bytes_ += tensor.bytes();
  return tensor;
}

Tensor WeightReader::vector(const std::string& name, int64_t size) {
  const bool row = has(name) && checkpoint_.get(name).shape().size() == 2;
  const std::vector<int64_t> shape = row ? std::vector<int64_t>{1, size} : std::vector{size};
  Tensor vector = take(name, shape, kFloats).to_f32().reshape({size});
  bytes_ += vector.bytes();
  return vector;
}

Tensor WeightReader::table(const std::string& name, const std::vector<int64_t>& shape) {
  return matrix(name, shape, kFloats);
}

LinearWeights WeightReader::embedding(const std::string& name, int64_t rows, int64_t columns) {
  LinearWeights weights;
  weights.weight = matrix(name + ".weight", {rows, columns}, kTables);
  if (weights.weight.type() == DType::i8) weights.scale = vector(name + ".scale", rows);
  return weights;
}

LinearWeights WeightReader::linear(const std::string& name, int64_t outputs, int64_t inputs,
                                   bool bias, bool inputs_first) {
  LinearWeights weights;
  if (inputs_first) {
    weights.weight = transposed(matrix(name + ".weight", {inputs, outputs}, kFloats));
  } else {
    weights.weight = matrix(name + ".weight", {outputs, inputs}, kWeights);
  }
  const DType type = weights.weight.type();
  if (type == DType::i8 || type == DType::i16) weights.scale = vector(name + ".scale", outputs);
  if (bias) weights.bias = vector(name + ".bias", outputs);
  return weights;
}

LinearWeights WeightReader::convolution(const std::string& name, int64_t outputs, int64_t inputs,
                                        int64_t taps, bool bias) {
  LinearWeights weights;
  weights.weight = tap_major(matrix(name + ".weight", {outputs, inputs, taps}, kFloats));
  if (bias) weights.bias = vector(name + ".bias", outputs);
  return weights;
}

NormWeights WeightReader::norm(const std::string& name, int64_t width, const NormSpec& spec) {
  NormWeights weights;
  if (spec.gain) weights.gain = vector(name + ".weight", width);
  if (spec.gain && spec.gain_base != 0.0F) {
    Tensor sum = Tensor::allocate(host_device(), DType::f32, {width});
    std::transform(weights.gain.values<float>(), weights.gain.values<float>() + width,
                   sum.writable<float>(), [&](float gain) { return spec.gain_base + gain; });
    weights.gain = sum;
  }
  if (spec.offset) weights.offset = vector(name + ".bias", width);
  return weights;
}

NormWeights WeightReader::branch_norm(const std::string& name, const StackSpec& stack) {
  const char* const part = stack.residual == Residual::after_branch ? ".post_norm" : ".norm";
  return norm(name + part, stack.width, stack.norm);
}

MlpWeights WeightReader::mlp(const std::string& name, const StackSpec& stack) {
  const int64_t inner = stack.mlp_width;
  const auto read = [&](const char* part, int64_t outputs, int64_t inputs) {
    return linear(name + part, outputs, inputs, stack.mlp_bias, stack.inputs_first);
  };
  MlpWeights weights;
  if (!stack.shared_norm) weights.norm = branch_norm(name, stack);
  if (stack.packed_gate) {
    const LinearWeights both = read(".gate_up", 2 * inner, stack.width);
    weights.gate = pick(both, {stack.up_first ? inner : 0, inner, 2 * inner});
    weights.up = pick(both, {stack.up_first ? 0 : inner, inner, 2 * inner});
  } else {
    if (stack.gated) weights.gate = read(".gate", inner, stack.width);
    weights.up = read(".up", inner, stack.width);
  }
  weights.down = read(".down", stack.width, inner);
  return weights;
}

AttentionWeights WeightReader::attention(const std::string& name, const StackSpec& stack) {
  AttentionWeights weights;
  weights.derived = derived(name, stack);
  read_projections(name, stack, weights);
  if (!stack.key_bias) drop_key_bias(name, weights);
  weights.out = linear(name + ".out", stack.width, stack.heads * stack.width_of_head(),
                       stack.out_bias, stack.inputs_first);
  if (stack.qk_norm != KeyNorm::none) read_key_norms(name, stack, weights);
  return weights;
}

// A converted layer has its projections apart, whatever its source packed: one of them is gone.
void WeightReader::read_projections(const std::string& name, const StackSpec& stack,
                                    AttentionWeights& weights) {
  const int64_t queries = stack.heads * stack.width_of_head();
  const int64_t keys = stack.key_head_count() * stack.width_of_head();
  const bool converted = !weights.derived.value_map.weight.empty();
  if (stack.packing == Packing::separate || converted) {
    const auto read = [&](const char* part, int64_t outputs, bool bias) {
      return linear(name + part, outputs, stack.width, bias, stack.inputs_first && !converted);
    };
    weights.q = read(".q", queries, stack.qkv_bias);
    weights.k = read(".k", keys, stack.qkv_bias && (stack.key_bias || has(name + ".k.bias")));
    if (!converted || has(name + ".v.weight")) {
      weights.v = read(".v", keys, stack.qkv_bias);
    } else if (stack.qkv_bias) {
      weights.v.bias = vector(name + ".v.bias", keys);
    }
    return;
  }
  const int64_t all = queries + 2 * keys;
  const LinearWeights packed =
      linear(name + ".qkv", all, stack.width, stack.qkv_bias, stack.inputs_first);
  if (stack.packing == Packing::stacked) {
    weights.q = pick(packed, {0, queries, all});
    weights.k = pick(packed, {queries, keys, all});
    weights.v = pick(packed, {queries + keys, keys, all});
  } else {
    const int64_t head = stack.width_of_head();
    weights.q = pick(packed, {0, head, 3 * head});
    weights.k = pick(packed, {head, head, 3 * head});
    weights.v = pick(packed, {2 * head, head, 3 * head});
  }
}

// A format that stores the three projections as one fills in zeros.
void WeightReader::drop_key_bias(const std::string& name, AttentionWeights& weights) {
  if (weights.k.bias.empty()) return;
  if (!all_zero(weights.k.bias)) {
    throw Error(
        ErrorCode::bad_file,
        fmt::format("The keys of '{}' have a bias, which this kind of model has not.", name),
        checkpoint_.path().string());
  }
  bytes_ -= weights.k.bias.bytes();
  weights.k.bias = {};
}

void WeightReader::read_key_norms(const std::string& name, const StackSpec& stack,
                                  AttentionWeights& weights) {
  const auto read = [&](const std::string& part, int64_t heads) {
    const std::string full = name + part;
    const int64_t width = heads * stack.width_of_head();
    NormSpec spec = stack.norm;
    spec.gain = true;
    spec.offset = has(full + ".bias");
    return norm(full, width, spec);
  };
  const NormWeights q = read(".q_norm", stack.heads);
  const NormWeights k = read(".k_norm", stack.key_head_count());
  weights.q_gain = q.gain;
  weights.q_offset = q.offset;
  weights.k_gain = k.gain;
  weights.k_offset = k.offset;
}

DerivedWeights WeightReader::derived(const std::string& name, const StackSpec& stack) {
  DerivedWeights weights;
  if (!has(name + ".value_map.weight")) return weights;
  const int64_t width = stack.heads * stack.width_of_head();
  weights.value_map = linear(name + ".value_map", width, width, false);
  int64_t columns = width;
  if (has(name + ".spill.weight")) {
    weights.spill = matrix(name + ".spill.weight", {-1, stack.width}, {DType::f16, DType::f32});
    const int64_t spill = weights.spill.size(0);
    weights.spill_map = matrix(name + ".spill_map.weight", {width, spill}, {DType::f32});
    columns += spill;
  }
  if (has(name + ".shaping_u.weight")) {
    weights.shaping_u = matrix(name + ".shaping_u.weight", {columns, -1}, {DType::f16});
    weights.shaping_g =
        matrix(name + ".shaping_g.weight", {columns, weights.shaping_u.size(1)}, {DType::f16});
  }
  if (has(name + ".shaping_order.weight")) {
    weights.shaping_order = matrix(name + ".shaping_order.weight", {columns}, {DType::i32});
    if (!is_order(weights.shaping_order)) {
      throw Error(ErrorCode::bad_file,
                  fmt::format("The tensor '{}.shaping_order.weight' does not hold every channel "
                              "once.",
                              name),
                  checkpoint_.path().string());
    }
  }
  return weights;
}

void WeightReader::finish() const {
  for (const std::string& name : checkpoint_.names()) {
    if (taken_.contains(name)) continue;
    throw Error(ErrorCode::bad_file,
                fmt::format("The tensor '{}' belongs to no part of this model.", name),
                checkpoint_.path().string());
  }
}

}  // namespace slim
