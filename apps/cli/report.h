// How layers and context sizes are shown, in tables and in JSON: one place for all commands.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "slim/slim.h"

namespace slim::cli {

nlohmann::ordered_json layers_json(const std::vector<LayerReport>& layers);
nlohmann::ordered_json context_json(const ContextBytes& context);
void print_layers(const std::vector<LayerReport>& layers);
double percent(int64_t part, int64_t whole);  // 0 of nothing

}  // namespace slim::cli
