// The decoder: x = embedding + position; per layer x += self(norm(x)), x += cross(norm(x)),
// x += mlp(norm(x)); logits = norm(x) head^T for the tokens that need them.
#include "models/decoder.h"

#include <fmt/format.h>

#include "attention/step_scratch.h"
#include "base/check.h"
#include "slim/error.h"

namespace slim {
namespace {

std::vector<Plane> add_planes(const Attention& attention, PageLayout& layout) {
  std::vector<Plane> planes;
  for (const RowFormat& format : attention.rows()) planes.push_back(layout.add(format));
  return planes;
}

}  // namespace

Decoder::Decoder(const ModelSpec& spec, const ModelWeights& weights, Kernels& kernels,
                 std::span<const LayerPlan> plan)
    : spec_(spec), weights_(weights.parts()), kernels_(kernels) {
  check(std::ssize(plan) == 2 * spec.decoder.layers, "the plan has two entries a decoder layer");
  const auto build = [&](const LayerPlan& chosen, const AttentionSpec& attention, int64_t layer) {
    return scheme(chosen.kind)
        .build(attention, weights.attention(layer, attention.cross), chosen.row_type, kernels);
  };
  const AttentionSpec self = spec.decoder.self(true);
  const AttentionSpec cross = spec.decoder.cross(spec.encoder.width);
  for (int64_t layer = 0; layer < spec.decoder.layers; ++layer) {
    self_.push_back(build(plan[static_cast<size_t>(2 * layer)], self, layer));
    cross_.push_back(build(plan[static_cast<size_t>(2 * layer + 1)], cross, layer));
  }
  place_planes();
}

void Decoder::place_planes() {
  for (const auto& attention : self_) attention->place(add_planes(*attention, self_layout_));
  const Attention* shared = nullptr;
  for (const auto& attention : cross_) {
    if (!attention->shares_rows()) {
      attention->place(add_planes(*attention, cross_layout_));
    } else if (shared == nullptr) {
      attention->place(add_planes(*attention, cross_layout_));
      shared = attention.get();
    } else {
      check(attention->rows() == shared->rows(), "layers that share rows agree on their format");
      attention->place(shared->planes());
    }
  }
}

void Decoder::remember(const AttentionStep& step, ConstMatrix encoded) const {
  bool shared_stored = false;
  for (const auto& attention : cross_) {
    if (attention->shares_rows() && shared_stored) continue;
    attention->store(step, encoded);
    shared_stored = shared_stored || attention->shares_rows();
  }
}

void Decoder::forward(const DecoderStep& step) const {
  check_step(step);
  const auto tokens = std::ssize(step.tokens);
  if (tokens == 0) return;
  const StackSpec& stack = spec_.decoder;
  const auto scored = std::ssize(step.logits_for);
  StepScratch scratch(kernels_.device());
  const Matrix x = scratch.matrix(tokens, stack.width);
  const Matrix normed = scratch.matrix(tokens, stack.width);
  const Matrix hidden = scratch.matrix(tokens, stack.mlp_width);

  Embed embed;
  embed.ids = step.tokens;
  embed.table = weights_.embed.matrix();
  embed.places = step.positions;
  embed.positions = weights_.decoder_positions.matrix();
  embed.y = x;
  kernels_.embed(embed);
  for (size_t i = 0; i < self_.size(); ++i) {
    const DecoderLayer& layer = weights_.decoder[i];
    normalise(kernels_, layer.self_norm, stack.norm_epsilon, x, normed);
    self_[i]->forward({step.self}, normed, x);
    normalise(kernels_, layer.cross_norm, stack.norm_epsilon, x, normed);
    cross_[i]->forward({step.cross}, normed, x);
    run_mlp(kernels_, stack, layer.mlp, x, normed, hidden);
  }
  if (scored > 0) write_logits(step, x, scratch.matrix(scored, stack.width));
}

// The final norm gathers the rows that need logits, a run of neighbours at a time (a decoding step:
// all rows, one run), so that the vocabulary product, the largest of a step, sees only those.
void Decoder::write_logits(const DecoderStep& step, ConstMatrix x, Matrix normed) const {
  const std::span<const int64_t> rows = step.logits_for;
  for (size_t first = 0; first < rows.size();) {
    size_t end = first + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    const auto count = static_cast<int64_t>(end - first);
    normalise(kernels_, weights_.decoder_norm, spec_.decoder.norm_epsilon,
              x.rows_from(rows[first], count),
              normed.rows_from(static_cast<int64_t>(first), count));
    first = end;
  }
  kernels_.linear(linear_of(normed, weights_.head, {}, step.logits));
}

void Decoder::check_step(const DecoderStep& step) const {
  const auto tokens = std::ssize(step.tokens);
  check(std::ssize(step.positions) == tokens, "each token has its position");
  check(step.logits.rows == std::ssize(step.logits_for) &&
            (step.logits.rows == 0 || step.logits.columns == spec_.vocabulary),
        "logits are [tokens that need them, vocabulary]");
  for (const int64_t row : step.logits_for) {
    check(row >= 0 && row < tokens, "logits are asked for tokens of the step");
  }
  for (const int32_t token : step.tokens) {
    if (token >= 0 && token < spec_.vocabulary) continue;
    throw Error(ErrorCode::bad_request,
                fmt::format("Token {} is outside the vocabulary of {}.", token, spec_.vocabulary));
  }
  for (const int32_t position : step.positions) {
    if (position >= 0 && position < spec_.decoder.positions) continue;
    throw Error(ErrorCode::bad_request,
                fmt::format("Position {} is outside the {} tokens this model can hold.", position,
                            spec_.decoder.positions));
  }
}

int64_t Decoder::derived_bytes() const {
  int64_t bytes = 0;
  for (const auto& attention : self_) bytes += attention->derived_bytes();
  for (const auto& attention : cross_) bytes += attention->derived_bytes();
  return bytes;
}

}  // namespace slim
