// Attention whose inputs are rounded to 8 bits (Inputs::bf16), where kernels take them: close to
// the reference's f32 by the bound of that rounding, and rounded indeed.
//
// Bounds. With u = 2^-9, a rounded factor is off by u of itself at most: a score by
//   e = scale sum |q k| ((1 + u)^n - 1)      for n rounded factors,
// a weight by exp(e) and its own u, the sum of weights by as much; a result, of values off by u
// where they are rounded,
//   |out' - out| <= sum p |v| (exp(2 e) (1 + u)^2 / (1 - u) - 1)
// and by what f32 strays, as in attend_dense_test.cpp and attend_test.cpp.
#include <limits>

#include "fmt/format.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr double kRounding = 0x1p-9;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

float rounded(float value) { return to_float(to_bfloat16(value)); }

// Of a result, as a share of sum p |v|: `score` is scale sum |q k|, of `factors` that are rounded.
double rounding_share(double score, int factors) {
  const double off = score * (std::pow(1.0 + kRounding, factors) - 1.0);
  return std::exp(2.0 * off) * (1.0 + kRounding) * (1.0 + kRounding) / (1.0 - kRounding) - 1.0;
}

float scale_of(int64_t width) { return 1.0F / std::sqrt(static_cast<float>(width)); }

// A token's bounds from its sums of p |v|. Keys and values are at most 1, biases 3.
void bound_token(const TestMatrix& queries, int64_t token, int64_t width, int64_t rows, int factors,
                 TestMatrix& sums) {
  for (int64_t begin = 0; begin < queries.columns(); begin += width) {
    float score = 0.0F;
    for (int64_t c = begin; c < begin + width; ++c) score += std::fabs(queries.at(token, c));
    const auto size = static_cast<double>(1.01F * scale_of(width) * score);
    const double share =
        rounding_share(size, factors) + attention_tolerance(rows, width, size + 3.0);
    for (int64_t c = begin; c < begin + width; ++c) {
      sums.set(token, c, static_cast<float>(share) * sums.at(token, c));
    }
  }
}

class Bfloat16Inputs : public ParityTest {
 protected:
  void SetUp() override {
    ParityTest::SetUp();
    if (!IsSkipped() && !kernels_->takes(Inputs::bf16)) {
      GTEST_SKIP() << "it has no instruction for products of bf16";
    }
  }
};

// ---- Paged rows --------------------------------------------------------------------------------

struct Part {
  int64_t count, rows;
};
const std::vector<Part> kUneven = {{1, 1}, {1, 64},  {1, 65},  {7, 7}, {5, 33},
                                   {1, 0}, {3, 130}, {70, 70}, {0, 9}, {33, 101}};

struct PagedForm {
  int64_t heads = 1;
  int64_t width = 0;
  bool causal = true;
  int64_t window = 0;

  std::string name() const {
    return fmt::format("{} heads of {}{}, window {}", heads, width, causal ? ", causal" : "",
                       window);
  }
};

// Rows of bf16 that all heads score and mix, one after another for every part.
class PagedScene {
 public:
  PagedScene(const PagedForm& form, const std::vector<Part>& parts) : form_(form) {
    int64_t tokens = 0;
    for (const Part& part : parts) {
      const RowFormat formats[] = {{DType::bf16, form.width}, {DType::f32, form.width}};
      sequences_.emplace_back(formats, part.rows);
      slices_.push_back(sequences_.back().slice(tokens, part.count));
      slices_.back().position = part.rows - part.count;
      tokens += part.count;
      const auto values =
          TestMatrix::random(static_cast<unsigned>(tokens), DType::f32, part.rows, form.width);
      for (int64_t s = 0; s < part.rows; ++s) {
        set_row(sequences_.size() - 1, s, values.view().row<float>(s));
      }
    }
    queries =
        TestMatrix::random(7, DType::f32, tokens, form.heads * form.width, 3).map([](float value) {
          return 4.0F * value;
        });
  }

  void set_row(size_t sequence, int64_t row, const float* values) {
    PagedRows& rows = sequences_.at(sequence);
    rows.set_row(0, row, values);
    std::vector<float> magnitudes = rows.row(0, row);
    for (float& value : magnitudes) value = std::fabs(value);
    rows.set_row(1, row, magnitudes.data());
  }
  TestMatrix run(Kernels& kernels, Inputs inputs) const { return run(kernels, inputs, slices_); }
  TestMatrix run(Kernels& kernels, Inputs inputs, std::span<const Slice> slices) const {
    return run(kernels, inputs, slices, 0);
  }
  TestMatrix bounds(Kernels& reference, int rounded_factors) const {
    TestMatrix result = run(reference, Inputs::f32, slices_, 1);
    for (const Slice& slice : slices_) {
      for (int64_t t = slice.first; t < slice.first + slice.count; ++t) {
        bound_token(queries, t, form_.width, slice.rows, rounded_factors, result);
      }
    }
    return result;
  }
  const std::vector<Slice>& slices() const { return slices_; }

  TestMatrix queries{DType::f32, 0, 1};

