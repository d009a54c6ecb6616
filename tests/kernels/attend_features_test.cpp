// Parity of attention in all that it can do beside softmax, feature by feature and together.
#include <algorithm>
#include <cmath>
#include <limits>

#include "fmt/format.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

enum class Kind { k, kv, x };

struct Features {
  std::string name;
  int64_t rotated = 0;  // columns of a head; 0: no rotation
  bool interleaved = false;
  bool gain = false;
  bool bias = false;
  bool factors = false;
  bool slopes = false;
  int64_t reach = 0;  // of biases by distance; 0: none
  float cap = 0.0F;
  int64_t window = 0;
  bool lse = false;
  bool merge = false;
  bool causal = true;
};

// What attention is asked for: of 6 heads of 40 columns, k with 24 columns of spill.
struct Case {
  Kind kind = Kind::kv;
  RowFormat format;           // of keys, in all but its width
  RowFormat values;           // the same of values, for kv
  int64_t heads_per_key = 1;  // for kv
  Features features;

  static constexpr int64_t kHeads = 6;
  static constexpr int64_t kHeadWidth = 40;
  int64_t key_heads() const { return kHeads / heads_per_key; }
  int64_t row_width() const {
    const int64_t columns = key_heads() * kHeadWidth;
    return kind == Kind::k ? columns + 48 : kind == Kind::x ? 64 : (columns + 31) / 32 * 32;
  }
  int64_t key_width() const { return kind == Kind::x ? row_width() : kHeadWidth; }
  int64_t key_stride() const { return kind == Kind::x ? 0 : kHeadWidth; }
  int64_t value_width() const { return kind == Kind::kv ? kHeadWidth : row_width(); }
  int64_t value_stride() const { return kind == Kind::kv ? kHeadWidth : 0; }
  int64_t scored() const { return kind == Kind::x ? row_width() : key_heads() * kHeadWidth; }
  bool shared() const { return kind != Kind::kv; }
};

struct Part {
  int64_t count, rows;
  int64_t base = 0;
  int64_t ahead = 0;  // positions between the last row and the last token
};
const std::vector<Part> kParts = {{1, 1}, {1, 64},   {7, 7, 128}, {3, 130},     {1, 0},
                                  {0, 9}, {33, 100}, {5, 2},      {1, 260, 64}, {2, 150, 0, 13}};
const std::vector<Part> kFewParts = {{1, 1}, {3, 130, 64}, {2, 150}};

std::vector<float> random_floats(unsigned seed, int64_t count, float size, float around = 0.0F) {
  const TestMatrix values = TestMatrix::random(seed, DType::f32, 1, count);
  std::vector<float> result(values.floats(), values.floats() + count);
  for (float& value : result) value = around + size * value;
  return result;
}

Rotation make_rotation(const Features& features, double base, double magnitude) {
  std::vector<double> frequencies;
  const int64_t pairs = std::max<int64_t>(features.rotated / 2, 1);
  for (int64_t i = 0; i < pairs; ++i) {
    frequencies.push_back(std::pow(base, -static_cast<double>(i) / static_cast<double>(pairs)));
  }
  return {2 * pairs, features.interleaved, frequencies, magnitude, 4096};
}

// A call with all its memory.
class Scene {
 public:
  enum PlaneIndex : size_t { kKeys, kValues, kFactors, kMagnitudes };

