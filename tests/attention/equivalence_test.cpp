// Every kind, on every kind of kernels, in every row type, at odd lengths, however the tokens are
// chunked and batched, against kv in f32 on the reference kernels; and all of them in f32 against
// attention as the textbook has it. The bound is the one that fit() promised: the relative error of
// the output (Frobenius norm) is at most the predicted error of the rows, plus kArithmetic for f32
// sums in other orders. (Measured: 0.8 of the prediction for 16 bits, and 8 * 2^-24 for
// arithmetic.) For i8 it is kGroups times that: its roundoff is relative to the largest number of
// each group of 32, which is 2.1 times their root mean square for normal numbers. (Measured: 2.3
// of 3.)
#include <gtest/gtest.h>

#include <cmath>
#include <thread>
#include <tuple>

#include "attention/derived.h"
#include "attention/harness.h"
#include "attention/projected_attention.h"
#include "attention/row_fit.h"
#include "attention/textbook.h"
#include "kernels/staged_kernels.h"
#include "slim/error.h"
#include "transforms/value_map.h"

namespace slim::testing {
namespace {

constexpr double kGroups = 3;
constexpr double kArithmetic = 32 * 0x1p-24;
constexpr int64_t kLengths[] = {1, 2, 63, 64, 65, 130};

AttentionSpec square_spec(bool cross) {
  return {.width = 64,
          .heads = 4,
          .key_heads = 4,
          .head_width = 16,
          .scale = 0.25F,
          .cross = cross,
          .causal = !cross};
}

// More inputs than outputs (e = 48 of 96), and fewer (128 of 64).
std::vector<AttentionSpec> odd_specs(bool cross) {
  AttentionSpec narrow = square_spec(cross);
  narrow.width = 96;
  narrow.heads = narrow.key_heads = 3;
  AttentionSpec wide = square_spec(cross);
  wide.heads = wide.key_heads = 8;
  return {narrow, wide};
}

std::vector<Tensor> random_inputs(const AttentionSpec& spec, std::span<const int64_t> lengths,
                                  uint32_t seed) {
  std::vector<Tensor> inputs;
  for (const int64_t length : lengths) {
    inputs.push_back(random_tensor({length, spec.width}, seed++));
  }
  return inputs;
}

// The kind keys and values: rows of layer input for scoring, values for mixing. It exists here to
// show that a kind is one file.
class ToyScheme final : public Scheme {
 public:
  std::string_view name() const override { return "toy"; }
  Fit fit(const AttentionSpec& spec, const Conditioning& /*conditioning*/,
          const RowChoice& rows) const override {
    const RowFormat input = standing_format(rows.type, spec.width);
    const RowFormat value = standing_format(rows.type, spec.heads * spec.head_width);
    Fit fit;
    fit.possible = spec.heads == spec.key_heads && !spec.rotary && input.valid() && value.valid();
    fit.reason = "a toy";
    fit.bytes_per_token = input.bytes() + value.bytes();
    fit.predicted_error =
        std::max(unit_roundoff(rows.type, input), unit_roundoff(rows.type, value));
    return fit;
  }
  std::unique_ptr<Attention> build(const AttentionSpec& spec, const AttentionWeights& weights,
                                   const RowChoice& rows, Kernels& kernels) const override {
    return std::make_unique<Toy>(spec, weights, rows.type, kernels);
  }

 private:
  class Toy final : public ProjectedAttention {
   public:
    Toy(const AttentionSpec& spec, const AttentionWeights& weights, RowType rows, Kernels& kernels)
        : ProjectedAttention(spec, weights, kernels, spec.heads * spec.width, {}),
          type_(rows),
          absorbed_(absorb_key(weights.k.weight, spec.heads).on(kernels.device())) {}
    std::vector<RowFormat> rows() const override {
      return {standing_format(type_, spec().width),
              standing_format(type_, spec().heads * spec().head_width)};
    }
    int64_t step_weight_bytes() const override {
      return projection_bytes() + absorbed_.bytes() + weights().v.bytes();
    }