 private:
  TestMatrix run(Kernels& kernels, Inputs inputs, std::span<const Slice> slices,
                 size_t values) const {
    TestMatrix mixed(DType::f32, queries.rows(), queries.columns(), 3);
    const PagedRows& any = sequences_.front();
    const Attend attend{.queries = queries.view(),
                        .mixed = mixed.view(),
                        .slices = slices,
                        .keys = any.plane(0),
                        .values = any.plane(values),
                        .heads = form_.heads,
                        .key_width = form_.width,
                        .value_width = form_.width,
                        .scale = scale_of(form_.width),
                        .causal = form_.causal,
                        .window = form_.window,
                        .inputs = inputs};
    if (values == 0) {
      kernels.attend_shared(attend);
    } else {
      kernels.attend_pair(attend);
    }
    return mixed;
  }

  PagedForm form_;
  std::vector<PagedRows> sequences_;
  std::vector<Slice> slices_;
};

class Bfloat16Rows : public Bfloat16Inputs {
 protected:
  void expect_within_bounds(const PagedForm& form, const std::vector<Part>& parts) {
    const PagedScene scene(form, parts);
    const TestMatrix actual = scene.run(*kernels_, Inputs::bf16);
    EXPECT_TRUE(agrees(actual, scene.run(*reference_, Inputs::f32), scene.bounds(*reference_, 1)))
        << form.name();
    PagedScene beforehand = scene;
    beforehand.queries = scene.queries.map(rounded);
    EXPECT_TRUE(
        agrees(actual, beforehand.run(*reference_, Inputs::f32), beforehand.bounds(*reference_, 0)))
        << form.name() << ", queries rounded beforehand";
    EXPECT_EQ(actual, beforehand.run(*kernels_, Inputs::bf16)) << form.name();
    EXPECT_NE(actual, scene.run(*kernels_, Inputs::f32)) << form.name() << ": as f32";
  }
};

TEST_P(Bfloat16Rows, AreAttendedToWithinTheBound) {
  for (const int64_t heads : {1, 3, 6, 8, 20}) {
    for (const int64_t width : {32, 64, 96, 384}) {
      for (const bool causal : {true, false}) {
        const bool all = heads == 6 && width <= 64;
        expect_within_bounds({heads, width, causal},
                             all ? kUneven : std::vector<Part>{{1, 71}, {3, 130}, {2, 9}});
      }
    }
  }
}

TEST_P(Bfloat16Rows, AreSeenThroughWindows) {
  for (const int64_t window : {2, 17, 64, 100}) {
    expect_within_bounds({.heads = 6, .width = 64, .window = window}, kUneven);
  }
}

TEST_P(Bfloat16Rows, ThatAreManyAreCutAndJoined) {
  expect_within_bounds({.heads = 6, .width = 64, .causal = false}, {{2, 1500}, {1, 389}, {1, 64}});
}

// One row: its weight is one, and it is bf16 already.
TEST_P(Bfloat16Rows, ARowAloneComesAsItIs) {
  for (const int64_t heads : {1, 6, 8}) {
    for (const int64_t window : {0, 1}) {
      const PagedScene scene({.heads = heads, .width = 96, .window = window},
                             {{1, 1}, {1, window == 0 ? 1 : 77}});
      EXPECT_EQ(scene.run(*kernels_, Inputs::bf16), scene.run(*kernels_, Inputs::f32)) << heads;
    }
  }
}

TEST_P(Bfloat16Rows, NaNReachesThoseWhoSeeIt) {
  for (const int64_t window : {0, 4}) {
    PagedScene scene({.heads = 6, .width = 32, .window = window}, {{9, 40}, {5, 77}});
    const std::vector<float> bad(32, kNaN);
    scene.set_row(0, 36, bad.data());  // later queries of its own step
    scene.set_row(1, 3, bad.data());   // all, or with a window none
    scene.queries.set(10, 33, kInfinity);
    const TestMatrix expected = scene.run(*reference_, Inputs::f32);
    EXPECT_TRUE(agrees(scene.run(*kernels_, Inputs::bf16), expected, expected.map([](float value) {
      return std::isfinite(value) ? 0.5F : kInfinity;
    }))) << "window "
         << window;
  }
}

TEST_P(Bfloat16Rows, BitsDependOnNeitherThreadsNorCompany) {
  for (const int64_t heads : {1, 6, 8}) {
    for (const bool causal : {true, false}) {
      const PagedScene scene({heads, 64, causal}, {{1, 700}, {3, 1501}, {1, 65}, {40, 90}, {1, 2}});
      const TestMatrix together = scene.run(*kernels_, Inputs::bf16);
      for (const int threads : {1, 2, 5}) {
        const auto others = test::test_kernels(GetParam().name, threads);
        EXPECT_EQ(together, scene.run(*others, Inputs::bf16)) << threads << " threads";
      }
      for (const Slice& slice : scene.slices()) {
        const TestMatrix alone = scene.run(*kernels_, Inputs::bf16, {&slice, 1});
        for (int64_t t = slice.first; t < slice.first + slice.count; ++t) {
          for (int64_t c = 0; c < alone.columns(); ++c) {
            ASSERT_EQ(alone.at(t, c), together.at(t, c)) << t << ", " << c;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Bfloat16Rows, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
