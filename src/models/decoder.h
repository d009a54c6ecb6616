// Decoder: from tokens to logits over the cached rows of their sequences and windows. It owns one
// Attention per layer and side, built as the plan says, and never learns which kind they are.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "attention/pages.h"
#include "attention/plan.h"
#include "models/blocks.h"
#include "models/rounded_head.h"

namespace slim {

// How layers keep their context: self (and cross, with an encoder) of layer 0, 1, ...; and what of
// their weights that takes, where it is known already: one each that may be empty, or none.
struct LayerChoices {
  std::span<const LayerPlan> plan;
  std::span<const DerivedWeights> derived;
};

class Decoder {
 public:
  // `weights`: in the device's memory (Parts::on). `context`: positions that steps may have. The
  // arguments but `choices` must outlive it.
  Decoder(const ModelSpec& spec, const ModelWeights::Parts& weights, Kernels& kernels,
          const LayerChoices& choices, int64_t context);

  // A page of a sequence's own rows, and one of what cross attention reads.
  const PageLayout& self_layout() const noexcept { return self_layout_; }
  const PageLayout& cross_layout() const noexcept { return cross_layout_; }

  // Stores what the cross attention layers need of the encoder's output.
  void remember(const AttentionStep& step, ConstMatrix encoded) const;
  // Makes the hot page of a table from its last, sealed page (Attention::reopen).
  void reopen(PageTable& table) const;
  // Throws Error{bad_request} for a token outside the vocabulary or a position outside the context.
  void forward(const DecoderStep& step) const;
  bool judges_logits() const;  // Model::judges_logits
  int64_t derived_bytes() const;
  // Model::step_weight_bytes, Model::step_row_bytes (step_bytes.cpp).
  int64_t step_weight_bytes() const;
  int64_t step_row_bytes(int64_t rows, int64_t positions) const;

 private:
  struct Scratch;

  void place_planes();
  void check_step(const DecoderStep& step) const;
  void embed(const DecoderStep& step, Matrix x) const;
  void embed_tokens(const Embed& tokens) const;
  void run_layer(size_t index, const DecoderStep& step, const Scratch& scratch) const;
  void run_before(size_t index, const DecoderStep& step, const Scratch& scratch) const;
  void run_after(size_t index, const DecoderStep& step, const Scratch& scratch) const;
  void attend_encoded(size_t index, const DecoderStep& step, ConstMatrix in, Matrix x) const;
  void write_logits(const DecoderStep& step, ConstMatrix x) const;
  void judge_logits(const DecoderStep& step, ConstMatrix x) const;

  const ModelSpec& spec_;
  const ModelWeights::Parts& weights_;
  Kernels& kernels_;
  int64_t context_;
  int64_t given_bytes_ = 0;  // of weights derived before
  std::vector<std::unique_ptr<Attention>> self_;
  std::vector<std::unique_ptr<Attention>> cross_;  // none without an encoder
  PageLayout self_layout_;
  PageLayout cross_layout_;
  std::unique_ptr<RoundedHead> rounded_head_;  // or null: the head serves as it is
};

}  // namespace slim
