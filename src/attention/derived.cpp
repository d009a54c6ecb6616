// From weights to maps and predictions, by transforms/.
#include "attention/derived.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

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

// The errors of keys with some number of spill columns, whatever their bits and shaping.
class KeyErrors {
 public:
  KeyErrors(const ExactValueMap& exact, const Tensor& key_weight, const Tensor& value_weight) {
    const int64_t spill = exact.spill.rows;
    map_ = Dense(exact.map.rows, exact.map.columns + spill);
    for (int64_t i = 0; i < map_.rows; ++i) {
      std::copy_n(exact.map.row(i), exact.map.columns, map_.row(i));
      if (spill > 0) std::copy_n(exact.spill_map.row(i), spill, map_.row(i) + exact.map.columns);
    }
    ValueMap stored;
    if (spill > 0) stored.spill = to_tensor(exact.spill, DType::f16);
    powers_ = row_powers(key_weight, value_weight, stored);
  }

  // Every type at one rank: factoring is the dear part.
  void append(const AttentionSpec& spec, int64_t spill, int64_t rank,
              std::vector<KeyError>& errors) const {
    const std::vector<RowChoice> choices = key_choices();
    const bool known = std::any_of(choices.begin(), choices.end(), [&](const RowChoice& rows) {
      return rows.spill == spill && rows.rank == rank;
    });
    if (rank > map_.columns || !known) return;
    ExactShaping shaping;
    if (rank > 0) shaping = exact_shaping(map_, powers_, {.rank = rank});
    const double standard = predicted_divergence(predict_pair({DType::bf16, kGroupSize}));
    std::optional<double> of_noise;  // an error is as large as the noise of the format
    for (const RowChoice& rows : choices) {
      if (rows.spill != spill || rows.rank != rank) continue;
      const RowFormat format = KAttention::format(spec, rows);
      if (!of_noise) {
        const RowError error = predict_keys(format, map_, powers_, rank > 0 ? &shaping : nullptr);
        // A divergence grows with the square of the errors it comes from.
        of_noise = std::sqrt(predicted_divergence(error) / standard) / relative_noise(format);
      }
      errors.push_back({rows, *of_noise * relative_noise(format)});
    }
  }

 private:
  Dense map_;  // [M^T, B^T]
  RowPowers powers_;
};

std::vector<int64_t> distinct(int64_t RowChoice::*field) {
  std::vector<int64_t> values;
  for (const RowChoice& rows : key_choices()) values.push_back(rows.*field);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

}  // namespace

Conditioning find_conditioning(const AttentionSpec& spec, const AttentionWeights& weights) {
  Conditioning found;
  const Tensor key_weight = plain_weight(weights.k);
  const bool sealable =
      spec.rotary && !weights.v.weight.empty() && k_kind().fit(spec, {}, kUnknownKeys).possible;
  if (!sealable) {
    found.condition_k = condition_number(key_weight);
    return found;
  }
  const Tensor value_weight = plain_weight(weights.v);
  std::vector<int64_t> spills = distinct(&RowChoice::spill);
  std::erase_if(spills, [&](int64_t spill) { return spill >= spec.width; });
  const ValueMaps maps(to_dense(key_weight, "key"), to_dense(value_weight, "value"), spills.back());
  found.condition_k = maps.condition();
  for (const int64_t spill : spills) {
    try {
      const KeyErrors errors(maps.at(spill), key_weight, value_weight);
      for (const int64_t rank : distinct(&RowChoice::rank)) {
        errors.append(spec, spill, rank, found.key_errors);
      }
    } catch (const Error& error) {
      // So many columns do not make up for what W_K loses: not an error, an answer.
      if (error.code() != ErrorCode::unsupported_model) throw;
      for (const RowChoice& rows : key_choices()) {
        if (rows.spill != spill) continue;
        found.key_errors.push_back({rows, std::numeric_limits<double>::infinity()});
      }
    }
  }
  return found;
}

DerivedWeights derive_weights(const AttentionWeights& weights, const RowChoice& rows) {
  const Tensor key_weight = plain_weight(weights.k);
  const Tensor value_weight = plain_weight(weights.v);
  const ValueMap map =
      value_map(key_weight, value_weight, {.spill = rows.spill, .rounded = !is_float(rows.type)});
  DerivedWeights derived;
  derived.value_map.weight = map.map;
  derived.value_map.scale = map.scale;
  derived.spill = map.spill;
  derived.spill_map = map.spill_map;
  if (rows.rank == 0) return derived;
  const ShapingFactor factor =
      shaping_factor(map, row_powers(key_weight, value_weight, map), {.rank = rows.rank});
  derived.shaping_u = factor.u;
  derived.shaping_g = factor.g;
  derived.shaping_order = factor.order;
  return derived;
}

}  // namespace slim