  Scene(const Case& what, const std::vector<Part>& parts)
      : case_(what),
        rotations_{make_rotation(what.features, 10000.0, 1.0),
                   make_rotation(what.features, 500.0, 1.125)},
        gain_(random_floats(1, what.scored(), 0.5F, 1.0F)),
        bias_(random_floats(2, what.scored(), 0.5F)),
        slopes_(random_floats(3, Case::kHeads, 0.05F, 0.06F)),
        biases_(random_floats(4, Case::kHeads * (2 * what.features.reach + 1), 3.0F)),
        queries_(make_queries(what, parts)),
        before_(TestMatrix::random(5, DType::f32, queries_.rows(),
                                   Case::kHeads * what.value_width(), 3)),
        lse_before_(
            TestMatrix::random(6, DType::f32, queries_.rows(), Case::kHeads, 2).map([](float v) {
              return 3.0F + 2.0F * v;
            })) {
    for (int64_t t = 0; t < queries_.rows(); t += 3) lse_before_.set(t, t % 6, -kInfinity);
    int64_t first = 1;
    for (const Part& part : parts) {
      add_sequence(part, static_cast<unsigned>(first));
      Slice slice = sequences_.back().slice(first, part.count);
      slice.base = part.base;
      slice.position = std::max<int64_t>(0, part.base + part.rows - part.count + part.ahead);
      slice.regime = static_cast<int32_t>(slices_.size() % 2);
      slices_.push_back(slice);
      first += part.count + 1;
    }
  }

  struct Result {
    TestMatrix mixed;
    TestMatrix lse;
  };
  Result run(Kernels& kernels, bool as_shared) const {
    return run(kernels, as_shared, kValues, before_);
  }

  // attention_tolerance of the magnitudes that the reference mixes, and of an lse the same share.
  Result bounds(Kernels& reference) const {
    Result result = run(reference, false, kMagnitudes, before_.magnitudes());
    for (const Slice& slice : slices_) {
      for (int64_t t = slice.first; t < slice.first + slice.count; ++t) {
        for (int64_t head = 0; head < Case::kHeads; ++head) {
          const double share =
              attention_tolerance(slice.rows + 1, case_.key_width(), score_size(slice, t, head));
          for (int64_t c = 0; c < case_.value_width(); ++c) {
            const int64_t column = head * case_.value_width() + c;
            // What is zero but for merging keeps a bound of its own.
            result.mixed.set(t, column,
                             static_cast<float>(share * result.mixed.at(t, column)) + 1e-30F);
          }
          const float lse = std::fabs(result.lse.at(t, head));
          const bool finite = std::isfinite(lse);
          result.lse.set(t, head, finite ? static_cast<float>(share) * (1.0F + lse) : 1.0F);
        }
      }
    }
    result.lse = result.lse.map([](float v) { return std::isfinite(v) ? std::fabs(v) : 1.0F; });
    return result;
  }

  // Results that merging adds to.
  void start_from(const Result& before) {
    before_ = before.mixed;
    lse_before_ = before.lse;
  }

  TestMatrix& queries() { return queries_; }
  std::vector<float>& slopes() { return slopes_; }
  std::vector<Slice>& slices() { return slices_; }
  std::vector<PagedRows>& sequences() { return sequences_; }
  // Overwrites one value of an f32 plane.
  void change(PlaneIndex plane, size_t sequence, int64_t row, size_t column, float value) {
    std::vector<float> values = sequences_.at(sequence).row(plane, row);
    values.at(column) = value;
    sequences_.at(sequence).set_row(plane, row, values.data());
    if (plane == kFactors) return;
    for (float& v : values) v = std::fabs(v);
    if (plane == kValues || case_.shared()) {
      sequences_.at(sequence).set_row(kMagnitudes, row, values.data());
    }
  }

 private:
  static TestMatrix make_queries(const Case& what, const std::vector<Part>& parts) {
    int64_t tokens = 1;
    for (const Part& part : parts) tokens += part.count + 1;
    return TestMatrix::random(7, DType::f32, tokens, Case::kHeads * what.key_width(), 3)
        .map([](float v) { return 3.0F * v; });
  }

  static RowFormat of_width(RowFormat format, int64_t width) {
    format.width = width;
    return format;
  }

  void fill(PagedRows& pages, size_t plane, unsigned seed) const {
    const RowFormat& format = pages.plane(plane).format;
    const int64_t rows = (pages.rows() + kPageRows - 1) / kPageRows * kPageRows;
    const TestMatrix source = TestMatrix::random(seed, DType::f32, rows, format.width);
    for (int64_t row = 0; row < pages.rows(); ++row) {
      if (!format.sealed()) {
        pages.set_row(plane, row, source.view().row<float>(row));
      } else if (row % kPageRows == 0) {
        seal_page(format, source.view().row<float>(row), nullptr,
                  pages.sealed(plane, row / kPageRows));
      }
    }
  }

