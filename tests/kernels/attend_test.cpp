// Parity of attend_pair and attend_shared over paged rows, in the forms that the cache kinds use.
#include <algorithm>
#include <limits>

#include "fmt/format.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// How heads lie in rows.
struct Form {
  std::string name;
  RowFormat keys;
  RowFormat values;
  bool shared = false;  // values are the key rows themselves
  int64_t heads = 1;
  int64_t heads_per_key = 1;
  int64_t key_width = 0, key_stride = 0;
  int64_t value_width = 0, value_stride = 0;
  bool causal = true;
};

// kv: a key and a value of one head's width for every key head.
Form pair_form(DType type, int64_t heads, int64_t width, int64_t heads_per_key = 1) {
  const RowFormat format{type, heads / heads_per_key * width};
  return {fmt::format("kv {} {}x{}/{}", name_of(type), heads, width, heads_per_key),
          format,
          format,
          false,
          heads,
          heads_per_key,
          width,
          width,
          width,
          width,
          true};
}
// k: each head scores its columns of the key row and mixes the whole of it.
Form key_form(DType type, int64_t heads, int64_t width) {
  const RowFormat format{type, heads * width};
  return {fmt::format("k {} {}x{}", name_of(type), heads, width),
          format,
          format,
          true,
          heads,
          1,
          width,
          width,
          format.width,
          0,
          true};
}
// x and encoder: each head scores and mixes the whole row.
Form row_form(DType type, int64_t heads, int64_t width, bool causal = true) {
  const RowFormat format{type, width};
  return {fmt::format("x {} {} heads of {}{}", name_of(type), heads, width, causal ? "" : ", full"),
          format,
          format,
          true,
          heads,
          1,
          width,
          0,
          width,
          0,
          causal};
}

struct Part {
  int64_t count, rows;
};
// One of everything: a first token, page boundaries from both sides, prefills with and without a
// past, a sequence with no row at all and one with no token.
const std::vector<Part> kUneven = {{1, 1}, {1, 64},  {1, 65},  {7, 7}, {5, 33},
                                   {1, 0}, {3, 130}, {70, 70}, {0, 9}, {33, 100}};

// A call with all its memory: a sequence for each part, and a token that is in none before each.
class Scene {
 public:
  // Planes of a page: one that is not read, keys, values, and the magnitudes of the values.
  enum PlaneIndex : size_t { kOther, kKeys, kValues, kMagnitudes };

  Scene(Form form, std::vector<Part> parts)
      : form_(std::move(form)), queries_(make_queries(form_, parts)) {
    int64_t first = 1;
    for (const Part& part : parts) {
      add_sequence(part, static_cast<unsigned>(first));
      slices_.push_back(sequences_.back().slice(first, part.count));
      first += part.count + 1;
    }
  }

  TestMatrix& queries() { return queries_; }
  std::vector<Slice>& slices() { return slices_; }
  std::vector<PagedRows>& sequences() { return sequences_; }
  float scale = 0.0F;  // 0: one over the root of the key width

  void set_key(size_t sequence, int64_t row, const std::vector<float>& values) {
    sequences_.at(sequence).set_row(kKeys, row, values.data());
    if (form_.shared) set_value(sequence, row, values);
  }
  void set_value(size_t sequence, int64_t row, const std::vector<float>& values) {
    sequences_.at(sequence).set_row(kValues, row, values.data());
    std::vector<float> magnitudes = sequences_.at(sequence).row(kValues, row);
    for (float& value : magnitudes) value = std::fabs(value);
    sequences_.at(sequence).set_row(kMagnitudes, row, magnitudes.data());
  }
  void change_key(size_t sequence, int64_t row, size_t column, float value) {
    auto values = sequences_.at(sequence).row(kKeys, row);
    values.at(column) = value;
    set_key(sequence, row, values);
  }
  void change_value(size_t sequence, int64_t row, size_t column, float value) {
    auto values = sequences_.at(sequence).row(kValues, row);
    values.at(column) = value;
    set_value(sequence, row, values);
  }

  TestMatrix run(Kernels& kernels, bool as_shared) const {
    return run(kernels, as_shared, kValues);
  }

