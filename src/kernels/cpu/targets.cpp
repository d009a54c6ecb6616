// The names of targets.
#include "kernels/cpu/targets.h"

#include <algorithm>

#include "slim/error.h"

namespace slim {

namespace {

std::string name_of_target(Target target) {
  if (target == HWY_SCALAR || target == HWY_EMU128) return "scalar";
  std::string name = hwy::TargetName(target);
  std::transform(name.begin(), name.end(), name.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return name;
}

}  // namespace

std::vector<std::string> target_names() {
  std::vector<std::string> names;
  for (const Target target : hwy::SupportedAndGeneratedTargets()) {
    names.push_back(name_of_target(target));
  }
  return names;
}

Target find_target(std::string_view name) {
  std::string known;
  for (const Target target : hwy::SupportedAndGeneratedTargets()) {
    if (name.empty() || name == name_of_target(target)) return target;
    known += (known.empty() ? "" : ", ") + name_of_target(target);
  }
  throw Error(ErrorCode::bad_request,
              "no instruction set \"" + std::string(name) + "\" here; there are: " + known,
              "the device's name");
}

}  // namespace slim