  void add_sequence(const Part& part, unsigned seed) {
    const int64_t width = case_.row_width();
    const RowFormat keys = of_width(case_.format, width);
    const RowFormat values = case_.shared() ? keys : of_width(case_.values, width);
    const RowFormat formats[] = {keys, values, {DType::f32, 1}, {DType::f32, width}};
    sequences_.emplace_back(formats, part.rows);
    PagedRows& pages = sequences_.back();
    fill(pages, kKeys, seed);
    fill(pages, kValues, case_.shared() ? seed : seed + 1000);
    for (int64_t row = 0; row < part.rows; ++row) {
      const float factor = 0.5F + static_cast<float>(row * 7 % 11) * 0.1F;
      pages.set_row(kFactors, row, &factor);
      std::vector<float> magnitudes = pages.row(kValues, row);
      for (float& value : magnitudes) value = std::fabs(value);
      pages.set_row(kMagnitudes, row, magnitudes.data());
    }
  }

  float scale() const { return 1.0F / std::sqrt(static_cast<float>(case_.key_width())); }

  // The products of a score by magnitude: keys are at most 1.01, times gain and plus bias 2.1, and
  // turning a pair makes its larger number at most 1.42 of what it was. A rotation costs a key and
  // a query a few roundings beside those of the sum: half as much again is for these.
  double score_size(const Slice& slice, int64_t token, int64_t head) const {
    const Features& f = case_.features;
    double sum = 0.0;
    for (int64_t c = 0; c < case_.key_width(); ++c) {
      sum += std::fabs(static_cast<double>(queries_.at(token, head * case_.key_width() + c)));
    }
    double size = static_cast<double>(scale()) * sum * (f.gain || f.bias ? 2.1 : 1.01);
    if (f.rotated > 0) size *= 2.0 * 1.27 * 1.5;
    if (f.factors) size *= 1.5;
    // A slope's part of the score is rounded with it.
    if (f.slopes) size += 0.11 * static_cast<double>(slice.rows + 80);
    if (f.reach > 0) size += 3.0;
    return size;
  }

  Result run(Kernels& kernels, bool as_shared, PlaneIndex values, const TestMatrix& before) const {
    const Features& f = case_.features;
    Result result{before, lse_before_};
    const PagedRows& any = sequences_.front();
    const bool same = case_.shared() && values == kValues;
    const Plane factors = any.plane(kFactors);
    Attend a{.queries = queries_.view(),
             .mixed = result.mixed.view(),
             .slices = slices_,
             .keys = any.plane(kKeys),
             .values = same ? any.plane(kKeys) : any.plane(values),
             .heads = Case::kHeads,
             .key_width = case_.key_width(),
             .key_stride = case_.key_stride(),
             .value_width = case_.value_width(),
             .value_stride = case_.value_stride(),
             .heads_per_key = case_.heads_per_key,
             .scale = scale(),
             .causal = f.causal,
             .key_gain = f.gain ? gain_.data() : nullptr,
             .key_bias = f.bias ? bias_.data() : nullptr,
             .key_factors = f.factors ? &factors : nullptr,
             .slopes = f.slopes ? slopes_.data() : nullptr,
             .bias = {f.reach > 0 ? biases_.data() : nullptr, f.reach},
             .cap = f.cap,
             .window = f.window,
             .merge = f.merge};
    const Rotation* const regimes[] = {&rotations_[0], &rotations_[1]};
    if (f.rotated > 0) a.rotations = regimes;
    if (f.lse || f.merge) a.lse = result.lse.view();
    if (as_shared) {
      kernels.attend_shared(a);
    } else {
      kernels.attend_pair(a);
    }
    return result;
  }

