// Layers of language models: rotation, norms, slopes, windows and caps, over rows that stand alone
// and over sealed ones. Every kind against the textbook in double; then what the reading rule
// promises: chunks, batches, forks and rollbacks change nothing but f32 rounding, and the same f32
// rows give the same sealed bytes.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <thread>
#include <tuple>

#include "attention/derived.h"
#include "attention/harness.h"
#include "attention/row_fit.h"
#include "attention/textbook.h"
#include "kernels/staged_kernels.h"
#include "slim/error.h"

namespace slim::testing {
namespace {

constexpr double kArithmetic = 64 * 0x1p-24;

std::shared_ptr<const Rotation> rotation(int64_t width, bool interleaved) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < width / 2; ++i) {
    frequencies.push_back(
        std::pow(100.0, -2.0 * static_cast<double>(i) / static_cast<double>(width)));
  }
  return std::make_shared<Rotation>(width, interleaved, frequencies, 1.1, 500);
}

AttentionSpec plain() {
  AttentionSpec spec;
  spec.width = 64;
  spec.heads = spec.key_heads = 4;
  spec.head_width = 16;
  spec.scale = 0.25F;
  return spec;
}

AttentionSpec rotary(int64_t width = 16, bool interleaved = false) {
  AttentionSpec spec = plain();
  spec.rotary = true;
  spec.rotations = {rotation(width, interleaved)};
  return spec;
}

struct Case {
  std::string name;
  AttentionSpec spec;
  bool biases = false;
};

std::vector<Case> cases() {
  std::vector<Case> all{
      {"plain", plain()},     {"halves", rotary()},       {"interleaved", rotary(16, true)},
      {"partial", rotary(8)}, {"biases", rotary(), true}, {"plain_biases", plain(), true}};
  const auto add = [&](const char* name, AttentionSpec spec, auto&& change) {
    change(spec);
    all.push_back({name, spec});
  };
  add("row_norm", rotary(), [](AttentionSpec& spec) { spec.key_norm = KeyNorm::row; });
  add("head_norm", rotary(), [](AttentionSpec& spec) {
    spec.key_norm = KeyNorm::head;
    spec.key_norm_kind = NormKind::layer;
  });
  add("slopes", plain(), [](AttentionSpec& spec) {
    spec.slopes = {0.25F, 0.0625F, 0.015625F, 0.00390625F};
  });
  add("window", rotary(), [](AttentionSpec& spec) { spec.window = 50; });
  add("long_window", plain(), [](AttentionSpec& spec) { spec.window = 100; });
  add("cap", rotary(), [](AttentionSpec& spec) { spec.cap = 1.5F; });
  add("clip", rotary(), [](AttentionSpec& spec) { spec.clip = 0.9F; });
  add("grouped", rotary(), [](AttentionSpec& spec) { spec.key_heads = 2; });
  add("narrow", plain(), [](AttentionSpec& spec) { spec.width = 96; });
  return all;
}

// Those that differ in what is stored: for tests of pages, where what is read matters less.
std::vector<Case> stored_cases() {
  std::vector<Case> some;
  for (const Case& tested : cases()) {
    const std::string& name = tested.name;
    if (name == "plain" || name == "halves" || name == "row_norm" || name == "grouped") {
      some.push_back(tested);
    }
  }
  return some;
}

AttentionWeights weights_of(const Case& tested) {
  AttentionWeights weights = random_weights(tested.spec, tested.biases, 300);
  if (tested.spec.key_norm == KeyNorm::none) return weights;
  const int64_t width = tested.spec.heads * tested.spec.head_width;
  weights.q_gain = random_tensor({width}, 310);
  weights.k_gain = random_tensor({width}, 311);
  if (tested.spec.key_norm_kind == NormKind::layer) weights.k_offset = random_tensor({width}, 312);
  return weights;
}

// Found once for all tests.
const Conditioning& known(const Case& tested) {
  static std::map<std::string, Conditioning> found;
  const auto [entry, added] = found.try_emplace(tested.name);
  if (added) entry->second = find_conditioning(tested.spec, weights_of(tested));
  return entry->second;
}

