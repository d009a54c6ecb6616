// The decoder: x = embedding (+ position); per layer what StackSpec::residual says; logits =
// norm(x) head^T for the tokens that need them.
#include "models/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "attention/step_scratch.h"
#include "base/check.h"
#include "models/parallel.h"
#include "slim/error.h"

namespace slim {
namespace {

// Rows that a page of a sequence's own needs. Kernels of other devices copy whole pages.
int64_t rows_of_page(Kernels& kernels, int64_t context) {
  return kernels.device().host() ? std::clamp<int64_t>(context, 1, kPageRows) : kPageRows;
}

// Of scratch memory: its rows follow one another.
void clear(Device& device, const Matrix& matrix) {
  device.clear(matrix.data, static_cast<size_t>(matrix.rows * matrix.columns) * sizeof(float));
}

// Scaled and capped logits; few models have any, and only for the rows asked for.
void finish_logits(const ModelSpec& spec, const Matrix& logits) {
  if (spec.logit_scale == 1.0F && spec.logit_cap == 0.0F) return;
  for (int64_t row = 0; row < logits.rows; ++row) {
    float* values = logits.row<float>(row);
    for (int64_t i = 0; i < logits.columns; ++i) {
      values[i] *= spec.logit_scale;
      if (spec.logit_cap != 0.0F) {
        values[i] = spec.logit_cap * std::tanh(values[i] / spec.logit_cap);
      }
    }
  }
}

}  // namespace

struct Decoder::Scratch {
  Matrix x;       // [T, D]: the residual stream
  Matrix normed;  // [T, D]
  Matrix other;   // [T, D], where a layer has two norms of one x
  Matrix hidden;  // of MLPs
};

Decoder::Decoder(const ModelSpec& spec, const ModelWeights::Parts& weights, Kernels& kernels,
                 const LayerChoices& choices, int64_t context)
    : spec_(spec),
      weights_(weights),
      kernels_(kernels),
      context_(context),
      self_layout_(rows_of_page(kernels, context)) {
  std::vector<AttentionSpec> layers = attention_layers(spec);
  const std::span<const LayerPlan> plan = choices.plan;
  check(plan.size() == layers.size(), "the plan has an entry for each attention layer");
  std::vector<std::shared_ptr<const Rotation>> regimes;
  if (spec.decoder.position_kind == Positions::rotary) {
    regimes = rotations(spec.decoder.rope, context);
  }
  std::vector<std::unique_ptr<Attention>> built(layers.size());
  in_parallel(layers.size(), [&](size_t i) {
    if (!layers[i].cross) layers[i].rotations = regimes;
    const DecoderLayer& layer = weights.decoder.at(static_cast<size_t>(plan[i].layer));
    AttentionWeights own = layers[i].cross ? layer.cross : layer.self;
    const bool known = !choices.derived.empty() && choices.derived[i].bytes() > 0;
    if (known) own.derived = choices.derived[i];
    built[i] = scheme(plan[i].kind).build(layers[i], own, plan[i].rows, kernels);
  });
  for (const DerivedWeights& derived : choices.derived) given_bytes_ += derived.bytes();
  for (size_t i = 0; i < layers.size(); ++i) {
    (layers[i].cross ? cross_ : self_).push_back(std::move(built[i]));
  }
  place_planes();
  rounded_head_ = RoundedHead::make(spec, weights.head, kernels);
}

void Decoder::place_planes() {
  for (const auto& attention : self_) attention->place(self_layout_);
  const Attention* shared = nullptr;
  for (const auto& attention : cross_) {
    if (!attention->shares_rows()) {
      attention->place(cross_layout_);
    } else if (shared == nullptr) {
      attention->place(cross_layout_);
      shared = attention.get();
    } else {
      check(attention->rows() == shared->rows(), "layers that share rows agree on their format");
      attention->place(shared->planes(), shared->hot_planes());
    }
  }
  check(cross_layout_.hot_bytes() == 0, "rows of cross attention stand alone");
}

void Decoder::remember(const AttentionStep& step, ConstMatrix encoded) const {
  bool shared_stored = false;
  for (const auto& attention : cross_) {
    if (attention->shares_rows() && shared_stored) continue;
    attention->store(step, encoded);
    shared_stored = shared_stored || attention->shares_rows();
  }
}

void Decoder::reopen(PageTable& table) const {
  std::byte* const hot = table.reopen();
  for (const auto& attention : self_) {
    attention->reopen(kernels_, table.pages(), hot, table.rows());
  }
}

void Decoder::forward(const DecoderStep& step) const {
  check_step(step);
  const auto tokens = std::ssize(step.tokens);
  if (tokens == 0) return;
  const StackSpec& stack = spec_.decoder;
  StepScratch memory(kernels_.device());
  Scratch scratch;
  scratch.x = memory.matrix(tokens, stack.width);
  scratch.normed = memory.matrix(tokens, stack.width);
  const bool two_norms = stack.residual == Residual::parallel && !stack.shared_norm;
  if (two_norms) scratch.other = memory.matrix(tokens, stack.width);
  scratch.hidden = memory.matrix(mlp_rows(stack, tokens), mlp_columns(stack));

  kernels_.run_step(tokens, [&] {
    embed(step, scratch.x);
    for (size_t i = 0; i < self_.size(); ++i) run_layer(i, step, scratch);
    write_logits(step, scratch.x);
  });
}

void Decoder::embed(const DecoderStep& step, Matrix x) const {
  const ConstMatrix positions =
      weights_.decoder_positions.empty() ? ConstMatrix{} : weights_.decoder_positions.matrix();
  Embed tokens = embed_of(step.tokens, weights_.embed, x);
  tokens.factor = spec_.embed_factor;
  tokens.places = step.positions;
  tokens.positions = positions;
  if (spec_.embed_width == 0) {
    embed_tokens(tokens);
  } else {
    // Positions first, so that the projection of the tokens adds to them.
    StepScratch memory(kernels_.device());
    Embed narrow = tokens;
    narrow.positions = {};
    narrow.y = memory.matrix(x.rows, spec_.embed_width);
    embed_tokens(narrow);
    Linear widen = linear_of(narrow.y, weights_.embed_in, x);
    if (positions.rows > 0) {
      kernels_.embed({.ids = step.positions, .table = positions, .y = x});
      widen.accumulate = true;
    }
    kernels_.linear(widen);
  }
  if (spec_.embed_norm) normalise(kernels_, spec_.decoder.norm, weights_.embed_norm, x, x);
}

// Start tokens that have no row of the table take any row 0 times; they come in a sequence's first
// step alone.
void Decoder::embed_tokens(const Embed& tokens) const {
  const auto starts = [&](int32_t id) { return id == spec_.vocabulary - 1; };
  if (!spec_.zero_start || std::none_of(tokens.ids.begin(), tokens.ids.end(), starts)) {
    return kernels_.embed(tokens);
  }
  const std::vector<int32_t> any(tokens.ids.size(), 0);
  for (size_t begin = 0; begin < tokens.ids.size();) {
    const bool start = starts(tokens.ids[begin]);
    size_t count = 1;
    while (begin + count < tokens.ids.size() && starts(tokens.ids[begin + count]) == start) ++count;
    Embed part = tokens;
    part.ids = start ? std::span(any).first(count) : tokens.ids.subspan(begin, count);
    if (start) part.factor = 0.0F;
    if (!tokens.places.empty()) part.places = tokens.places.subspan(begin, count);
    part.y = tokens.y.rows_from(static_cast<int64_t>(begin), static_cast<int64_t>(count));
    kernels_.embed(part);
    begin += count;
  }
}

void Decoder::run_layer(size_t index, const DecoderStep& step, const Scratch& scratch) const {
  switch (spec_.decoder.residual) {
    case Residual::sequential:
    case Residual::parallel:
      return run_before(index, step, scratch);
    case Residual::after_branch:
    case Residual::after_sum:
      return run_after(index, step, scratch);
  }
}

// Norms before the branches.
void Decoder::run_before(size_t index, const DecoderStep& step, const Scratch& scratch) const {
  const StackSpec& stack = spec_.decoder;
  const DecoderLayer& layer = weights_.decoder[index];
  const auto& [x, normed, other, hidden] = scratch;
  normalise(kernels_, stack.norm, layer.self_norm, x, normed);
  if (stack.residual == Residual::parallel) {
    if (!stack.shared_norm) normalise(kernels_, stack.norm, layer.mlp.norm, x, other);
    self_[index]->forward({step.self}, normed, x);
    return run_mlp(kernels_, stack, layer.mlp, stack.shared_norm ? normed : other, hidden, x);
  }
  self_[index]->forward({step.self}, normed, x);
  if (!cross_.empty()) {
    normalise(kernels_, stack.norm, layer.cross_norm, x, normed);
    attend_encoded(index, step, normed, x);
  }
  normalise(kernels_, stack.norm, layer.mlp.norm, x, normed);
  run_mlp(kernels_, stack, layer.mlp, normed, hidden, x);
}

void Decoder::attend_encoded(size_t index, const DecoderStep& step, ConstMatrix in,
                             Matrix x) const {
  const HeadScores* scores = step.cross_scores.empty() ? nullptr : &step.cross_scores[index];
  if (scores != nullptr && scores->heads.empty()) scores = nullptr;
  cross_[index]->forward({step.cross, scores}, in, x);
}

// Norms after the branches, or after their sums with x.
void Decoder::run_after(size_t index, const DecoderStep& step, const Scratch& scratch) const {
  const StackSpec& stack = spec_.decoder;
  const DecoderLayer& layer = weights_.decoder[index];
  const auto& [x, normed, other, hidden] = scratch;
  if (stack.residual == Residual::after_branch) {
    clear(kernels_.device(), normed);
    self_[index]->forward({step.self}, x, normed);
    normalise(kernels_, stack.norm, layer.self_norm, normed, x, true);
    clear(kernels_.device(), normed);
    run_mlp(kernels_, stack, layer.mlp, x, hidden, normed);
    return normalise(kernels_, stack.norm, layer.mlp.norm, normed, x, true);
  }
  copy_matrix(kernels_.device(), x, normed);
  self_[index]->forward({step.self}, normed, x);
  normalise(kernels_, stack.norm, layer.self_norm, x, x);
  if (!cross_.empty()) {
    copy_matrix(kernels_.device(), x, normed);
    attend_encoded(index, step, normed, x);
    normalise(kernels_, stack.norm, layer.cross_norm, x, x);
  }
  run_mlp(kernels_, stack, layer.mlp, x, hidden, x);
  normalise(kernels_, stack.norm, layer.mlp.norm, x, x);
}

// The final norm gathers the rows that need logits, a run of neighbours at a time (a decoding step:
// all rows, one run), so that the vocabulary product, the largest of a step, sees only those.
void Decoder::write_logits(const DecoderStep& step, ConstMatrix x) const {
  const std::span<const int64_t> rows = step.logits_for;
  if (rows.empty()) return;
  StepScratch memory(kernels_.device());
  const auto scored = std::ssize(rows);
  Matrix normed = memory.matrix(scored, spec_.decoder.width);
  for (size_t first = 0; first < rows.size();) {
    size_t end = first + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    const auto count = static_cast<int64_t>(end - first);
    const ConstMatrix from = x.rows_from(rows[first], count);
    const Matrix to = normed.rows_from(static_cast<int64_t>(first), count);
    if (spec_.decoder.final_norm) {
      normalise(kernels_, spec_.decoder.norm, weights_.decoder_norm, from, to);
    } else {
      copy_matrix(kernels_.device(), from, to);
    }
    first = end;
  }
  if (spec_.embed_width != 0) {
    const Matrix narrow = memory.matrix(scored, spec_.embed_width);
    kernels_.linear(linear_of(normed, weights_.embed_out, narrow));
    normed = narrow;
  }
  judge_logits(step, normed);
}

// The product, and what is asked of it. Where the device's memory is not the host's, as little as
// possible leaves it.
void Decoder::judge_logits(const DecoderStep& step, ConstMatrix x) const {
  StepScratch memory(kernels_.device());
  const bool host = kernels_.device().host();
  const bool in_place = host && step.candidates == nullptr;
  const Matrix logits = in_place ? step.logits : memory.matrix(x.rows, spec_.outputs());
  // Of what is asked for by its column, and of whole rows, every logit counts.
  const bool rounded =
      rounded_head_ != nullptr && step.candidates != nullptr && step.candidates->asked.empty();
  if (spec_.series.patch > 0) {
    run_patches(kernels_, spec_.decoder.activation, weights_.patch_out, x, logits);
  } else if (rounded) {
    rounded_head_->approximate(x, logits);
  } else {
    kernels_.linear(linear_of(x, weights_.head, logits));
  }
  if (host) finish_logits(spec_, logits);
  if (!step.forbidden.empty()) kernels_.forbid({logits, step.forbidden});
  if (rounded) rounded_head_->settle(x, *step.candidates, logits);
  if (step.log_probabilities) kernels_.log_softmax({logits, logits});
  if (step.candidates != nullptr) {
    FindCandidates find = *step.candidates;
    find.x = logits;
    return kernels_.find_candidates(find);
  }
  if (host) return;
  copy_matrix(kernels_.device(), logits, step.logits);
  finish_logits(spec_, step.logits);
}

bool Decoder::judges_logits() const {
  return kernels_.device().host() || (spec_.logit_scale == 1.0F && spec_.logit_cap == 0.0F);
}

void Decoder::check_step(const DecoderStep& step) const {
  const auto tokens = std::ssize(step.tokens);
  check(std::ssize(step.positions) == tokens, "each token has its position");
  const int64_t scored = step.candidates == nullptr ? std::ssize(step.logits_for) : 0;
  check(step.logits.rows == scored && (scored == 0 || step.logits.columns == spec_.outputs()),
        "logits are [tokens that need them, outputs]");
  const bool judged =
      step.candidates != nullptr || step.log_probabilities || !step.forbidden.empty();
  check(!judged || (judges_logits() && spec_.series.patch == 0),
        "logits that are judged are finished where they are");
  check(step.cross_scores.empty() ||
            (step.cross_scores.size() == cross_.size() && step.cross.size() == 1),
        "scores are asked of every cross attention layer, over one window");
  for (const int64_t row : step.logits_for) {
    check(row >= 0 && row < tokens, "logits are asked for tokens of the step");
  }
  for (const int32_t token : step.tokens) {
    if (token >= 0 && token < spec_.vocabulary) continue;
    throw Error(ErrorCode::bad_request,
                fmt::format("Token {} is outside the vocabulary of {}.", token, spec_.vocabulary));
  }
  for (const int32_t position : step.positions) {
    if (position >= 0 && position < context_) continue;
    throw Error(ErrorCode::bad_request,
                fmt::format("A sequence of {} tokens is longer than the context of {}.",
                            static_cast<int64_t>(position) + 1, context_));
  }
}

int64_t Decoder::derived_bytes() const {
  int64_t bytes = given_bytes_ + (rounded_head_ != nullptr ? rounded_head_->bytes() : 0);
  for (const auto& attention : self_) bytes += attention->derived_bytes();
  for (const auto& attention : cross_) bytes += attention->derived_bytes();
  return bytes;
}

}  // namespace slim