  Case case_;
  Rotation rotations_[2];
  std::vector<float> gain_, bias_, slopes_, biases_;
  TestMatrix queries_, before_, lse_before_;
  std::vector<PagedRows> sequences_;
  std::vector<Slice> slices_;
};

std::string name_of_case(const Case& c) {
  const char* kinds[] = {"k", "kv", "x"};
  const auto name = [](const RowFormat& f) {
    if (!f.sealed()) return std::string(name_of(f.type));
    return fmt::format("{} bits in {}", f.bits,
                       f.scaling == Scaling::channel ? "channels" : "groups");
  };
  return fmt::format("{} of {} (values {}), {} heads a key, {}", kinds[static_cast<int>(c.kind)],
                     name(c.format), name(c.values), c.heads_per_key, c.features.name);
}

std::vector<Features> all_features() {
  return {{.name = "plain"},
          {.name = "lse", .lse = true},
          {.name = "merge", .merge = true},
          {.name = "turned halves", .rotated = 40},
          {.name = "turned neighbours", .rotated = 40, .interleaved = true},
          {.name = "turned in part", .rotated = 24},
          {.name = "turned neighbours in part", .rotated = 10, .interleaved = true},
          {.name = "bias", .bias = true},
          {.name = "turned with bias", .rotated = 40, .bias = true},
          {.name = "turned with gain and factors", .rotated = 40, .gain = true, .factors = true},
          {.name = "factors", .factors = true},
          {.name = "cap", .cap = 2.0F},
          {.name = "wide cap", .cap = 50.0F},
          {.name = "slopes", .slopes = true},
          {.name = "biases", .reach = 24},
          {.name = "far biases", .reach = 150, .causal = false},
          {.name = "capped and biased", .reach = 1, .cap = 2.0F},
          {.name = "window of 1", .window = 1},
          {.name = "window of 5", .window = 5, .lse = true},
          {.name = "window of 70", .rotated = 40, .window = 70},
          {.name = "full", .causal = false},
          {.name = "full window", .window = 30, .merge = true, .causal = false},
          // Everything but going back to full attention.
          {"everything", 32, true, true, true, true, true, 40, 5.0F, 150, true, true}};
}

RowFormat sealed(int bits, Scaling scaling = Scaling::channel) {
  return {DType::f32, 0, bits, scaling};
}

class AttendFeatures : public ParityTest {
 protected:
  void expect_parity(const Scene& scene, const Case& what, const std::string& more = "") {
    const Scene::Result expected = scene.run(*reference_, false);
    const Scene::Result bounds = scene.bounds(*reference_);
    for (const bool as_shared : {false, true}) {
      if (as_shared && !what.shared()) continue;
      const Scene::Result actual = scene.run(*kernels_, as_shared);
      ASSERT_TRUE(agrees(actual.mixed, expected.mixed, bounds.mixed))
          << name_of_case(what) << (as_shared ? ", shared " : ", as a pair ") << more;
      ASSERT_TRUE(agrees(actual.lse, expected.lse, bounds.lse))
          << "lse of " << name_of_case(what) << ' ' << more;
    }
  }
  void expect_parity(const Case& what, const std::vector<Part>& parts) {
    expect_parity(Scene(what, parts), what);
  }
};

TEST_P(AttendFeatures, EveryFeatureOfEveryKind) {
  for (const Features& features : all_features()) {
    const RowFormat f32{DType::f32}, bf16{DType::bf16};
    expect_parity({Kind::k, f32, f32, 1, features}, kParts);
    expect_parity({Kind::k, sealed(12), f32, 1, features}, kParts);
    expect_parity({Kind::kv, f32, f32, 1, features}, kParts);
    expect_parity({Kind::kv, bf16, bf16, 3, features}, kParts);
    expect_parity({Kind::kv, sealed(8), sealed(6, Scaling::group), 1, features}, kParts);
    expect_parity({Kind::kv, sealed(5, Scaling::group), bf16, 2, features}, kParts);
    expect_parity({Kind::x, sealed(10), f32, 1, features}, kParts);
    expect_parity({Kind::x, bf16, f32, 1, features}, kParts);
  }
}

