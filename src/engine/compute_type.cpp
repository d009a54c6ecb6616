// The table, and what can run.
#include "engine/compute_type.h"

#include <algorithm>
#include <array>

#include "slim/error.h"

namespace slim {
namespace {

struct ComputeType {
  std::string_view name;
  Inputs inputs;
};

constexpr std::array kTypes = {ComputeType{"float32", Inputs::f32},
                               ComputeType{"float16", Inputs::f16},
                               ComputeType{"int16", Inputs::i16}, ComputeType{"int8", Inputs::i8}};
constexpr Inputs kUsual = Inputs::i8;

bool has_bytes(const Checkpoint* checkpoint) {
  if (checkpoint == nullptr) return false;
  const std::vector<std::string> names = checkpoint->names();
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return checkpoint->get(name).type() == DType::i8;
  });
}

}  // namespace

std::vector<std::string> compute_type_names() {
  std::vector<std::string> names = {"auto"};
  for (const ComputeType& type : kTypes) names.emplace_back(type.name);
  return names;
}

std::string_view name_of(Inputs inputs) {
  return std::find_if(kTypes.begin(), kTypes.end(),
                      [&](const ComputeType& type) { return type.inputs == inputs; })
      ->name;
}

Inputs compute_type(const std::string& name, const Checkpoint* checkpoint, const Kernels& kernels) {
  const auto suits = [&](Inputs inputs) {
    const bool bytes = inputs == Inputs::i8 || inputs == Inputs::i16;
    return kernels.takes(inputs) && (!bytes || has_bytes(checkpoint));
  };
  if (name == "auto") return suits(kUsual) ? kUsual : Inputs::f32;
  for (const ComputeType& type : kTypes) {
    if (type.name != name) continue;
    if (suits(type.inputs)) return type.inputs;
    std::string others = "auto";
    for (const ComputeType& other : kTypes) {
      if (suits(other.inputs)) others += ", " + std::string(other.name);
    }
    const std::string reason = kernels.takes(type.inputs)
                                   ? "The model has no weights of i8 to multiply rounded "
                                     "activations with"
                                   : "This device does not multiply so";
    throw Error(ErrorCode::bad_request, reason + "; what suits: " + others + ".", name);
  }
  std::string known;
  for (const std::string& type : compute_type_names()) known += (known.empty() ? "" : ", ") + type;
  throw Error(ErrorCode::bad_request, "A compute type can be one of: " + known + ".", name);
}

}  // namespace slim