   private:
    PlaneRows project(std::span<const Slice> /*slices*/, ConstMatrix x,
                      StepScratch& scratch) override {
      return {x, project_by(weights().v, x, scratch)};
    }
    void attend(const Block& block, StepScratch& scratch) override {
      const Matrix queries = scratch.matrix(block.queries.rows, spec().heads * spec().width);
      kernels().grouped_linear(
          {.x = block.queries, .weight = absorbed_.matrix(), .y = queries, .groups = spec().heads});
      Attend toy = over(block);
      toy.queries = queries;
      toy.key_width = spec().width;
      toy.key_stride = 0;
      read(block, toy, {.keys = 0, .values = 1}, scratch);
    }
    RowType type_;
    Tensor absorbed_;
  };
};

const Scheme& kind_named(const std::string& name) {
  static const ToyScheme toy;
  return name == toy.name() ? toy : scheme(name);
}

std::vector<std::string> kinds_and_toy() {
  std::vector<std::string> names{"toy"};
  for (const Scheme* const kind : schemes()) names.emplace_back(kind->name());
  return names;
}

class Equivalence : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  Equivalence()
      : kernels_(test::device_kernels(std::get<0>(GetParam()), 2)),
        reference_(make_kernels("reference", 1)),
        kind_(kind_named(std::get<1>(GetParam()))) {}

  void SetUp() override {
    if (kernels_ == nullptr) GTEST_SKIP() << test::kNoCard;
  }

  // What kv in f32 answers, all at once.
  std::vector<Tensor> expected(const AttentionSpec& spec, const AttentionWeights& weights,
                               const std::vector<Tensor>& inputs) {
    return Layer(scheme("kv"), spec, weights, {RowType::f32}, *reference_)
        .run(inputs, all_at_once());
  }
  std::vector<Tensor> expected_cross(const AttentionSpec& spec, const AttentionWeights& weights,
                                     const std::vector<Tensor>& encoded,
                                     const std::vector<Tensor>& queries) {
    return Layer(scheme("kv"), spec, weights, {RowType::f32}, *reference_)
        .run_cross(encoded, queries);
  }
  // How far off rows of this type may be; none if the kind refuses the layer.
  std::optional<double> bound(const AttentionSpec& spec, const AttentionWeights& weights,
                              RowType rows) const {
    const Fit fit = kind_.fit(spec, find_conditioning(spec, weights), {rows});
    if (!fit.possible || lacks(rows, fit)) return std::nullopt;
    return fit.predicted_error.value() * (rows == RowType::i8 ? kGroups : 1) + kArithmetic;
  }
  // i16 rows that stand alone, where there are none.
  bool lacks(RowType rows, const Fit& fit) const {
    return rows == RowType::i16 && fit.hot_bytes_per_token == 0 && !kernels_->takes(Inputs::i16);
  }
  Layer layer(const AttentionSpec& spec, const AttentionWeights& weights, RowType rows) const {
    return {kind_, spec, weights, {rows}, *kernels_};
  }

  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Kernels> reference_;
  const Scheme& kind_;
};

constexpr RowType kRowTypes[] = {RowType::f32, RowType::f16, RowType::bf16, RowType::i16,
                                 RowType::i8};

TEST_P(Equivalence, SelfAttentionOfEveryLengthAndRowType) {
  const AttentionSpec spec = square_spec(false);
  for (const bool biases : {false, true}) {
    const AttentionWeights weights = random_weights(spec, biases, 10);
    for (const int64_t length : kLengths) {
      const std::vector<Tensor> inputs = random_inputs(spec, {&length, 1}, 20);
      const std::vector<Tensor> answer = expected(spec, weights, inputs);
      for (const RowType rows : kRowTypes) {
        const std::optional<double> allowed = bound(spec, weights, rows);
        if (!allowed) continue;
        EXPECT_LE(relative_error(layer(spec, weights, rows).run(inputs, all_at_once()), answer),
                  *allowed)
            << name_of(rows) << " rows, " << length << " tokens, biases " << biases;
      }
    }
  }
}

TEST_P(Equivalence, CrossAttentionOfEveryLengthAndRowType) {
  const AttentionSpec spec = square_spec(true);
  for (const bool biases : {false, true}) {
    const AttentionWeights weights = random_weights(spec, biases, 30);
    for (const int64_t length : kLengths) {
      const std::vector<Tensor> encoded = random_inputs(spec, {&length, 1}, 40);
      const int64_t count = 3;
      const std::vector<Tensor> queries = random_inputs(spec, {&count, 1}, 50);
      const std::vector<Tensor> answer = expected_cross(spec, weights, encoded, queries);
      for (const RowType rows : kRowTypes) {
        const std::optional<double> allowed = bound(spec, weights, rows);
        if (!allowed) continue;
        EXPECT_LE(relative_error(layer(spec, weights, rows).run_cross(encoded, queries), answer),
                  *allowed)
            << name_of(rows) << " rows, " << length << " positions, biases " << biases;
      }
    }
  }
}

TEST_P(Equivalence, WidthsThatDiffer) {
  for (const bool cross : {false, true}) {
    for (const AttentionSpec& spec : odd_specs(cross)) {
      const std::optional<double> allowed =
          bound(spec, random_weights(spec, true, 60), RowType::f16);
      if (!allowed) continue;
      const AttentionWeights weights = random_weights(spec, true, 60);
      const int64_t lengths[] = {70, 3};
      const std::vector<Tensor> inputs = random_inputs(spec, lengths, 70);
      const std::vector<Tensor> queries = random_inputs(spec, {lengths + 1, 1}, 80);
      Layer tested = layer(spec, weights, RowType::f16);
      const double error =
          cross
              ? relative_error(tested.run_cross({inputs[0]}, queries),
                               expected_cross(spec, weights, {inputs[0]}, queries))
              : relative_error(tested.run(inputs, all_at_once()), expected(spec, weights, inputs));
      EXPECT_LE(error, *allowed) << "width " << spec.width << ", cross " << cross;
    }
  }
}

// Stored rows are all that a query reads, so how tokens arrive changes nothing but the order of
// f32 sums. Keys summed in another order may round to the neighbouring 16-bit number: a share
// kArithmetic / u of them moves by u, which is sqrt(kArithmetic * u) in root mean square.
TEST_P(Equivalence, ChunksAndBatchesChangeNothing) {
  const AttentionSpec spec = square_spec(false);
  const AttentionWeights weights = random_weights(spec, true, 90);
  const std::vector<Tensor> inputs = random_inputs(spec, kLengths, 100);
  for (const RowType rows : {RowType::f32, RowType::bf16}) {
    const std::optional<double> allowed = bound(spec, weights, rows);
    if (!allowed) continue;
    const double same =
        rows == RowType::f32 ? kArithmetic : std::sqrt(kArithmetic * unit_roundoff(rows));
    Layer tested = layer(spec, weights, rows);
    const std::vector<Tensor> whole = tested.run(inputs, all_at_once());
    EXPECT_LE(relative_error(tested.run(inputs, token_by_token()), whole), same);
    EXPECT_LE(relative_error(tested.run(inputs, mixed_chunks(1)), whole), same);
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_LE(relative_error(tested.run({inputs[i]}, mixed_chunks(2)), {whole[i]}), same)
          << "sequence " << i << " alone, " << name_of(rows) << " rows";
    }
    EXPECT_LE(relative_error(whole, expected(spec, weights, inputs)), *allowed);
  }
}