TEST_P(AttendFeatures, EveryFormatOfEveryKind) {
  const std::vector<Features> features = all_features();
  std::vector<RowFormat> formats = {{DType::f32}, {DType::f16}, {DType::bf16}, {DType::i8}};
  if (has_rows(*kernels_, DType::i16)) formats.push_back({DType::i16});
  for (const int bits : {16, 12, 10, 8, 6, 5, 4}) {
    formats.push_back(sealed(bits));
    formats.push_back(sealed(bits, Scaling::group));
  }
  for (const RowFormat& format : formats) {
    for (const Features& used : {features.front(), features[5], features.back()}) {
      for (const Kind kind : {Kind::k, Kind::kv, Kind::x})
        expect_parity({kind, format, format, 1, used}, kFewParts);
      expect_parity({Kind::kv, format, {DType::f32}, 6, used}, kFewParts);
      expect_parity({Kind::kv, {DType::f32}, format, 2, used}, kFewParts);
    }
  }
}

// As a decoding step reads its rows: whole sealed pages first, then those of the page at hand.
TEST_P(AttendFeatures, PartsMergeIntoTheWhole) {
  const Case what{
      Kind::k, {DType::f32}, {DType::f32}, 1, {.name = "parts", .rotated = 40, .lse = true}};
  const std::vector<Part> whole = {{3, 150}, {1, 129}};
  const Scene::Result expected = Scene(what, whole).run(*kernels_, true);
  Case first = what;
  first.features.causal = false;
  Scene earlier(first, whole);
  for (Slice& slice : earlier.slices()) slice.rows = 128;
  Case second = what;
  second.features.merge = true;
  Scene later(second, whole);
  for (Slice& slice : later.slices()) {
    slice.pages += 2;
    slice.rows -= 128;
    slice.base += 128;
  }
  const Scene::Result got = earlier.run(*kernels_, true);
  later.start_from(got);
  const Scene::Result merged = later.run(*kernels_, true);
  const Scene::Result bounds = Scene(what, whole).bounds(*reference_);
  EXPECT_TRUE(agrees(merged.mixed, expected.mixed, bounds.mixed));
  EXPECT_TRUE(agrees(merged.lse, expected.lse, bounds.lse));
}

// Prompts: blocks of tokens and of heads.
TEST_P(AttendFeatures, ManyTokens) {
  const Features turned{.name = "turned", .rotated = 40, .lse = true, .merge = true};
  const Features windowed{.name = "windowed", .rotated = 24, .reach = 70, .window = 100};
  for (const Features& features : {turned, windowed}) {
    for (const std::vector<Part>& parts :
         {std::vector<Part>{{300, 300}}, {{129, 200, 64}, {1, 40}, {64, 64}}}) {
      for (const Case& what : {Case{Kind::kv, {DType::f32}, {DType::f32}, 1, features},
                               Case{Kind::kv, {DType::bf16}, {DType::bf16}, 3, features},
                               Case{Kind::k, {DType::f32}, {DType::f32}, 1, features}}) {
        expect_parity(Scene(what, parts), what, "many tokens");
      }
    }
  }
}

// What one query may not see does not reach it through any feature, and what it sees does.
TEST_P(AttendFeatures, NaNReachesThoseWhoSeeIt) {
  const std::vector<Part> parts = {{20, 150}, {3, 80}};
  const Features plain{.name = "NaN", .rotated = 40, .window = 90, .lse = true};
  for (const Kind kind : {Kind::k, Kind::kv}) {
    const Case what{kind, {DType::f32}, {DType::f32}, 1, plain};
    for (const int64_t row : {0, 41, 45, 63, 64, 135, 149}) {
      for (const float bad : {kNaN, kInfinity}) {
        if (kind == Kind::k && std::isinf(bad)) continue;  // 0 * -infinity is anybody's guess
        Scene scene(what, parts);
        scene.change(Scene::kKeys, 0, row, 3, bad);
        if (kind == Kind::k) scene.change(Scene::kValues, 0, row, 3, bad);
        expect_parity(scene, what, fmt::format("{} in key row {}", bad, row));
        scene = Scene(what, parts);
        scene.change(Scene::kFactors, 0, row, 0, bad);  // which nobody reads
        if (kind == Kind::kv) scene.change(Scene::kValues, 0, row, 3, bad);
        expect_parity(scene, what, fmt::format("{} in value row {}", bad, row));
      }
    }
  }
}