  // attention_tolerance of the magnitudes that the reference mixes. Keys are at most 1.01 here, so
  // the products of a score come to no more than scale * sum|q| * 1.01.
  TestMatrix bounds(Kernels& reference) const {
    TestMatrix result = run(reference, false, kMagnitudes);
    for (const Slice& slice : slices_) {
      for (int64_t t = slice.first; t < slice.first + slice.count; ++t) {
        for (int64_t column = 0; column < result.columns(); ++column) {
          const double score = score_size(t, column / form_.value_width);
          const double share = attention_tolerance(slice.rows, form_.key_width, score);
          result.set(t, column, static_cast<float>(share * result.at(t, column)));
        }
      }
    }
    return result;
  }

 private:
  static TestMatrix make_queries(const Form& form, const std::vector<Part>& parts) {
    int64_t tokens = 1;
    for (const Part& part : parts) tokens += part.count + 1;
    // Four times as large as keys, so that some rows weigh a good deal more than others.
    return TestMatrix::random(7, DType::f32, tokens, form.heads * form.key_width, 3)
        .map([](float v) { return 4.0F * v; });
  }

  void add_sequence(const Part& part, unsigned seed) {
    const RowFormat formats[] = {
        {DType::f32, 5}, form_.keys, form_.values, {DType::f32, form_.values.width}};
    sequences_.emplace_back(formats, part.rows);
    const auto keys = TestMatrix::random(seed, DType::f32, part.rows, form_.keys.width);
    const auto values = TestMatrix::random(seed + 1, DType::f32, part.rows, form_.values.width);
    const auto row_of = [](const TestMatrix& matrix, int64_t s) {
      const float* begin = matrix.view().row<float>(s);
      return std::vector<float>(begin, begin + matrix.columns());
    };
    for (int64_t s = 0; s < part.rows; ++s) {
      set_key(sequences_.size() - 1, s, row_of(keys, s));
      if (!form_.shared) set_value(sequences_.size() - 1, s, row_of(values, s));
    }
  }

  float used_scale() const {
    return scale != 0.0F ? scale : 1.0F / std::sqrt(static_cast<float>(form_.key_width));
  }

  double score_size(int64_t token, int64_t head) const {
    double sum = 0.0;
    for (int64_t c = 0; c < form_.key_width; ++c) {
      sum += std::fabs(static_cast<double>(queries_.at(token, head * form_.key_width + c)));
    }
    return 1.01 * static_cast<double>(used_scale()) * sum;
  }

  TestMatrix run(Kernels& kernels, bool as_shared, PlaneIndex values) const {
    // What no slice covers must stay as it is: 123.
    TestMatrix mixed =
        TestMatrix(DType::f32, queries_.rows(), form_.heads * form_.value_width, 3).map([](float) {
          return 123.0F;
        });
    const PagedRows& any = sequences_.front();
    const Plane keys = any.plane(kKeys);
    const bool same = form_.shared && values == kValues;
    const Attend arguments{queries_.view(),
                           mixed.view(),
                           slices_,
                           keys,
                           same ? keys : any.plane(values),
                           form_.heads,
                           form_.key_width,
                           form_.key_stride,
                           form_.value_width,
                           form_.value_stride,
                           form_.heads_per_key,
                           used_scale(),
                           form_.causal};
    if (as_shared) {
      kernels.attend_shared(arguments);
    } else {
      kernels.attend_pair(arguments);
    }
    return mixed;
  }

  Form form_;
  TestMatrix queries_;
  std::vector<PagedRows> sequences_;
  std::vector<Slice> slices_;
};

class AttendParity : public ParityTest {
 protected:
  void expect_parity(const Scene& scene, const Form& form, const std::string& what = "") {
    const TestMatrix expected = scene.run(*reference_, false);
    const TestMatrix bounds = scene.bounds(*reference_);
    EXPECT_TRUE(agrees(scene.run(*kernels_, false), expected, bounds))
        << form.name << ", as a pair; " << what;
    if (!form.shared) return;
    EXPECT_TRUE(agrees(scene.run(*kernels_, true), expected, bounds))
        << form.name << ", shared; " << what;
  }
  void expect_parity(const Form& form, const std::vector<Part>& parts) {
    if (!form.keys.valid() || !form.values.valid()) return;  // i8 rows of an odd width
    std::string what;
    for (const Part& part : parts) what += fmt::format("{}/{} ", part.count, part.rows);
    expect_parity(Scene(form, parts), form, what);
  }
};

