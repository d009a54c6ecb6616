// Model: the plan, the two stacks and the page pools put together.
#include "models/model.h"

#include <fmt/format.h>

#include <iterator>
#include <numeric>
#include <optional>
#include <utility>

#include "attention/derived.h"
#include "base/check.h"
#include "models/decoder.h"
#include "models/encoder.h"
#include "models/waveform.h"
#include "slim/error.h"

namespace slim {
namespace {

// Of sources whose encoder output is held until it is remembered: 16 MB at D = 1024.
constexpr int64_t kTokensAtOnce = 4096;

// What the model was made for, or what the caller wants, if there can be so many positions.
int64_t context_of(const ModelSpec& spec, int64_t wanted) {
  const StackSpec& stack = spec.decoder;
  const bool bounded = stack.is_absolute() && wanted > stack.positions;
  if (wanted < 0 || bounded) {
    throw Error(ErrorCode::bad_request,
                fmt::format("A context of {} tokens is asked for, and the model has {} positions.",
                            wanted, stack.positions),
                "context");
  }
  return wanted == 0 ? stack.positions : wanted;
}

}  // namespace

// A plan, what products take, and by layer what it derives from weights, where planning did so on
// its way: empty, or one each.
struct Model::Planned {
  std::vector<LayerPlan> plan;
  Arithmetic arithmetic = {};
  std::vector<DerivedWeights> derived = {};
};

struct Model::Layers {
  Layers(const ModelSpec& spec, const ModelWeights& weights, Kernels& kernels,
         const Planned& planned, int64_t context)
      : placed(weights.parts().on(kernels, planned.arithmetic)),
        decoder(spec, placed, kernels, {planned.plan, planned.derived}, context),
        self_pages(kernels.device(), decoder.self_layout().page_bytes(),
                   decoder.self_layout().rows()) {
    if (decoder.self_layout().hot_bytes() > 0) {
      hot_pages.emplace(kernels.device(), decoder.self_layout().hot_bytes());
    }
    if (!spec.has_encoder()) return;
    encoder.emplace(spec, placed, kernels);
    const PageLayout& cross = decoder.cross_layout();
    cross_pages.emplace(kernels.device(), cross.page_bytes(), kPageRows,
                        kernels.device().host() ? cross.row_bytes() : 0);
  }

  const ModelWeights::Parts placed;
  Decoder decoder;
  PagePool self_pages;
  std::optional<PagePool> hot_pages;
  std::optional<Encoder> encoder;
  std::optional<PagePool> cross_pages;
};

Model::Planned Model::plan_layers(const ModelSpec& spec, const ModelWeights& weights,
                                  const CacheChoice& choice) {
  const std::vector<AttentionSpec> attentions = attention_layers(spec);
  std::vector<LayerRequest> requests(attentions.size());
  for (size_t i = 0; i < attentions.size(); ++i) {
    requests[i].layer = static_cast<int64_t>(i) / (spec.has_encoder() ? 2 : 1);
    requests[i].spec = attentions[i];
  }
  // Factoring takes seconds a layer of 4,096 columns, and only "k" depends on it. A stored plan was
  // made with a look at the weights.
  const bool decompose = choice.stored.empty() &&
                         (choice.kind == "k" || (choice.kind == "auto" &&
                                                 spec.decoder.position_kind == Positions::rotary));
  if (!decompose) return {slim::plan(requests, choice), choice.arithmetic};
  // Layers that run k are chosen for one by one, so what they derive can be had while their factors
  // are there. What is refused here, the whole plan refuses.
  std::vector<DerivedWeights> derived(requests.size());
  const auto derive = [&](size_t i, const LayerTransforms& transforms) {
    LayerRequest request = requests[i];
    request.conditioning = transforms.conditioning();
    try {
      const LayerPlan chosen = slim::plan({&request, 1}, choice).front();
      if (chosen.kind == "k") derived[i] = transforms.derive(chosen.rows);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::bad_request) throw;
    }
  };
  const std::vector<Conditioning>& known = weights.conditioning(derive);
  for (size_t i = 0; i < requests.size(); ++i) requests[i].conditioning = known[i];
  return {slim::plan(requests, choice), choice.arithmetic, std::move(derived)};
}