// The NaN is in a column of spill, which nobody scores, and in a page that weighs nothing.
TEST_P(AttendFeatures, NaNOfASealedChannelReachesAllHeads) {
  for (const RowFormat& format : {sealed(8), sealed(12)}) {
    const Case what{Kind::k, format, format, 1, {.name = "NaN", .slopes = true}};
    Scene scene(what, {{1, 200}});
    for (float& slope : scene.slopes()) slope = -10.0F;  // the earliest rows take it all
    const RowFormat wide{DType::f32, what.row_width(), format.bits};
    TestMatrix rows = TestMatrix::random(3, DType::f32, kPageRows, wide.width);
    rows.set(5, wide.width - 1, kNaN);
    seal_page(wide, rows.floats(), nullptr, scene.sequences()[0].sealed(Scene::kKeys, 1));
    const TestMatrix mixed = scene.run(*kernels_, true).mixed;
    for (int64_t head = 0; head < Case::kHeads; ++head) {
      EXPECT_TRUE(std::isnan(mixed.at(1, (head + 1) * wide.width - 1)));
      EXPECT_TRUE(std::isfinite(mixed.at(1, head * wide.width)));
    }
  }
}

// Pages whose weights vanish are skipped; what is left is the same.
TEST_P(AttendFeatures, WhatVanishesDoesNotCount) {
  for (const float size : {1.0F, 30.0F, 300.0F}) {
    for (const Kind kind : {Kind::k, Kind::kv}) {
      const Case what{
          kind, sealed(10), sealed(8), 1, {.name = "peaks", .rotated = 40, .lse = true}};
      Scene scene(what, {{1, 900}, {3, 400}});
      scene.queries() = scene.queries().map([&](float v) { return size * v; });
      expect_parity(scene, what, fmt::format("queries of size {}", size));
    }
  }
}

TEST_P(AttendFeatures, ScoresOfMinusInfinityAlone) {
  const Case what{Kind::kv, {DType::f32}, {DType::f32}, 1, {.name = "-infinity", .lse = true}};
  Scene scene(what, {{1, 3}});
  for (int64_t head = 0; head < Case::kHeads; ++head) scene.queries().set(1, head * 40, 1.0F);
  for (int64_t row = 0; row < 3; ++row) scene.change(Scene::kKeys, 0, row, 0, -kInfinity);
  expect_parity(scene, what);
  EXPECT_TRUE(std::isnan(scene.run(*kernels_, false).lse.at(1, 0)));
}

// Bits depend on neither threads nor company, with all features in use.
TEST_P(AttendFeatures, BitsDependOnNeitherThreadsNorCompany) {
  for (const Case& what : {Case{Kind::k, sealed(12), {}, 1, all_features().back()},
                           Case{Kind::kv, sealed(8), {DType::bf16}, 2, all_features()[16]}}) {
    Scene scene(what, {{1, 700}, {130, 200}, {3, 400, 64}});
    const Scene::Result together = scene.run(*test::test_kernels(GetParam().name, 1), false);
    EXPECT_EQ(scene.run(*kernels_, false).mixed, together.mixed) << what.features.name;
    for (const Slice& slice : std::vector<Slice>(scene.slices())) {
      scene.slices() = {slice};
      const Scene::Result alone = scene.run(*kernels_, false);
      for (int64_t t = slice.first; t < slice.first + slice.count; ++t) {
        for (int64_t c = 0; c < alone.mixed.columns(); ++c) {
          ASSERT_EQ(alone.mixed.at(t, c), together.mixed.at(t, c)) << what.features.name;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttendFeatures, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