std::vector<Form> small_forms(DType type) {
  Form full_pair = pair_form(type, 6, 32);
  full_pair.causal = false;
  full_pair.name += ", full";
  return {pair_form(type, 6, 32),    full_pair,
          pair_form(type, 6, 32, 3), key_form(type, 6, 16),
          row_form(type, 6, 64),     row_form(type, 6, 64, false)};
}

TEST_P(AttendParity, FormsRowTypesAndUnevenSequences) {
  for (const DType type : kRowTypes) {
    if (!has_rows(*kernels_, type)) continue;
    for (const Form& form : small_forms(type)) expect_parity(form, kUneven);
  }
}

TEST_P(AttendParity, HeadCountsAndOddWidths) {
  const std::vector<Part> parts = {{1, 70}, {2, 65}};
  for (const DType type : kRowTypes) {
    if (!has_rows(*kernels_, type)) continue;
    for (const int64_t heads : {1, 6, 20}) {
      for (const int64_t width : {1, 2, 7, 31, 32, 33, 64, 65, 96, 100}) {
        expect_parity(pair_form(type, heads, width), parts);
        expect_parity(row_form(type, heads, width), parts);
        expect_parity(row_form(type, heads, width, false), parts);
        if (heads * width <= 500) expect_parity(key_form(type, heads, width), parts);
      }
    }
    expect_parity(pair_form(type, 20, 64, 5), parts);
    expect_parity(pair_form(type, 20, 32, 20), parts);
    // Not Whisper's 384, which a card reads with coarser weights (row_read_test.cpp).
    expect_parity(row_form(type, 6, 376), parts);
    expect_parity(key_form(type, 6, 64), parts);
    expect_parity(key_form(type, 20, 64), {{1, 66}});
  }
}

TEST_P(AttendParity, EveryNumberOfTokensUpTo70) {
  for (int64_t count = 1; count <= 70; ++count) {
    for (const DType type : {DType::f32, DType::bf16}) {
      for (const int64_t past : {0, 37}) {
        const std::vector<Part> parts = {{count, count + past}};
        expect_parity(pair_form(type, 2, 16), parts);
        expect_parity(key_form(type, 2, 16), parts);
        expect_parity(row_form(type, 2, 24), parts);
        expect_parity(row_form(type, 2, 24, false), parts);
      }
    }
  }
}

TEST_P(AttendParity, LongSequences) {
  for (const DType type : {DType::f32, DType::bf16, DType::i8}) {
    for (const std::vector<Part>& parts : {std::vector<Part>{{1, 1500}}, {{1, 448}, {3, 901}}}) {
      expect_parity(pair_form(type, 6, 64), parts);
      expect_parity(key_form(type, 6, 64), parts);
      expect_parity(row_form(type, 6, 376, false), parts);
    }
  }
}

TEST_P(AttendParity, NothingToAttend) {
  for (const Form& form : small_forms(DType::f32)) {
    expect_parity(form, {{1, 0}});
    expect_parity(form, {{0, 0}});
    expect_parity(form, {{5, 2}});  // more tokens than rows: the first three see none
    Scene scene(form, {{1, 3}});
    scene.slices().clear();
    expect_parity(scene, form, "no slices");
  }
}

// Beams: several slices over the same pages, each with a length of its own.
TEST_P(AttendParity, SequencesShareTheirPages) {
  for (const DType type : kRowTypes) {
    if (!has_rows(*kernels_, type)) continue;
    for (const Form& form : small_forms(type)) {
      Scene scene(form, {{1, 150}, {1, 1}, {2, 2}, {4, 4}});
      const std::vector<PagedRows> forks(3, scene.sequences()[0].fork());
      for (size_t i = 1; i < 4; ++i) {
        scene.slices()[i].pages = forks[i - 1].pages();
        scene.slices()[i].rows = 150 - 40 * static_cast<int64_t>(i - 1);
      }
      expect_parity(scene, form, "shared pages");
    }
  }
}

TEST_P(AttendParity, NaNOfAQueryStaysInItsRow) {
  for (const Form& form : small_forms(DType::f16)) {
    Scene scene(form, kUneven);
    const int64_t token = scene.slices()[3].first + 2;
    scene.queries().set(token, 0, kNaN);  // of head 0: others may not notice
    expect_parity(scene, form, "NaN in a query");
    EXPECT_TRUE(std::isnan(scene.run(*kernels_, false).at(token, 0)));
  }
}

