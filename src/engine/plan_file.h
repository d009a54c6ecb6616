// slim_plan.json: the plan that a converted model was stored for, so that loading it makes the same
// choices: {"format": 1, "layers": [{"layer", "attention", "kind", "row_type", "spill", "rank"}]}.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "attention/plan.h"

namespace slim {

std::string write_plan(std::span<const LayerPlan> plan);
// Throws Error{bad_file} naming file and field.
std::vector<StoredLayer> read_plan(const std::filesystem::path& path);

}  // namespace slim