class SealedRows : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  SealedRows()
      : kernels_(test::device_kernels(std::get<0>(GetParam()), 2)),
        kind_(scheme(std::get<1>(GetParam()))) {}

  void SetUp() override {
    if (kernels_ == nullptr) GTEST_SKIP() << test::kNoCard;
  }

  // How far off the output may be; none if the kind refuses such rows. For kv and x the predicted
  // error is relative to the largest number that shares a scale, which of 64 normal numbers is 2.4
  // times their root mean square. (Measured, of the prediction: kv 1.05, x 0.85 and 1.5 in groups
  // of i8, k 0.6 where the rounding of M is the larger part, else 0.3.)
  std::optional<double> bound(const Case& tested, const RowChoice& rows) const {
    const Fit fit = kind_.fit(tested.spec, known(tested), rows);
    if (!fit.possible) return std::nullopt;
    // i16 rows that stand alone, where there are none.
    const bool alone = rows.type == RowType::i16 && fit.hot_bytes_per_token == 0;
    if (alone && !kernels_->takes(Inputs::i16)) return std::nullopt;
    return 2 * fit.predicted_error.value() + kArithmetic;
  }
  // Where rows may differ in their last bit, because products of other shapes sum in another order,
  // a share of them rounds to the next integer.
  double same(double bound) const {
    return kernels_->name() == "reference" ? kArithmetic : kArithmetic + bound / 4;
  }
  Layer layer(const Case& tested, const RowChoice& rows) const {
    return {kind_, tested.spec, weights_of(tested), rows, *kernels_};
  }

  std::unique_ptr<Kernels> kernels_;
  const Scheme& kind_;
};

constexpr RowType kTypes[] = {RowType::f32, RowType::bf16, RowType::i16, RowType::i12, RowType::i10,
                              RowType::i8,  RowType::i6,   RowType::i5,  RowType::i4};

TEST_P(SealedRows, FollowTheTextbookInEveryTypeAndFeature) {
  for (const Case& tested : cases()) {
    const Tensor x = random_tensor({150, tested.spec.width}, 320);
    const std::vector<Tensor> answer{textbook(tested.spec, weights_of(tested), x)};
    const bool every_type = tested.name == "plain" || tested.name == "halves";
    for (const RowType type : kTypes) {
      const std::optional<double> allowed = bound(tested, {type});
      if (!allowed || !(every_type || type == RowType::f32 || type == RowType::i10)) continue;
      const double error = relative_error(layer(tested, {type}).run({x}, chunks_of(90)), answer);
      EXPECT_LE(error, *allowed) << tested.name << ", " << name_of(type) << " rows";
      if (!is_float(type) && tested.spec.window == 0) {
        EXPECT_GT(error, *allowed / 1000) << tested.name << ": was anything sealed?";
      }
    }
  }
}

// Chunks of 1 and 7 take the fused path of k, the others the rebuilt one.
TEST_P(SealedRows, ChunksAndBatchesChangeNothing) {
  const int64_t lengths[] = {1, 64, 130};
  for (const Case& tested : cases()) {
    const std::optional<double> allowed = bound(tested, {RowType::i16});
    if (!allowed) continue;
    std::vector<Tensor> inputs;
    for (const int64_t length : lengths) {
      inputs.push_back(random_tensor({length, tested.spec.width}, 330));
    }
    Layer layer = this->layer(
        tested, kind_.name() == "k" ? RowChoice{RowType::i16, 8, 16} : RowChoice{RowType::i16});
    const std::vector<Tensor> whole = layer.run(inputs, all_at_once());
    for (const int64_t size : {1, 7, 64, 100}) {
      EXPECT_LE(relative_error(layer.run(inputs, chunks_of(size)), whole), same(*allowed))
          << tested.name << ", chunks of " << size;
    }
    EXPECT_LE(relative_error(layer.run(inputs, mixed_chunks(1)), whole), same(*allowed));
    for (const size_t i : {1, 2}) {
      EXPECT_LE(relative_error(layer.run({inputs[i]}, mixed_chunks(2)), {whole[i]}), same(*allowed))
          << tested.name << ", alone";
    }
  }
}

TEST_P(SealedRows, SealTheSameBytesFromTheSameRows) {
  for (const Case& tested : stored_cases()) {
    if (kernels_->name() != "reference" || !bound(tested, {RowType::i10})) continue;
    Layer layer = this->layer(tested, {RowType::i10});
    const Tensor x = random_tensor({192, tested.spec.width}, 340);
    std::vector<std::vector<std::byte>> first;
    for (const int64_t size : {192, 1, 7, 100}) {
      PageTable table = layer.new_table();
      for (int64_t row = 0; row < 192; row += size) {
        layer.append(table, x.slice(row, std::min(size, 192 - row)));
      }
      EXPECT_EQ(table.hot(), nullptr) << "nothing is hot at a page's end";
      std::vector<std::vector<std::byte>> pages;
      for (int64_t page = 0; page < 3; ++page) pages.push_back(layer.page_bytes(table, page));
      if (first.empty()) first = pages;
      EXPECT_TRUE(pages == first) << tested.name << ", chunks of " << size;
    }
  }
}

