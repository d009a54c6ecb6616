// Written by hand: all of its texts are names from closed lists, which need no escapes.
#include "engine/plan_file.h"

#include <fmt/format.h>

#include "base/json.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int64_t kFormat = 1;

RowType read_type(const JsonObject& layer) {
  try {
    return row_type(layer.string("row_type"));
  } catch (const Error&) {
    layer.reject("row_type", "must be one of " + row_type_names());
  }
}

}  // namespace

std::string write_plan(std::span<const LayerPlan> plan) {
  std::string text = fmt::format("{{\n  \"format\": {},\n  \"layers\": [\n", kFormat);
  for (size_t i = 0; i < plan.size(); ++i) {
    const LayerPlan& layer = plan[i];
    text += fmt::format(
        "    {{\"layer\": {}, \"attention\": \"{}\", \"kind\": \"{}\", \"row_type\": \"{}\", "
        "\"spill\": {}, \"rank\": {}}}{}\n",
        layer.layer, layer.cross ? "cross" : "self", layer.kind, name_of(layer.rows.type),
        layer.rows.spill, layer.rows.rank, i + 1 < plan.size() ? "," : "");
  }
  return text + "  ]\n}\n";
}

std::vector<StoredLayer> read_plan(const std::filesystem::path& path) {
  constexpr int64_t kColumns = 1 << 20;
  const JsonObject file = JsonObject::read(path);
  file.integer("format", kFormat, kFormat);
  std::vector<StoredLayer> layers;
  for (const JsonObject& layer : file.objects("layers")) {
    StoredLayer stored;
    stored.layer = layer.integer("layer", 0, 1 << 20);
    const std::string attention = layer.string("attention");
    if (attention != "self" && attention != "cross") {
      layer.reject("attention", "must be self or cross");
    }
    stored.cross = attention == "cross";
    stored.kind = layer.string("kind");
    stored.rows = {read_type(layer), layer.integer("spill", 0, kColumns),
                   layer.integer("rank", 0, kColumns)};
    layers.push_back(std::move(stored));
  }
  if (layers.empty()) file.reject("layers", "must not be empty");
  return layers;
}

}  // namespace slim