Model::Model(const ModelSpec& spec, std::shared_ptr<const ModelWeights> weights, Kernels& kernels,
             const CacheChoice& choice, int64_t context)
    : Model(spec, weights, kernels, plan_layers(spec, *weights, choice), context) {}

Model::Model(const ModelSpec& spec, std::shared_ptr<const ModelWeights> weights, Kernels& kernels,
             std::vector<LayerPlan> plan, int64_t context, const Arithmetic& arithmetic)
    : Model(spec, std::move(weights), kernels, Planned{std::move(plan), arithmetic}, context) {}

Model::Model(const ModelSpec& spec, std::shared_ptr<const ModelWeights> weights, Kernels& kernels,
             Planned planned, int64_t context)
    : spec_(spec),
      weights_(std::move(weights)),
      kernels_(kernels),
      context_(context_of(spec_, context)),
      arithmetic_(planned.arithmetic),
      layers_(std::make_unique<Layers>(spec_, *weights_, kernels_, planned, context_)) {
  plan_ = std::move(planned.plan);
}

Model::~Model() = default;

Tensor Model::encode(ConstMatrix mel, int64_t batch) const {
  check(spec_.mel_bins > 0, "a spectrum is for a model that hears one");
  check(mel.type == DType::f32 && mel.columns == spec_.mel_bins, "mel is [frames, bins] f32");
  check(batch > 0 && mel.rows % batch == 0, "the windows of a batch are equally long");
  const int64_t frames = mel.rows / batch;
  if (frames == 0 || frames % 2 != 0 || frames > 2 * spec_.encoder.positions) {
    throw Error(ErrorCode::bad_request,
                fmt::format("A window of {} frames does not suit this model: it takes an even "
                            "number of frames up to {}.",
                            frames, 2 * spec_.encoder.positions));
  }
  Tensor out =
      Tensor::allocate(kernels_.device(), DType::f32, {batch * frames / 2, spec_.encoder.width});
  layers_->encoder->hear(mel, batch, out.writable_matrix());
  return out;
}

Tensor Model::encode(std::span<const float> samples, std::span<const int64_t> lengths) const {
  check(spec_.waveform, "samples are for a model that hears them");
  check(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}) == std::ssize(samples),
        "every sample is of one window");
  int64_t rows = 0;
  for (const int64_t length : lengths) {
    const int64_t own = waveform_rows(length);
    if (own < 1 || own > spec_.encoder.positions) {
      throw Error(ErrorCode::bad_request,
                  fmt::format("A window of {} samples gives {} rows; the encoder takes 1 to {}.",
                              length, own, spec_.encoder.positions));
    }
    rows += own;
  }
  Tensor out = Tensor::allocate(kernels_.device(), DType::f32, {rows, spec_.encoder.width});
  layers_->encoder->hear(samples, lengths, out.writable_matrix());
  return out;
}

Tensor Model::encode(const Sources& sources) const {
  const auto& [lengths, tokens, patches, places] = sources;
  check(spec_.has_encoder() && !spec_.hears(), "sources are for a model that reads them");
  const int64_t rows = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const int64_t patch = spec_.series.patch;
  check(
      patch > 0 ? patches.rows == rows && patches.columns == 2 * patch : std::ssize(tokens) == rows,
      "every row is of one source");
  check(places.empty() || (std::ssize(places) == rows && !spec_.encoder.is_absolute()),
        "gaps are for relative positions, and every row has a place");
  for (const int64_t length : lengths) check_source(length);
  const int64_t known = spec_.source_vocabulary != 0 ? spec_.source_vocabulary : spec_.vocabulary;
  for (const int32_t token : tokens) {
    if (token >= 0 && token < known) continue;
    throw Error(ErrorCode::bad_request,
                fmt::format("Token {} is outside the source vocabulary of {}.", token, known));
  }
  Tensor out = Tensor::allocate(kernels_.device(), DType::f32, {rows, spec_.encoder.width});
  layers_->encoder->read(sources, out.writable_matrix());
  return out;
}