// Beams over one window come as one slice; each must get what it gets alone.
TEST_P(Equivalence, BeamsShareEncoderRows) {
  const AttentionSpec spec = square_spec(true);
  const AttentionWeights weights = random_weights(spec, true, 110);
  if (!bound(spec, weights, RowType::f32)) GTEST_SKIP() << "no cross attention";
  const int64_t positions[] = {65, 30};
  const int64_t beams[] = {5, 2};
  const std::vector<Tensor> encoded = random_inputs(spec, positions, 120);
  const std::vector<Tensor> queries = random_inputs(spec, beams, 130);
  Layer tested = layer(spec, weights, RowType::f32);
  const std::vector<Tensor> together = tested.run_cross(encoded, queries);
  for (size_t window = 0; window < encoded.size(); ++window) {
    for (int64_t beam = 0; beam < beams[window]; ++beam) {
      const auto alone = tested.run_cross({encoded[window]}, {queries[window].slice(beam, 1)});
      EXPECT_LE(relative_error({together[window].slice(beam, 1)}, alone), kArithmetic);
    }
  }
}

TEST_P(Equivalence, ForksDoNotDisturbEachOther) {
  const AttentionSpec spec = square_spec(false);
  const AttentionWeights weights = random_weights(spec, true, 140);
  if (!bound(spec, weights, RowType::f32)) GTEST_SKIP() << "no self-attention";
  Layer tested = layer(spec, weights, RowType::f32);
  const Tensor shared = random_tensor({70, spec.width}, 150);
  const Tensor left = random_tensor({20, spec.width}, 151);
  const Tensor right = random_tensor({20, spec.width}, 152);
  const auto alone = [&](const Tensor& rest) {
    PageTable table = tested.new_table();
    tested.append(table, shared);
    return tested.append(table, rest);
  };

  PageTable first = tested.new_table();
  tested.append(first, shared);
  PageTable second = first.fork();
  std::vector<Tensor> lefts, rights;
  for (int64_t i = 0; i < 20; ++i) {  // in turn, so that each could overwrite the other
    lefts.push_back(tested.append(first, left.slice(i, 1)));
    rights.push_back(tested.append(second, right.slice(i, 1)));
  }
  const Tensor left_alone = alone(left);
  const Tensor right_alone = alone(right);
  for (int64_t i = 0; i < 20; ++i) {
    EXPECT_LE(relative_error({lefts[static_cast<size_t>(i)]}, {left_alone.slice(i, 1)}),
              kArithmetic);
    EXPECT_LE(relative_error({rights[static_cast<size_t>(i)]}, {right_alone.slice(i, 1)}),
              kArithmetic);
  }
}

