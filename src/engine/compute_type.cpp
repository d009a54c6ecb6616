// The table, and what can run.
#include "engine/compute_type.h"

#include <algorithm>
#include <array>

#include "slim/error.h"

namespace slim {
namespace {

struct ComputeType {
  std::string_view name;
  Arithmetic arithmetic;
};

constexpr std::array kTypes = {
    ComputeType{"float32", {Inputs::f32, Inputs::f32}},
    ComputeType{"float16", {Inputs::f16, Inputs::f16}},
    ComputeType{"float32_int16", {Inputs::f32, Inputs::i16}},
    ComputeType{"int16", {Inputs::i16, Inputs::i16}},
    ComputeType{"int8", {Inputs::i8, Inputs::f32}},
    ComputeType{"int8_int16", {Inputs::i8, Inputs::i16}},
};
// The first that suits is "auto".
constexpr std::array<Arithmetic, 4> kUsual = {Arithmetic{Inputs::i8, Inputs::i16},
                                              Arithmetic{Inputs::i8, Inputs::f32},
                                              Arithmetic{Inputs::f32, Inputs::i16}, Arithmetic{}};

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

std::string_view name_of(const Arithmetic& arithmetic) {
  return std::find_if(kTypes.begin(), kTypes.end(),
                      [&](const ComputeType& type) { return type.arithmetic == arithmetic; })
      ->name;
}

Arithmetic compute_type(const std::string& name, bool may_round, const Checkpoint* checkpoint,
                        const Kernels& kernels) {
  const auto taken = [&](const Arithmetic& of) {
    return kernels.takes(of.products) && kernels.attends(of.attention);
  };
  const auto suits = [&](const Arithmetic& of) {
    const bool bytes = of.products == Inputs::i8 || of.products == Inputs::i16;
    return taken(of) && (!bytes || has_bytes(checkpoint));
  };
  if (name == "auto") {
    return *std::find_if(kUsual.begin(), kUsual.end(), [&](const Arithmetic& of) {
      return suits(of) && (may_round || of.attention != Inputs::i16);
    });
  }
  for (const ComputeType& type : kTypes) {
    if (type.name != name) continue;
    if (suits(type.arithmetic)) return type.arithmetic;
    std::string others = "auto";
    for (const ComputeType& other : kTypes) {
      if (suits(other.arithmetic)) others += ", " + std::string(other.name);
    }
    const std::string reason = taken(type.arithmetic)
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