void Model::check_source(int64_t length) const {
  if (length < 1) throw Error(ErrorCode::bad_request, "A source has no tokens.");
  if (!spec_.encoder.is_absolute() || length <= spec_.encoder.positions) return;
  throw Error(ErrorCode::bad_request,
              fmt::format("A source of {} tokens is longer than the {} positions of the encoder.",
                          length, spec_.encoder.positions));
}

PageTable Model::remember(ConstMatrix encoded) const {
  return std::move(remember(encoded, std::span(&encoded.rows, 1)).front());
}

std::vector<PageTable> Model::remember(ConstMatrix encoded,
                                       std::span<const int64_t> lengths) const {
  check(encoded.type == DType::f32 && encoded.columns == spec_.encoder.width,
        "the encoder's output is [S, D] f32");
  std::vector<PageTable> tables;
  std::vector<Slice> slices;
  int64_t first = 0;
  for (const int64_t length : lengths) {
    tables.emplace_back(cross_pages()).reserve_last(length);
    slices.push_back({.first = first, .count = length, .rows = length});
    slices.back().pages = tables.back().pages();
    first += length;
  }
  check(first == encoded.rows, "every row is of one source");
  layers_->decoder.remember({slices}, encoded);
  for (size_t i = 0; i < tables.size(); ++i) tables[i].advance(lengths[i]);
  return tables;
}

std::vector<PageTable> Model::read(std::span<const std::span<const int32_t>> sources) const {
  std::vector<PageTable> tables;
  std::vector<int32_t> tokens;
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < sources.size(); ++i) {
    tokens.insert(tokens.end(), sources[i].begin(), sources[i].end());
    lengths.push_back(std::ssize(sources[i]));
    if (std::ssize(tokens) < kTokensAtOnce && i + 1 < sources.size()) continue;
    std::vector<PageTable> some = remember(encode(tokens, lengths).matrix(), lengths);
    std::move(some.begin(), some.end(), std::back_inserter(tables));
    tokens.clear();
    lengths.clear();
  }
  return tables;
}

PageTable Model::new_sequence() const {
  return PageTable(layers_->self_pages, hot_pages(), layers_->decoder.self_layout().only_sealed());
}

void Model::truncate(PageTable& table, int64_t rows) const {
  table.truncate(rows);
  if (table.needs_reopening()) layers_->decoder.reopen(table);
}

int32_t Model::regime(int64_t tokens) const {
  const RopeSpec& rope = spec_.decoder.rope;
  const bool two =
      spec_.decoder.position_kind == Positions::rotary && rope.scaling == RopeScaling::longrope;
  return two && tokens > rope.original ? 1 : 0;
}

void Model::forward(const DecoderStep& step) const { layers_->decoder.forward(step); }
bool Model::judges_logits() const { return layers_->decoder.judges_logits(); }

PagePool& Model::self_pages() const noexcept { return layers_->self_pages; }
PagePool* Model::hot_pages() const noexcept {
  return layers_->hot_pages ? &*layers_->hot_pages : nullptr;
}
PagePool& Model::cross_pages() const noexcept { return *layers_->cross_pages; }
int64_t Model::derived_bytes() const { return layers_->decoder.derived_bytes(); }
int64_t Model::step_weight_bytes() const { return layers_->decoder.step_weight_bytes(); }
int64_t Model::step_row_bytes(int64_t rows, int64_t positions) const {
  return layers_->decoder.step_row_bytes(rows, positions);
}

}  // namespace slim
