// From weights to maps and predictions, by transforms/.
#include "attention/derived.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "attention/k_attention.h"
#include "attention/k_choices.h"
#include "attention/kinds.h"
#include "attention/row_fit.h"
#include "attention/weights.h"
#include "slim/error.h"
#include "transforms/conditioning.h"
#include "transforms/shaping.h"
#include "transforms/value_map.h"

namespace slim {
namespace {

std::vector<int64_t> distinct(int64_t RowChoice::*field) {
  std::vector<int64_t> values;
  for (const RowChoice& rows : key_choices()) values.push_back(rows.*field);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

// Of key_choices(), rising, those that leave something of so many inputs.
std::vector<int64_t> spills_of(int64_t width) {
  std::vector<int64_t> spills = distinct(&RowChoice::spill);
  std::erase_if(spills, [&](int64_t spill) { return spill >= width; });
  return spills;
}

bool is_choice(int64_t spill, int64_t rank) {
  const std::vector<RowChoice> choices = key_choices();
  return std::any_of(choices.begin(), choices.end(), [&](const RowChoice& rows) {
    return rows.spill == spill && rows.rank == rank;
  });
}

}  // namespace

// The factors of a layer, whatever the rows, and what came of them so far.
class LayerTransforms::Maps {
 public:
  Maps(const AttentionWeights& weights, int64_t most)
      : key_weight_(plain_weight(weights.k)), maps_(factors(weights, most)) {}

  double condition() const { return maps_.condition(); }

  // What is known of rows with these spill columns, whatever their type and rank.
  void predict(const AttentionSpec& spec, int64_t spill, std::vector<KeyError>& errors) {
    const ExactValueMap exact = maps_.at(spill);
    const DenseF32 map = row_map(exact);
    const RowPowers powers = with_spill(powers_, exact.spill);
    for (const int64_t rank : distinct(&RowChoice::rank)) {
      if (rank > map.columns || !is_choice(spill, rank)) continue;
      const ExactShaping* shaping = nullptr;
      if (rank > 0) {
        shapings_.push_back({spill, rank, exact_shaping(map, powers, {.rank = rank})});
        shaping = &shapings_.back().factor;
      }
      append(spec, {.spill = spill, .rank = rank}, predicted(map, powers, shaping), errors);
    }
  }

  DerivedWeights derive(const RowChoice& rows) const {
    const ExactValueMap exact = maps_.at(rows.spill);
    DerivedWeights derived;
    if (rows.rank > 0) {
      const ShapingFactor factor = shaping_factor(shaping(exact, rows));
      derived.shaping_u = factor.u;
      derived.shaping_g = factor.g;
      derived.shaping_order = factor.order;
    }
    std::optional<Dense> moments;
    if (!is_float(rows.type)) moments = output_moments(to_dense(key_weight_, "key"), nullptr);
    const ValueMap map = to_stored(exact, std::move(moments));
    derived.value_map.weight = map.map;
    derived.value_map.scale = map.scale;
    derived.spill = map.spill;
    derived.spill_map = map.spill_map;
    return derived;
  }

 private:
  struct KnownShaping {
    int64_t spill = 0;
    int64_t rank = 0;
    ExactShaping factor;
  };

  // Leaves powers_ on its way, so that weights are unpacked once.
  ValueMaps factors(const AttentionWeights& weights, int64_t most) {
    Dense keys = to_dense(key_weight_, "key");
    Dense values = to_dense(plain_weight(weights.v), "value");
    powers_ = row_powers(keys, values, nullptr);
    return {std::move(keys), std::move(values), most};
  }

  // The error of rows in terms of kv in bf16, over the noise of their format: the one is as large
  // as the other.
  double predicted(const DenseF32& map, const RowPowers& powers,
                   const ExactShaping* shaping) const {
    const RowFormat format{DType::f32, map.columns, 16, Scaling::channel};
    const double standard = predicted_divergence(predict_pair({DType::bf16, kGroupSize}));
    const RowError error = predict_keys(format, map, powers, shaping);
    // A divergence grows with the square of the errors it comes from.
    return std::sqrt(predicted_divergence(error) / standard) / relative_noise(format);
  }

  // For every type.
  static void append(const AttentionSpec& spec, const RowChoice& like, double of_noise,
                     std::vector<KeyError>& errors) {
    for (const RowChoice& rows : key_choices()) {
      if (rows.spill != like.spill || rows.rank != like.rank) continue;
      errors.push_back({rows, of_noise * relative_noise(KAttention::format(spec, rows))});
    }
  }

  ExactShaping shaping(const ExactValueMap& exact, const RowChoice& rows) const {
    const auto known = std::find_if(shapings_.begin(), shapings_.end(), [&](const auto& one) {
      return one.spill == rows.spill && one.rank == rows.rank;
    });
    if (known != shapings_.end()) return known->factor;
    return exact_shaping(row_map(exact), with_spill(powers_, exact.spill), {.rank = rows.rank});
  }

  Tensor key_weight_;
  RowPowers powers_;  // without spill
  ValueMaps maps_;
  std::vector<KnownShaping> shapings_;
};

LayerTransforms::LayerTransforms(const AttentionSpec& spec, const AttentionWeights& weights)
    : weights_(weights) {
  const bool sealable =
      spec.rotary && !weights.v.weight.empty() && k_kind().fit(spec, {}, kUnknownKeys).possible;
  if (!sealable) {
    conditioning_.condition_k = condition_number(plain_weight(weights.k));
    return;
  }
  const std::vector<int64_t> spills = spills_of(spec.width);
  auto maps = std::make_unique<Maps>(weights, spills.back());
  conditioning_.condition_k = maps->condition();
  for (const int64_t spill : spills) {
    try {
      maps->predict(spec, spill, conditioning_.key_errors);
    } catch (const Error& error) {
      // So many columns do not make up for what W_K loses: not an error, an answer.
      if (error.code() != ErrorCode::unsupported_model) throw;
      for (const RowChoice& rows : key_choices()) {
        if (rows.spill != spill) continue;
        conditioning_.key_errors.push_back({rows, std::numeric_limits<double>::infinity()});
      }
    }
  }
  maps_ = std::move(maps);
}

LayerTransforms::~LayerTransforms() = default;

DerivedWeights LayerTransforms::derive(const RowChoice& rows) const {
  const bool factored = maps_ && rows.spill <= spills_of(weights_.k.weight.size(1)).back();
  return factored ? maps_->derive(rows) : derive_weights(weights_, rows);
}

Conditioning find_conditioning(const AttentionSpec& spec, const AttentionWeights& weights) {
  return LayerTransforms(spec, weights).conditioning();
}

// With as many directions as planning takes, so that the same comes of both.
DerivedWeights derive_weights(const AttentionWeights& weights, const RowChoice& rows) {
  const int64_t planned = spills_of(weights.k.weight.size(1)).back();
  return LayerTransforms::Maps(weights, std::max(rows.spill, planned)).derive(rows);
}

}  // namespace slim
