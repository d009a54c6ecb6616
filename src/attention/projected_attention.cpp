// The projections around every kind, block by block.
#include "attention/projected_attention.h"

#include <algorithm>
#include <cmath>

#include "attention/blocks.h"
#include "attention/sealed_rows.h"
#include "attention/weights.h"
#include "base/check.h"

namespace slim {
namespace {

// 64 MiB of scratch a block: 327 tokens of Whisper large (20 heads over rows of 1280), where the
// products have long reached their full speed.
constexpr int64_t kBlockFloats = int64_t{1} << 24;

bool is_matrix(const LinearWeights& weights, int64_t outputs) {
  return weights.weight.shape().size() == 2 && weights.weight.size(0) == outputs;
}

bool is_bias(const Tensor& bias, int64_t outputs) {
  return bias.empty() || (bias.type() == DType::f32 && bias.elements() == outputs);
}

bool fits(const LinearWeights& weights, int64_t outputs) {
  return is_matrix(weights, outputs) && is_bias(weights.bias, outputs) &&
         is_bias(weights.scale, outputs);
}

void check_shapes(const AttentionSpec& spec, const AttentionWeights& weights) {
  const int64_t queries = spec.heads * spec.head_width;
  const int64_t keys = spec.key_heads * spec.head_width;
  const bool derived = weights.v.weight.empty() && !weights.derived.value_map.weight.empty();
  check(fits(weights.q, queries), "W_Q is [H*C, D]");
  check(fits(weights.k, keys), "W_K is [G*C, D]");
  check(derived || fits(weights.v, keys), "W_V is [G*C, D]");
  check(weights.out.weight.shape().size() == 2 &&
            is_bias(weights.out.bias, weights.out.weight.size(0)),
        "W_O is [D, H*C]");
  check(is_bias(weights.q_gain, queries) && is_bias(weights.q_offset, queries) &&
            is_bias(weights.k_gain, keys) && is_bias(weights.k_offset, keys),
        "the norms of queries and keys have a number for each of their columns");
  check(spec.bias_reach == 0 ? weights.bias.empty()
                             : weights.bias.elements() == spec.heads * (2 * spec.bias_reach + 1),
        "there is a bias for each head and distance");
}

// What a card does not read, its memory should not hold.
LinearWeights without_matrix(const LinearWeights& weights) {
  return {{}, {}, weights.bias, weights.inputs};
}

}  // namespace

const float* values_or_null(const Tensor& vector) {
  return vector.empty() ? nullptr : vector.values<float>();
}

Linear product_of(ConstMatrix x, const LinearWeights& weights, Matrix y) {
  return {.x = x,
          .weight = weights.weight.matrix(),
          .scale = values_or_null(weights.scale),
          .bias = values_or_null(weights.bias),
          .y = y,
          .inputs = weights.inputs};
}

ProjectedAttention::ProjectedAttention(const AttentionSpec& spec, const AttentionWeights& weights,
                                       Kernels& kernels, int64_t floats_per_token, Reads reads)
    : spec_(spec), kernels_(kernels) {
  check_shapes(spec, weights);
  Device& device = kernels.device();
  weights_.q = on(device, weights.q);
  weights_.k = on(device, reads.keys ? weights.k : without_matrix(weights.k));
  weights_.v = on(device, reads.values ? weights.v : without_matrix(weights.v));
  weights_.out = on(device, weights.out);
  weights_.q_gain = weights.q_gain.on(device);
  weights_.q_offset = weights.q_offset.on(device);
  weights_.k_gain = weights.k_gain.on(device);
  weights_.k_offset = weights.k_offset.on(device);
  weights_.bias = weights.bias.on(device);
  weights_.inputs = weights.inputs;
  if (!spec.slopes.empty()) slopes_ = Tensor::from(spec.slopes, {spec.heads}).on(device);
  check(!spec.rotary || !spec.rotations.empty(), "a rotary layer has a rotation");
  const int64_t queries_and_heads = 2 * spec.heads * spec.head_width;
  block_tokens_ = std::max<int64_t>(1, kBlockFloats / (floats_per_token + queries_and_heads));
  if (!spec.rotary) return;
  for (const auto& rotation : spec_.rotations) rotations_.push_back(rotation.get());
}

void ProjectedAttention::store(const AttentionStep& step, ConstMatrix x) {
  check(!seals(), "rows that are sealed are stored by forward()");
  if (x.rows == 0) return;
  StepScratch scratch(kernels_.device());
  const PlaneRows rows = project(step.slices, x, scratch);
  for (size_t i = 0; i < planes().size(); ++i) {
    kernels_.store_rows({.x = rows.at(i), .plane = planes()[i], .slices = step.slices});
  }
}

void ProjectedAttention::forward(const AttentionStep& step, ConstMatrix x, Matrix out) {
  if (x.rows == 0) return;
  check(!planes().empty(), "the planes were placed");
  if (!spec_.cross && !seals()) store(step, x);
  const std::span<const Slice> slices = step.slices;
  for (size_t begin = 0; begin < slices.size();) {
    const bool rebuilt = rebuilds(slices[begin]);
    size_t end = begin + 1;
    while (!rebuilt && end < slices.size() && !rebuilds(slices[end])) ++end;
    run({slices.subspan(begin, end - begin), step.scores}, rebuilt, x, out);
    begin = end;
  }
}

// Slices whose tokens follow one another.
void ProjectedAttention::run(const AttentionStep& step, bool rebuilt, ConstMatrix x, Matrix out) {
  const int64_t begin = step.slices.front().first;
  int64_t tokens = 0;
  for (const Slice& slice : step.slices) {
    check(slice.first == begin + tokens, "the tokens of a step's slices follow one another");
    tokens += slice.count;
  }
  if (tokens == 0) return;
  std::span<const Slice> slices = step.slices;
  std::vector<Slice> shifted;  // counted from their own first token, where that is not the step's
  if (begin != 0) {
    shifted.assign(slices.begin(), slices.end());
    for (Slice& slice : shifted) slice.first -= begin;
    slices = shifted;
  }
  const int64_t width = spec_.heads * spec_.head_width;
  // Each block of slices that rebuild rows rebuilds all pages before it, so it should be long; and
  // its f32 rows, queries and heads (512: 8 MiB each at a width of 4096) have to be held.
  for_blocks(slices, tokens, rebuilt ? kernels_.prompt_sizes().tokens : block_tokens_, spec_.causal,
             [&](int64_t first, int64_t count, std::span<const Slice> part) {
               StepScratch scratch(kernels_.device());
               const ConstMatrix input = x.rows_from(begin + first, count);
               const Block block{part,
                                 input,
                                 project_by(weights_.q, input, scratch),
                                 scratch.matrix(count, width),
                                 step.scores,
                                 begin + first};
               normalise(block.queries, weights_.q_gain, weights_.q_offset, spec_.heads);
               if (rebuilt) {
                 attend_rebuilt(block, scratch);
               } else {
                 attend(block, scratch);
               }
               Linear residual =
                   product_of(block.heads, weights_.out, out.rows_from(begin + first, count));
               residual.accumulate = true;
               kernels_.linear(residual);
             });
}

void ProjectedAttention::read(const Block& block, Attend attend, const Reading& reading,
                              StepScratch& scratch) {
  if (seals()) {
    const PlaneRows rows = project(block.slices, block.x, scratch);
    std::vector<NewRows> added;
    for (size_t i = 0; i < planes().size(); ++i) {
      added.push_back({rows.at(i), planes()[i], hot_planes().at(i), shaping(i)});
    }
    attend_sealed(kernels_,
                  {.attend = attend,
                   .rows = added,
                   .keys = reading.keys,
                   .values = reading.values,
                   .factors = reading.factors,
                   .shared = reading.shared},
                  scratch);
    return;
  }
  attend.keys = planes().at(reading.keys);
  attend.values = planes().at(reading.values);
  if (reading.factors) attend.key_factors = &planes().at(*reading.factors);
  if (reading.shared) {
    kernels_.attend_shared(attend);
  } else {
    kernels_.attend_pair(attend);
  }
  if (block.scores != nullptr) write_scores(block, attend, scratch);
}

void ProjectedAttention::write_scores(const Block& block, const Attend& attend,
                                      StepScratch& scratch) const {
  check(spec_.cross && attend.slices.size() == 1, "scores are asked of one window's rows");
  check(attend.rotations.empty() && attend.key_gain == nullptr && attend.key_bias == nullptr &&
            attend.key_factors == nullptr && attend.slopes == nullptr &&
            attend.bias.values == nullptr,
        "scores are asked of rows that are keys as they stand");
  const HeadScores& wanted = *block.scores;
  const int64_t positions = attend.slices.front().rows;
  const int64_t tokens = wanted.scores.rows / std::ssize(wanted.heads);
  const Matrix rows = scratch.matrix(positions, attend.keys.format.width);
  kernels_.load_rows({.plane = attend.keys, .slice = attend.slices.front(), .y = rows});
  const Matrix scores = scratch.matrix(attend.queries.rows, positions);
  for (size_t i = 0; i < wanted.heads.size(); ++i) {
    const int64_t head = wanted.heads[i];
    const int64_t width = attend.key_width;
    kernels_.linear(
        {.x = attend.queries.columns_from(head * width, width),
         .weight = rows.columns_from(head / attend.heads_per_key * attend.key_stride, width),
         .y = scores});
    const Matrix to = wanted.scores.rows_from(static_cast<int64_t>(i) * tokens + block.first,
                                              attend.queries.rows);
    copy_matrix(kernels_.device(), scores, to);
    for (int64_t row = 0; row < to.rows; ++row) {
      float* values = to.row<float>(row);
      for (int64_t s = 0; s < positions; ++s) {
        values[s] *= attend.scale;
        if (attend.cap != 0.0F) values[s] = attend.cap * std::tanh(values[s] / attend.cap);
      }
    }
  }
}

Attend ProjectedAttention::over(const Block& block) const {
  Attend attend;
  attend.queries = block.queries;
  attend.mixed = block.heads;
  attend.slices = block.slices;
  attend.heads = spec_.heads;
  attend.key_width = attend.key_stride = spec_.head_width;
  attend.value_width = attend.value_stride = spec_.head_width;
  attend.heads_per_key = spec_.heads / spec_.key_heads;
  attend.scale = spec_.scale;
  attend.causal = spec_.causal;
  attend.slopes = values_or_null(slopes_);
  attend.bias = {values_or_null(weights_.bias), spec_.bias_reach};
  attend.cap = spec_.cap;
  attend.window = spec_.window;
  attend.inputs = weights_.inputs;
  return attend;
}

Matrix ProjectedAttention::project_by(const LinearWeights& weights, ConstMatrix x,
                                      StepScratch& scratch) const {
  const Matrix y = scratch.matrix(x.rows, weights.weight.size(0));
  project_into(weights, x, y);
  return y;
}

void ProjectedAttention::project_into(const LinearWeights& weights, ConstMatrix x, Matrix y) const {
  kernels_.linear(product_of(x, weights, y));
  if (spec_.clip > 0.0F) kernels_.clamp({.x = y, .limit = spec_.clip});
}

void ProjectedAttention::normalise(Matrix rows, const Tensor& gain, const Tensor& offset,
                                   int64_t heads) const {
  if (spec_.key_norm == KeyNorm::none) return;
  Norm norm;
  norm.kind = spec_.key_norm_kind;
  norm.x = rows;
  norm.gain = values_or_null(gain);
  norm.offset = values_or_null(offset);
  norm.epsilon = spec_.key_norm_epsilon;
  norm.groups = spec_.key_norm == KeyNorm::head ? heads : 1;
  norm.y = rows;
  kernels_.norm(norm);
}

void ProjectedAttention::turn(std::span<const Slice> slices, Matrix rows) const {
  std::vector<int32_t> positions;
  for (size_t begin = 0; begin < slices.size();) {
    // A run of slices in one regime: nearly always all of them.
    positions.clear();
    size_t end = begin;
    for (; end < slices.size() && slices[end].regime == slices[begin].regime; ++end) {
      for (int64_t i = 0; i < slices[end].count; ++i) {
        positions.push_back(static_cast<int32_t>(slices[end].position + i));
      }
    }
    const Matrix part = rows.rows_from(slices[begin].first, std::ssize(positions));
    kernels_.rotate({.x = part,
                     .positions = positions,
                     .rotation = rotations_.at(static_cast<size_t>(slices[begin].regime)),
                     .head_width = spec_.head_width,
                     .y = part});
    begin = end;
  }
}

int64_t ProjectedAttention::projection_bytes() const {
  return weights_.q.bytes() + weights_.q_gain.bytes() + weights_.q_offset.bytes() +
         weights_.out.bytes() + weights_.bias.bytes();
}

bool ProjectedAttention::seals() const noexcept {
  return std::any_of(planes().begin(), planes().end(),
                     [](const Plane& plane) { return plane.format.sealed(); });
}

}  // namespace slim
