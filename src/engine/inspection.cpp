// Inspection: the plan and its sizes.
#include <algorithm>

#include "engine/compute_type.h"
#include "engine/runtime.h"
#include "transforms/conditioning.h"

namespace slim {
namespace {

// Bytes that a table holds between steps when its last of `rows` rows comes in: with that row's
// page still open, or with it full and sealed, whichever is more.
int64_t fill(PageTable& table, int64_t rows) {
  int64_t held = 0;
  for (const int64_t count : {rows - 1, int64_t{1}}) {
    table.reserve(count);
    table.advance(count);
    held = std::max(held, table.held_bytes());
  }
  return held;
}

// Bytes of a table of `rows` rows, all of them there at once.
int64_t fill_last(PageTable& table, int64_t rows) {
  table.reserve_last(rows);
  return table.held_bytes();
}

struct TokenBytes {
  int64_t slim = 0;
  int64_t hot = 0;
  int64_t kv = 0;
  bool one_plane = false;  // of encoder rows, which every layer reads
};

TokenBytes bytes_of_side(const std::vector<LayerPlan>& layers, bool cross) {
  TokenBytes bytes;
  for (const LayerPlan& layer : layers) {
    if (layer.cross != cross) continue;
    bytes.slim += layer.bytes_per_token;
    bytes.hot += layer.hot_bytes_per_token;
    bytes.kv += layer.kv_bytes_per_token;
  }
  bytes.one_plane = cross && std::all_of(layers.begin(), layers.end(), [](const LayerPlan& layer) {
                      return !layer.cross || layer.kind == "encoder";
                    });
  return bytes;
}

// Of a standard cache, whose own rows come in pages.
struct OwnRows {
  int64_t tokens;
  int64_t page;
};
int64_t kv_bytes(const std::vector<LayerPlan>& layers, const OwnRows& own, int64_t positions) {
  const int64_t pages = own.tokens == 0 ? 0 : (own.tokens + own.page - 1) / own.page;
  return pages * own.page * bytes_of_side(layers, false).kv +
         positions * bytes_of_side(layers, true).kv;
}

// Bytes that rows of layers take, allocated as a model does and counted: of a sequence's own, which
// come one by one and are `rows` at most, with one hot page beside them.
int64_t allocate_own(int64_t rows, const TokenBytes& bytes, bool only_sealed) {
  const int64_t page = std::min(rows, kPageRows);
  PagePool pool(host_device(), bytes.slim * page, page);
  PagePool hot(host_device(), std::max<int64_t>(bytes.hot, 1) * page);
  PageTable table(pool, bytes.hot > 0 ? &hot : nullptr, only_sealed);
  return fill(table, rows);
}

// And of what cross attention reads.
int64_t allocate_encoded(int64_t rows, const TokenBytes& bytes) {
  PagePool pool(host_device(), bytes.slim * kPageRows, kPageRows, bytes.one_plane ? bytes.slim : 0);
  PageTable table(pool);
  return fill_last(table, rows);
}

// The matrices of a stack's layers, `attentions` in each, in elements.
int64_t weights_of(const StackSpec& stack, int64_t attentions) {
  const int64_t queries = stack.heads * stack.width_of_head();
  const int64_t keys = stack.key_head_count() * stack.width_of_head();
  const int64_t mlp = (stack.gated ? 3 : 2) * stack.width * stack.mlp_width;
  return stack.layers * (attentions * 2 * stack.width * (queries + keys) + mlp);
}

// Into and out of a model of patches, in elements.
int64_t weights_of_patches(const ModelSpec& spec) {
  if (spec.series.patch == 0) return 0;
  const auto block = [&](int64_t inputs, int64_t outputs) {
    return spec.decoder.mlp_width * (inputs + outputs) + inputs * outputs;
  };
  return block(2 * spec.series.patch, spec.encoder.width) +
         block(spec.decoder.width, spec.outputs());
}

// The matrices of a model of text, in elements; those of a speech model are not counted.
int64_t weights_of(const ModelSpec& spec) {
  if (spec.hears()) return 0;
  const int64_t embed = spec.embed_width > 0 ? spec.embed_width : spec.decoder.width;
  const bool one_table = spec.tied_head || spec.series.patch > 0;
  const int64_t tables = (one_table ? 1 : 2) * spec.vocabulary + spec.source_vocabulary;
  return weights_of(spec.decoder, spec.has_encoder() ? 2 : 1) + weights_of(spec.encoder, 1) +
         tables * embed + weights_of_patches(spec);
}

// What a layer's cache adds to its weights, less the value weights that it replaces.
int64_t added_bytes(const ModelSpec& spec, const LayerPlan& layer, const ModelWeights* weights) {
  if (layer.kind != "k") return 0;
  const int64_t keys = spec.decoder.heads * spec.decoder.width_of_head();
  int64_t values = keys * spec.decoder.width * 2;
  if (weights != nullptr) {
    const AttentionWeights own = weights->attention(layer.layer, layer.cross);
    if (own.derived.bytes() > 0) return own.derived.bytes() - values;
    values = own.v.weight.bytes() + own.v.scale.bytes();
  }
  const DerivedBytes derived =
      derived_bytes(spec.decoder.width, keys, layer.rows.spill, layer.rows.rank);
  return derived.total() - values;
}

}  // namespace

std::vector<LayerReport> layer_reports(const std::vector<LayerPlan>& plan) {
  std::vector<LayerReport> reports;
  reports.reserve(plan.size());
  for (const LayerPlan& layer : plan) {
    LayerReport report;
    report.layer = layer.layer;
    report.attention = layer.cross ? "cross" : "self";
    report.kind = layer.kind;
    report.row_type = std::string(name_of(layer.rows.type));
    report.spill = layer.rows.spill;
    report.rank = layer.rows.rank;
    report.condition_k = layer.condition_k;
    report.bytes_per_token = layer.bytes_per_token;
    report.hot_bytes_per_token = layer.hot_bytes_per_token;
    report.kv_bytes_per_token = layer.kv_bytes_per_token;
    report.predicted_error = layer.predicted_error;
    report.reason = layer.reason;
    reports.push_back(std::move(report));
  }
  return reports;
}

Verification verification_of(const Divergence& divergence, const Model& candidate) {
  Verification result;
  result.tokens = divergence.tokens();
  result.logit_rel = divergence.logit_rel();
  result.logit_max = divergence.logit_max();
  result.kl_mean = divergence.kl_mean();
  result.kl_p99 = divergence.kl_quantile(0.99);
  result.kl_max = divergence.kl_quantile(1);
  result.top1 = divergence.top1();
  result.layers = layer_reports(candidate.plan());
  result.compute_type = name_of(candidate.arithmetic());
  result.bytes_per_token = bytes_of_side(candidate.plan(), false).slim;
  result.bf16_bytes_per_token = bf16_bytes_per_token(candidate.spec());
  return result;
}

ContextBytes planned_context(const std::vector<LayerPlan>& layers, int64_t tokens,
                             int64_t positions) {
  const TokenBytes own = bytes_of_side(layers, false);
  const TokenBytes encoded = bytes_of_side(layers, true);
  ContextBytes context;
  context.kv = kv_bytes(layers, {tokens, std::min(tokens, kPageRows)}, positions);
  if (tokens > 0) context.slim += allocate_own(tokens, own, only_sealed(layers));
  if (positions > 0 && encoded.slim > 0) context.slim += allocate_encoded(positions, encoded);
  return context;
}

int64_t held_context(const Model& model, int64_t tokens, int64_t positions) {
  PageTable rows = model.new_sequence();
  const int64_t held = tokens == 0 ? 0 : fill(rows, tokens);
  if (positions == 0) return held;
  PageTable encoded(model.cross_pages());
  return held + fill_last(encoded, positions);
}

int64_t kv_context(const Model& model, int64_t tokens, int64_t positions) {
  return kv_bytes(model.plan(), {tokens, model.self_pages().page_rows()}, positions);
}

int64_t bf16_bytes_per_token(const ModelSpec& spec) {
  const StackSpec& stack = spec.decoder;
  return stack.layers * 2 * stack.key_head_count() * stack.width_of_head() * 2;
}

int64_t bf16_context(const ModelSpec& spec, int64_t tokens, int64_t positions) {
  return (tokens + positions) * bf16_bytes_per_token(spec);
}

std::vector<LayerPlan> plan_layers(const ModelSpec& spec, const ModelWeights* weights,
                                   const CacheChoice& choice) {
  const size_t sides = spec.has_encoder() ? 2 : 1;
  const std::vector<AttentionSpec> specs = attention_layers(spec);
  std::vector<LayerRequest> requests;
  for (size_t i = 0; i < specs.size(); ++i) {
    const Conditioning conditioning = weights ? weights->conditioning().at(i) : Conditioning{};
    requests.push_back({static_cast<int64_t>(i / sides), specs[i], conditioning});
  }
  return plan(requests, choice);
}

PlannedModel plan_model(const std::string& model, const ModelFiles& files,
                        const EngineOptions& options) {
  if (!options.calibration.empty()) {
    Runtime runtime(model, options);
    const Model& made = runtime.model();
    const std::shared_ptr<const ModelWeights> weights = runtime.shared_weights();
    return {weights, made.plan(), runtime.calibration(), runtime.choice().arithmetic,
            rounded_head_bytes(made.spec(), *weights, made.kernels())};
  }
  PlannedModel planned;
  if (files.checkpoint) {
    planned.weights = std::make_shared<const ModelWeights>(files.spec, *files.checkpoint);
  }
  const std::unique_ptr<Kernels> kernels = make_kernels(options.device, 1);
  const CacheChoice choice = cache_choice(options, files, *kernels);
  planned.plan = plan_layers(files.spec, planned.weights.get(), choice);
  planned.arithmetic = choice.arithmetic;
  if (planned.weights != nullptr) {
    planned.rounded_head_bytes = rounded_head_bytes(files.spec, *planned.weights, *kernels);
  }
  return planned;
}

Inspection inspect_model(const ModelFiles& files, const PlannedModel& planned, int64_t context) {
  const ModelSpec& spec = files.spec;
  const ModelWeights* weights = planned.weights.get();
  const std::vector<LayerPlan>& layers = planned.plan;

  Inspection inspection;
  inspection.model = files.directory.string();
  inspection.family = spec.family;
  inspection.encoder_layers = spec.encoder.layers;
  inspection.decoder_layers = spec.decoder.layers;
  inspection.width = spec.decoder.width;
  inspection.heads = spec.decoder.heads;
  inspection.key_heads = spec.decoder.key_head_count();
  inspection.mel_bins = spec.mel_bins;
  inspection.vocabulary = spec.vocabulary;
  inspection.encoder_positions = spec.encoder.positions;
  inspection.decoder_positions = spec.decoder.positions;
  inspection.series_context = spec.series.context;
  inspection.series_horizon = spec.series.horizon;
  if (files.checkpoint != nullptr) {
    inspection.unpacked_weights =
        std::max<int64_t>(files.checkpoint->scalar("unpacked tensors"), 0);
  }
  inspection.has_weights = weights != nullptr;
  inspection.weight_bytes = weights ? weights->bytes() : 2 * weights_of(spec);
  for (const LayerPlan& layer : layers) {
    inspection.derived_bytes += added_bytes(spec, layer, weights);
  }
  inspection.layers = layer_reports(layers);
  inspection.compute_type = name_of(planned.arithmetic);
  inspection.rounded_head_bytes = planned.rounded_head_bytes;
  inspection.calibration = planned.calibration;
  inspection.context_tokens = context_of(spec, context);
  inspection.context = planned_context(layers, inspection.context_tokens, spec.encoder.positions);
  inspection.context_bf16_bytes =
      bf16_context(spec, inspection.context_tokens, spec.encoder.positions);
  return inspection;
}

}  // namespace slim
