// Inspection: the plan and its sizes.
#include <algorithm>

#include "engine/runtime.h"

namespace slim {
namespace {

// Bytes that `rows` rows take in pages of this side of the plan, allocated and counted.
int64_t allocate_side(const std::vector<LayerPlan>& layers, bool cross, bool as_kv, int64_t rows) {
  int64_t token_bytes = 0;
  for (const LayerPlan& layer : layers) {
    if (layer.cross != cross) continue;
    token_bytes += as_kv ? layer.kv_bytes_per_token : layer.bytes_per_token;
  }
  if (token_bytes == 0) return 0;
  PagePool pool(host_device(), token_bytes * kPageRows);
  PageTable table(pool);
  table.reserve(rows);
  return pool.held_bytes();
}

}  // namespace

std::vector<LayerReport> layer_reports(const std::vector<LayerPlan>& plan) {
  std::vector<LayerReport> reports;
  reports.reserve(plan.size());
  for (const LayerPlan& layer : plan) {
    reports.push_back({layer.layer, layer.cross ? "cross" : "self", layer.kind,
                       std::string(name_of(layer.row_type)), layer.condition_k,
                       layer.bytes_per_token, layer.kv_bytes_per_token, layer.predicted_error,
                       layer.reason});
  }
  return reports;
}

int64_t held_context(const Model& model, int64_t tokens, int64_t positions) {
  PageTable rows = model.new_sequence();
  rows.reserve(tokens);
  PageTable encoded(model.cross_pages());
  encoded.reserve(positions);
  return rows.held_bytes() + encoded.held_bytes();
}

Inspection inspect_model(const ModelFiles& files, const ModelWeights* weights,
                         const CacheChoice& choice) {
  const ModelSpec& spec = files.spec;
  const std::vector<AttentionSpec> specs = attention_layers(spec);
  std::vector<LayerRequest> requests;
  for (size_t i = 0; i < specs.size(); ++i) {
    const Conditioning conditioning = weights ? weights->conditioning().at(i) : Conditioning{};
    requests.push_back({static_cast<int64_t>(i) / 2, specs[i], conditioning});
  }
  const std::vector<LayerPlan> layers = plan(requests, choice);

  Inspection inspection;
  inspection.model = files.directory.string();
  inspection.family = spec.family;
  inspection.encoder_layers = spec.encoder.layers;
  inspection.decoder_layers = spec.decoder.layers;
  inspection.width = spec.decoder.width;
  inspection.heads = spec.decoder.heads;
  inspection.mel_bins = spec.mel_bins;
  inspection.vocabulary = spec.vocabulary;
  inspection.encoder_positions = spec.encoder.positions;
  inspection.decoder_positions = spec.decoder.positions;
  inspection.weight_bytes = weights ? weights->bytes() : 0;
  inspection.layers = layer_reports(layers);
  for (const bool cross : {false, true}) {
    const int64_t rows = cross ? spec.encoder.positions : spec.decoder.positions;
    inspection.context.kv += allocate_side(layers, cross, true, rows);
    inspection.context.slim += allocate_side(layers, cross, false, rows);
  }
  return inspection;
}

}  // namespace slim
