// The formulas of AttentionSpec, one by one.
#include "attention/textbook.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace slim::testing {
namespace {

using Rows = std::vector<std::vector<double>>;

std::vector<double> doubles(const Tensor& tensor, int64_t begin, int64_t count) {
  const float* values = tensor.values<float>() + begin;
  return {values, values + count};
}

Rows project(const Rows& rows, const LinearWeights& layer, double clip) {
  const int64_t outputs = layer.weight.size(0), inputs = layer.weight.size(1);
  Rows result;
  for (const std::vector<double>& row : rows) {
    std::vector<double>& y = result.emplace_back();
    for (int64_t n = 0; n < outputs; ++n) {
      double sum = layer.bias.empty() ? 0.0 : static_cast<double>(layer.bias.values<float>()[n]);
      const std::vector<double> weight = doubles(layer.weight, n * inputs, inputs);
      for (size_t k = 0; k < weight.size(); ++k) sum += row[k] * weight[k];
      y.push_back(clip > 0.0 ? std::clamp(sum, -clip, clip) : sum);
    }
  }
  return result;
}

void normalise(const AttentionSpec& spec, Rows& rows, const Tensor& gain, const Tensor& offset,
               size_t heads) {
  if (spec.key_norm == KeyNorm::none) return;
  for (std::vector<double>& row : rows) {
    const size_t width = spec.key_norm == KeyNorm::head ? row.size() / heads : row.size();
    for (size_t first = 0; first < row.size(); first += width) {
      double mean = 0, square = 0;
      for (size_t c = first; c < first + width; ++c) mean += row[c] / static_cast<double>(width);
      if (spec.key_norm_kind == NormKind::rms) mean = 0;
      for (size_t c = first; c < first + width; ++c) {
        square += (row[c] - mean) * (row[c] - mean) / static_cast<double>(width);
      }
      const double deviation = std::sqrt(square + static_cast<double>(spec.key_norm_epsilon));
      for (size_t c = first; c < first + width; ++c) {
        row[c] = (row[c] - mean) / deviation;
        if (!gain.empty()) row[c] *= static_cast<double>(gain.values<float>()[c]);
        if (!offset.empty()) row[c] += static_cast<double>(offset.values<float>()[c]);
      }
    }
  }
}

void turn(const AttentionSpec& spec, Rows& rows) {
  if (!spec.rotary) return;
  const Rotation& rotation = *spec.rotations.front();
  const auto head_width = static_cast<size_t>(spec.head_width);
  for (size_t t = 0; t < rows.size(); ++t) {
    for (size_t first = 0; first < rows[t].size(); first += head_width) {
      std::vector<float> head(rows[t].begin() + static_cast<std::ptrdiff_t>(first),
                              rows[t].begin() + static_cast<std::ptrdiff_t>(first + head_width));
      std::vector<float> turned = head;
      rotation.apply(static_cast<int64_t>(t), head.data(), turned.data());
      std::copy(turned.begin(), turned.end(), rows[t].begin() + static_cast<std::ptrdiff_t>(first));
    }
  }
}

// One head of one token: its query over keys and values from column `kept` on.
void attend_head(const AttentionSpec& spec, size_t t, size_t head, const Rows& q, const Rows& k,
                 const Rows& v, std::vector<double>& out) {
  const auto width = static_cast<size_t>(spec.head_width);
  const size_t kept = head / static_cast<size_t>(spec.heads / spec.key_heads) * width;
  std::vector<double> mixed(width, 0.0);
  double total = 0;
  for (size_t s = 0; s <= t; ++s) {
    const auto distance = static_cast<int64_t>(t - s);
    if (spec.window > 0 && distance >= spec.window) continue;
    double score = 0;
    for (size_t c = 0; c < width; ++c) score += q[t][head * width + c] * k[s][kept + c];
    score *= static_cast<double>(spec.scale);
    const auto cap = static_cast<double>(spec.cap);
    if (cap != 0.0) score = cap * std::tanh(score / cap);
    if (!spec.slopes.empty()) {
      score -= static_cast<double>(spec.slopes[head]) * static_cast<double>(distance);
    }
    const double weight = std::exp(score);
    total += weight;
    for (size_t c = 0; c < width; ++c) mixed[c] += weight * v[s][kept + c];
  }
  for (const double value : mixed) out.push_back(value / total);
}

}  // namespace

Tensor textbook(const AttentionSpec& spec, const AttentionWeights& weights, const Tensor& x) {
  Rows input;
  for (int64_t t = 0; t < x.size(0); ++t) input.push_back(doubles(x, t * x.size(1), x.size(1)));
  const auto clip = static_cast<double>(spec.clip);
  Rows q = project(input, weights.q, clip);
  Rows k = project(input, weights.k, clip);
  const Rows v = project(input, weights.v, clip);
  normalise(spec, q, weights.q_gain, weights.q_offset, static_cast<size_t>(spec.heads));
  normalise(spec, k, weights.k_gain, weights.k_offset, static_cast<size_t>(spec.key_heads));
  turn(spec, q);
  turn(spec, k);
  Rows heads;
  for (size_t t = 0; t < input.size(); ++t) {
    std::vector<double>& row = heads.emplace_back();
    for (size_t head = 0; head < static_cast<size_t>(spec.heads); ++head) {
      attend_head(spec, t, head, q, k, v, row);
    }
  }
  std::vector<float> out;
  for (const std::vector<double>& row : project(heads, weights.out, 0.0)) {
    out.insert(out.end(), row.begin(), row.end());
  }
  return Tensor::from(out, {x.size(0), weights.out.weight.size(0)});
}

}  // namespace slim::testing