TEST_P(Equivalence, ThreadsShareALayer) {
  const AttentionSpec spec = square_spec(false);
  const AttentionWeights weights = random_weights(spec, true, 160);
  if (!bound(spec, weights, RowType::f32)) GTEST_SKIP() << "no self-attention";
  Layer tested = layer(spec, weights, RowType::f32);
  const std::vector<Tensor> inputs = random_inputs(spec, kLengths, 170);
  const std::vector<Tensor> answer = tested.run(inputs, all_at_once());
  const auto work = [&](uint32_t seed) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_LE(relative_error(tested.run(inputs, mixed_chunks(seed)), answer), kArithmetic);
    }
  };
  std::thread other(work, 1);
  work(2);
  other.join();
}

TEST_P(Equivalence, AddsToTheResidual) {
  for (const bool cross : {false, true}) {
    const AttentionSpec spec = square_spec(cross);
    const AttentionWeights weights = random_weights(spec, true, 180);
    if (!bound(spec, weights, RowType::f32)) continue;
    Layer tested = layer(spec, weights, RowType::f32);
    Device& device = kernels_->device();
    const Tensor x = random_tensor({5, spec.width}, 190).on(device);
    const Tensor residual = random_tensor({5, spec.width}, 191);
    PageTable table = tested.new_table();
    table.reserve(5);
    table.advance(5);
    Slice slice;
    slice.count = slice.rows = 5;
    slice.pages = table.pages();
    if (cross) tested.attention().store({{&slice, 1}}, x.matrix());
    std::vector<Tensor> outputs;
    for (const Tensor& start : {random_tensor({5, spec.width}, 0, 0.0F), residual}) {
      Tensor out = Tensor::from({start.values<float>(), 5 * 64}, {5, spec.width}).on(device);
      tested.attention().forward({{&slice, 1}}, x.matrix(), out.writable_matrix());
      outputs.push_back(out.on(host_device()));
    }
    for (int64_t i = 0; i < residual.elements(); ++i) {
      EXPECT_NEAR(outputs[1].values<float>()[i],
                  outputs[0].values<float>()[i] + residual.values<float>()[i], 1e-5);
    }
  }
}

TEST_P(Equivalence, IsTheTextbooksAttention) {
  const AttentionSpec spec = square_spec(false);
  const AttentionWeights weights = random_weights(spec, true, 200);
  const std::optional<double> allowed = bound(spec, weights, RowType::f32);
  if (!allowed) GTEST_SKIP() << "no self-attention";
  const Tensor x = random_tensor({67, spec.width}, 210);
  Layer tested = layer(spec, weights, RowType::f32);
  EXPECT_LE(relative_error(tested.run({x}, token_by_token()), {textbook(spec, weights, x)}),
            *allowed);
}

std::string test_name(const ::testing::TestParamInfo<Equivalence::ParamType>& info) {
  std::string name = std::get<0>(info.param) + "_" + std::get<1>(info.param);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, Equivalence,
                         ::testing::Combine(::testing::ValuesIn(test::test_device_names()),
                                            ::testing::ValuesIn(kinds_and_toy())),
                         test_name);