// A row that a query does not see does not touch it, whatever is in it. (Rows past the end are NaN
// in every test here: see PagedRows.)
TEST_P(AttendParity, NaNOfARowReachesThoseWhoSeeIt) {
  for (const DType type : {DType::f32, DType::f16, DType::i8}) {
    for (const Form& form : small_forms(type)) {
      for (const int64_t row : {0, 63, 70, 79}) {
        Scene scene(form, {{20, 80}, {3, 80}});
        scene.change_key(0, row, 1, kNaN);
        expect_parity(scene, form, fmt::format("NaN in key row {}", row));
        if (form.shared) continue;
        scene = Scene(form, {{20, 80}, {3, 80}});
        scene.change_value(0, row, 1, kNaN);
        expect_parity(scene, form, fmt::format("NaN in value row {}", row));
        scene.change_value(0, row, 1, kInfinity);
        expect_parity(scene, form, fmt::format("infinity in value row {}", row));
      }
    }
  }
}

// Rows whose score is minus infinity weigh nothing, even if a whole page of them comes first.
TEST_P(AttendParity, ScoresOfMinusInfinityWeighNothing) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    const Form form = pair_form(type, 2, 32);
    Scene scene(form, {{1, 140}, {2, 70}});
    for (int64_t t = 0; t < scene.queries().rows(); ++t) {
      for (const int64_t head : {0, 1}) scene.queries().set(t, head * 32, 1.0F);
    }
    for (int64_t s = 0; s < 66; ++s) {
      for (const size_t head : {0U, 1U}) {
        scene.change_key(0, s, head * 32, -kInfinity);
        scene.change_key(1, s, head * 32, -kInfinity);
      }
    }
    expect_parity(scene, form, "minus infinity");
    EXPECT_TRUE(std::isfinite(scene.run(*kernels_, false).at(scene.slices()[0].first, 0)));
  }
}

// Scores that lie 1e4 and more apart, rising, falling or in between: the winner takes it all, and
// no exponential overflows.
TEST_P(AttendParity, LargeScoresPickOneRow) {
  for (const DType type : kRowTypes) {
    if (!has_rows(*kernels_, type)) continue;
    for (const int64_t winner : {0, 64, 150, 199}) {
      const Form form = pair_form(type, 1, 32);
      Scene scene(form, {{1, 200}});
      scene.scale = 1e4F;
      const int64_t token = scene.slices()[0].first;
      for (int64_t c = 0; c < 32; ++c) scene.queries().set(token, c, c == 0 ? 16.0F : 0.0F);
      for (int64_t s = 0; s < 200; ++s) {
        std::vector<float> key(32, 1.0F);
        key[0] = 1.0F - static_cast<float>(std::abs(s - winner)) / 64.0F;
        scene.set_key(0, s, key);
      }
      const TestMatrix mixed = scene.run(*kernels_, false);
      const std::vector<float> value = scene.sequences()[0].row(Scene::kValues, winner);
      for (int64_t c = 0; c < 32; ++c) {
        const float expected = value[static_cast<size_t>(c)];
        EXPECT_NEAR(mixed.at(token, c), expected, 4.0 * kUnit * std::fabs(expected))
            << name_of(type) << ", winner " << winner << ", column " << c;
      }
    }
  }
}

TEST_P(AttendParity, SequencesAreIndependentAndRunsRepeat) {
  for (const DType type : kRowTypes) {
    if (!has_rows(*kernels_, type)) continue;
    for (const Form& form : small_forms(type)) {
      Scene scene(form, kUneven);
      const TestMatrix together = scene.run(*kernels_, form.shared);
      EXPECT_EQ(together, scene.run(*kernels_, form.shared)) << form.name;
      const TestMatrix bounds = scene.bounds(*reference_).map([](float b) { return 2.0F * b; });
      const std::vector<Slice> slices = scene.slices();
      for (const Slice& slice : slices) {
        scene.slices() = {slice};
        TestMatrix alone = scene.run(*kernels_, form.shared);
        for (int64_t t = slice.first; t < slice.first + slice.count; ++t) {
          for (int64_t c = 0; c < alone.columns(); ++c) {
            ASSERT_NEAR(alone.at(t, c), together.at(t, c), bounds.at(t, c)) << form.name;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttendParity, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
