// How layers and context sizes are shown, in tables and in JSON: one place for all commands.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "slim/slim.h"

namespace slim::cli {

nlohmann::ordered_json layers_json(const std::vector<LayerReport>& layers);
nlohmann::ordered_json context_json(const ContextBytes& context);
void print_layers(const std::vector<LayerReport>& layers);
nlohmann::ordered_json calibration_json(const std::optional<Calibration>& calibration);
void print_calibration(const std::optional<Calibration>& calibration);  // a line, or nothing
std::string products_text(const std::string& compute_type);             // what a compute type does
double percent(int64_t part, int64_t whole);                            // 0 of nothing

}  // namespace slim::cli