// Shrinks one direction of W_K's input space by `factor`: the condition number grows as much.
void squash(Tensor& weight, float factor) {
  const int64_t width = weight.size(1);
  const float share = (1.0F - factor) / static_cast<float>(width);
  for (int64_t n = 0; n < weight.size(0); ++n) {
    float* row = weight.writable<float>() + n * width;
    double sum = 0;
    for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(row[i]);
    for (int64_t i = 0; i < width; ++i) row[i] -= share * static_cast<float>(sum);
  }
}

// The refusal of k in 16 bits is no caution but a fact: forced, its output is noise, where x in the
// same type on the same weights stays within its bound.
TEST(IllConditionedKeys, Destroy16BitKRowsButNotXRows) {
  const std::unique_ptr<Kernels> kernels = make_kernels("reference", 1);
  const AttentionSpec spec = square_spec(false);
  AttentionWeights weights = random_weights(spec, true, 220);
  squash(weights.k.weight, 1e-4F);
  const Conditioning known = find_conditioning(spec, weights);
  EXPECT_GT(known.condition_k, 1e4);
  const std::vector<Tensor> inputs{random_tensor({65, spec.width}, 230)};
  const auto run = [&](const char* kind, RowType rows) {
    return Layer(scheme(kind), spec, weights, {rows}, *kernels).run(inputs, all_at_once());
  };
  const std::vector<Tensor> answer = run("kv", RowType::f32);

  const Fit refusal = scheme("k").fit(spec, known, {RowType::bf16});
  EXPECT_FALSE(refusal.possible);
  EXPECT_GT(refusal.predicted_error, 10);
  EXPECT_GT(relative_error(run("k", RowType::bf16), answer), 1.0);
  EXPECT_GT(relative_error(run("k", RowType::f16), answer), 0.1);
  EXPECT_LE(relative_error(run("x", RowType::bf16), answer), 0x1p-8);
  EXPECT_LE(relative_error(run("k", RowType::f32), answer),
            scheme("k").fit(spec, known, {RowType::f32}).predicted_error.value());
}

TEST(GroupedQueries, RunOnKvOnEveryDevice) {
  AttentionSpec spec = square_spec(false);
  spec.key_heads = 2;
  const AttentionWeights weights = random_weights(spec, true, 240);
  // The same layer with every key head written out for each of its query heads.
  AttentionSpec wide = spec;
  wide.key_heads = spec.heads;
  AttentionWeights repeated = weights;
  const auto repeat = [&](const Tensor& from) {
    std::vector<float> values;
    const int64_t head = from.elements() / spec.key_heads;
    for (int64_t i = 0; i < spec.heads; ++i) {
      const float* rows = from.values<float>() + i / 2 * head;
      values.insert(values.end(), rows, rows + head);
    }
    std::vector<int64_t> shape = from.shape();
    shape[0] *= 2;
    return Tensor::from(values, shape);
  };
  for (Tensor* tensor :
       {&repeated.k.weight, &repeated.v.weight, &repeated.k.bias, &repeated.v.bias}) {
    *tensor = repeat(*tensor);
  }
  const std::vector<Tensor> inputs{random_tensor({65, spec.width}, 250)};
  const std::unique_ptr<Kernels> reference = make_kernels("reference", 1);
  const std::vector<Tensor> answer =
      Layer(scheme("kv"), wide, repeated, {RowType::f32}, *reference).run(inputs, all_at_once());
  for (const std::string& name : test::test_device_names()) {
    const std::unique_ptr<Kernels> kernels = test::device_kernels(name, 2);
    if (kernels == nullptr) continue;
    Layer grouped(scheme("kv"), spec, weights, {RowType::f32}, *kernels);
    EXPECT_LE(relative_error(grouped.run(inputs, mixed_chunks(1)), answer), kArithmetic) << name;
  }
  for (const char* kind : {"x", "k"}) {
    EXPECT_THROW(scheme(kind).build(spec, weights, {RowType::f32}, *reference), Error);
    EXPECT_EQ(scheme(kind).fit(spec, {}, {RowType::f32}).bytes_per_token, 0);
  }
}

}  // namespace
}  // namespace slim::testing