TEST_P(SealedRows, ForksDoNotDisturbEachOther) {
  for (const Case& tested : stored_cases()) {
    const std::optional<double> allowed = bound(tested, {RowType::i16});
    if (!allowed) continue;
    Layer layer = this->layer(tested, {RowType::i16});
    const Tensor shared = random_tensor({70, tested.spec.width}, 350);
    const Tensor rests[] = {random_tensor({70, tested.spec.width}, 351),
                            random_tensor({70, tested.spec.width}, 352)};
    std::vector<PageTable> tables;
    tables.push_back(layer.new_table());
    layer.append(tables[0], shared);
    tables.push_back(tables[0].fork());
    std::vector<Tensor> outputs[2];
    for (int64_t row = 0; row < 70; row += 10) {  // in turn, so that each could overwrite the other
      for (size_t i = 0; i < 2; ++i) {
        outputs[i].push_back(layer.append(tables[i], rests[i].slice(row, 10)));
      }
    }
    for (size_t i = 0; i < 2; ++i) {
      PageTable table = layer.new_table();
      layer.append(table, shared);
      const Tensor alone = layer.append(table, rests[i]);
      for (int64_t part = 0; part < 7; ++part) {
        EXPECT_LE(
            relative_error({outputs[i][static_cast<size_t>(part)]}, {alone.slice(part * 10, 10)}),
            same(*allowed))
            << tested.name;
      }
    }
  }
}

// Back within the open page or to a page's end: as if the rows had never been. Into a sealed page:
// rows are rounded a second time when the page is sealed again, no more.
TEST_P(SealedRows, RollBack) {
  for (const Case& tested : stored_cases()) {
    const std::optional<double> allowed = bound(tested, {RowType::i12});
    if (!allowed) continue;
    Layer layer = this->layer(tested, {RowType::i12});
    const Tensor x = random_tensor({200, tested.spec.width}, 360);
    const std::vector<Tensor> answer{textbook(tested.spec, weights_of(tested), x)};
    const std::vector<Tensor> whole = layer.run({x}, all_at_once());
    for (const int64_t back : {135, 128, 100, 64, 1, 0}) {
      PageTable table = layer.new_table();
      layer.append(table, x.slice(0, 140));
      layer.truncate(table, back);
      EXPECT_EQ(table.rows(), back);
      const Tensor rest = layer.append(table, x.slice(back, 200 - back));
      const bool exact = back == 135 || back % 64 == 0;
      EXPECT_LE(relative_error({rest}, {(exact ? whole : answer)[0].slice(back, 200 - back)}),
                exact ? same(*allowed) : 2 * *allowed)
          << tested.name << ", back to " << back;
    }
  }
}

TEST_P(SealedRows, SpillAndShapingKeepTheirPromise) {
  if (kind_.name() != "k") GTEST_SKIP() << "only k has them";
  for (const Case& tested : cases()) {
    if (!tested.spec.rotary) continue;
    const Tensor x = random_tensor({150, tested.spec.width}, 370);
    const std::vector<Tensor> answer{textbook(tested.spec, weights_of(tested), x)};
    for (const RowChoice& rows : {RowChoice{RowType::i10, 8, 0}, RowChoice{RowType::i8, 16, 64}}) {
      const std::optional<double> allowed = bound(tested, rows);
      if (!allowed) continue;
      for (const int64_t chunk : {10, 90}) {
        EXPECT_LE(relative_error(layer(tested, rows).run({x}, chunks_of(chunk)), answer), *allowed)
            << tested.name << ", r = " << rows.spill << ", rank " << rows.rank;
      }
    }
  }
}

// What a layer needs beside pages depends on its tokens, not on what was cached before. (The CPU's
// kernels have scratch of their own, by split of the context.)
TEST_P(SealedRows, ScratchDoesNotGrowWithTheContext) {
  if (kernels_->name() != "reference") GTEST_SKIP() << "kernels without scratch show it";
  const Case tested{kind_.name() == "x" ? "plain" : "halves",
                    kind_.name() == "x" ? plain() : rotary()};
  Layer layer = this->layer(tested, {RowType::i12});
  const auto work = [&] {
    PageTable table = layer.new_table();
    const auto scratch_after = [&](int64_t rows) {
      while (table.rows() < rows) {  // many queries, then few
        layer.append(table, random_tensor({40, 64}, 380));
        layer.append(table, random_tensor({8, 64}, 381));
      }
      layer.trim();
      return host_device().allocated_bytes() - table.held_bytes();
    };
    const int64_t before = scratch_after(340);
    EXPECT_EQ(scratch_after(440), before);
  };
  std::thread(work).join();  // scratch is kept by threads
}

std::string test_name(const ::testing::TestParamInfo<SealedRows::ParamType>& info) {
  return std::get<0>(info.param) + "_" + std::get<1>(info.param);
}

INSTANTIATE_TEST_SUITE_P(All, SealedRows,
                         ::testing::Combine(::testing::Values("reference", "cpu", "island", "cuda"),
                                            ::testing::Values("kv", "x", "k")),
                         test_name);

}  // namespace
}  // namespace slim::testing
