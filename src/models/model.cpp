// Model: the plan, the two stacks and the page pools put together.
#include "models/model.h"

#include <fmt/format.h>

#include "base/check.h"
#include "models/decoder.h"
#include "models/encoder.h"
#include "slim/error.h"

namespace slim {

struct Model::Layers {
  Layers(const ModelSpec& spec, const ModelWeights& weights, Kernels& kernels,
         std::span<const LayerPlan> plan)
      : encoder(spec, weights.parts(), kernels),
        decoder(spec, weights, kernels, plan),
        self_pages(kernels.device(), decoder.self_layout().page_bytes()),
        cross_pages(kernels.device(), decoder.cross_layout().page_bytes()) {}

  Encoder encoder;
  Decoder decoder;
  PagePool self_pages;
  PagePool cross_pages;
};

Model::Model(const ModelSpec& spec, std::shared_ptr<const ModelWeights> weights,
                               Kernels& kernels, const CacheChoice& choice)
    : spec_(spec), weights_(std::move(weights)), kernels_(kernels) {
  const std::vector<AttentionSpec> attentions = attention_layers(spec_);
  std::vector<LayerRequest> requests(attentions.size());
  for (size_t i = 0; i < attentions.size(); ++i) {
    requests[i].layer = static_cast<int64_t>(i) / 2;
    requests[i].spec = attentions[i];
    // Singular values take seconds, and only "k" depends on them.
    if (choice.kind == "k") requests[i].conditioning = weights_->conditioning()[i];
  }
  plan_ = slim::plan(requests, choice);
  layers_ = std::make_unique<Layers>(spec_, *weights_, kernels_, plan_);
}

Model::~Model() = default;

Tensor Model::encode(ConstMatrix mel, int64_t batch) const {
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
  layers_->encoder.run(mel, batch, out.writable_matrix());
  return out;
}

PageTable Model::remember(ConstMatrix encoded) const {
  check(encoded.type == DType::f32 && encoded.columns == spec_.encoder.width,
        "the encoder's output is [S, D] f32");
  PageTable table(layers_->cross_pages);
  table.reserve(encoded.rows);
  const Slice slice{0, encoded.rows, encoded.rows, table.pages()};
  layers_->decoder.remember({{&slice, 1}}, encoded);
  table.advance(encoded.rows);
  return table;
}

PageTable Model::new_sequence() const { return PageTable(layers_->self_pages); }

void Model::forward(const DecoderStep& step) const { layers_->decoder.forward(step); }

PagePool& Model::self_pages() const noexcept { return layers_->self_pages; }
PagePool& Model::cross_pages() const noexcept { return layers_->cross_pages; }
int64_t Model::derived_bytes() const { return layers_->decoder.derived_bytes(); }

}  // namespace slim
