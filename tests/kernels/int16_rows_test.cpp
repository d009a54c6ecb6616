// Attention over rows of i16 in 16-bit integers (Inputs::i16), where kernels take them: close to
// the reference's by the bound of what is rounded, and rounded indeed.
//
// Bounds. An integer is off by 1/2 and what f32 loses of up to 32767 times it: r = 0.51. So with q
// = s i, and k and v rows as stored, a score is off by
//   e = |factor| scale r s_q sum |k|,   s_q = max(norm(q) / 46000, max |q| / 32767)
// at most; a weight by exp(e), and the sum of weights by as much. Of each tile of 64 rows, where a
// query sees rows with probabilities p and scales s, u = p s, a result is off by
//   r t sum |i|,   t = max(sum u / 65472, max u / 32767)
// more. Beside that f32 strays, as in attend_test.cpp.
#include <limits>

#include "fmt/format.h"
#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr double kRounding = 0.51;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Part {
  int64_t count, rows;
};
const std::vector<Part> kUneven = {{1, 1}, {1, 64},  {1, 65},  {7, 7}, {5, 33},
                                   {1, 0}, {3, 130}, {70, 70}, {0, 9}, {33, 101}};

struct Form {
  int64_t heads = 1;
  int64_t width = 0;
  bool causal = true;
  int64_t window = 0;
  bool factors = false;
  bool slopes = false;

  std::string name() const {
    return fmt::format("{} heads of {}{}, window {}{}{}", heads, width, causal ? ", causal" : "",
                       window, factors ? ", factors" : "", slopes ? ", slopes" : "");
  }
};

// Rows of i16 that all heads score and mix, one sequence after another for every part.
class Scene {
 public:
  Scene(const Form& form, const std::vector<Part>& parts) : form_(form) {
    int64_t tokens = 0;
    for (const Part& part : parts) {
      const RowFormat formats[] = {{DType::i16, form.width}, {DType::f32, 1}};
      sequences_.emplace_back(formats, part.rows);
      slices_.push_back(sequences_.back().slice(tokens, part.count));
      slices_.back().position = part.rows - part.count;
      tokens += part.count;
      const auto seed = static_cast<unsigned>(tokens);
      const auto values = TestMatrix::random(seed, DType::f32, part.rows, form.width);
      const auto factors = TestMatrix::random(seed + 1, DType::f32, part.rows, 1);
      for (int64_t s = 0; s < part.rows; ++s) {
        set_row(sequences_.size() - 1, s, values.view().row<float>(s));
        const float factor = 1.0F + 0.5F * factors.at(s, 0);
        sequences_.back().set_row(1, s, &factor);
      }
    }
    queries = TestMatrix::random(7, DType::f32, tokens, form.heads * form.width, 3);
    queries = queries.map([](float value) { return 4.0F * value; });
    for (int64_t head = 0; head < form.heads; ++head) {
      slopes_.push_back(0.1F / static_cast<float>(head + 1));
    }
  }

  void set_row(size_t sequence, int64_t row, const float* values) {
    sequences_.at(sequence).set_row(0, row, values);
  }
  std::vector<float> row(size_t sequence, int64_t row) const {
    return sequences_.at(sequence).row(0, row);
  }
  // Every number of every row times `by`, and of every query divided by it.
  void scale_rows(float by) {
    for (size_t i = 0; i < sequences_.size(); ++i) {
      for (int64_t s = 0; s < sequences_[i].rows(); ++s) {
        std::vector<float> values = row(i, s);
        for (float& value : values) value *= by;
        set_row(i, s, values.data());
      }
    }
    queries = queries.map([&](float value) { return value / by; });
  }

  TestMatrix run(Kernels& kernels, Inputs inputs) const { return run(kernels, inputs, slices_); }
  TestMatrix run(Kernels& kernels, Inputs inputs, std::span<const Slice> slices) const {
    TestMatrix mixed(DType::f32, queries.rows(), queries.columns(), 3);
    kernels.attend_shared(arguments(mixed, inputs, slices));
    return mixed;
  }
  // Each sequence's rows in two segments, the second from row 64 on.
  TestMatrix run_in_two(Kernels& kernels, Inputs inputs) const {
    TestMatrix mixed(DType::f32, queries.rows(), queries.columns(), 3);
    TestMatrix lse(DType::f32, queries.rows(), form_.heads);
    std::vector<Slice> firsts = slices_;
    std::vector<Slice> seconds = slices_;
    for (Slice& slice : firsts) slice.rows = std::min(slice.rows, kPageRows);
    for (Slice& slice : seconds) {
      const int64_t rows = std::max<int64_t>(0, slice.rows - kPageRows);
      if (rows > 0) ++slice.pages;
      slice.rows = rows;
      slice.base = kPageRows;
    }
    Attend attend = arguments(mixed, inputs, firsts);
    attend.lse = lse.view();
    kernels.attend_shared(attend);
    attend.slices = seconds;
    attend.merge = true;
    kernels.attend_shared(attend);
    return mixed;
  }

  TestMatrix bounds() const {
    TestMatrix result(DType::f32, queries.rows(), queries.columns());
    for (size_t i = 0; i < slices_.size(); ++i) {
      const Stored stored(sequences_[i], form_.width);
      for (int64_t t = 0; t < slices_[i].count; ++t) {
        for (int64_t head = 0; head < form_.heads; ++head) {
          bound_query(slices_[i], t, head, stored, result);
        }
      }
    }
    return result;
  }
  const std::vector<Slice>& slices() const { return slices_; }

  TestMatrix queries{DType::f32, 0, 1};

 private:
  // A sequence's rows as they lie.
  struct Stored {
    Stored(const PagedRows& sequence, int64_t width) {
      for (int64_t s = 0; s < sequence.rows(); ++s) {
        values.push_back(sequence.row(0, s));
        factors.push_back(static_cast<double>(sequence.row(1, s)[0]));
        const std::byte* at = sequence.sealed(0, s / kPageRows) +
                              s % kPageRows * RowFormat{DType::i16, width}.bytes();
        float scale;
        std::memcpy(&scale, at + 2 * width, sizeof(scale));
        scales.push_back(static_cast<double>(scale));
      }
    }
    std::vector<std::vector<float>> values;
    std::vector<double> factors;
    std::vector<double> scales;
  };

  Attend arguments(TestMatrix& mixed, Inputs inputs, std::span<const Slice> slices) const {
    const PagedRows& any = sequences_.front();
    return {.queries = queries.view(),
            .mixed = mixed.view(),
            .slices = slices,
            .keys = any.plane(0),
            .values = any.plane(0),
            .heads = form_.heads,
            .key_width = form_.width,
            .value_width = form_.width,
            .scale = scale(),
            .causal = form_.causal,
            .key_factors = form_.factors ? &any.plane(1) : nullptr,
            .slopes = form_.slopes ? slopes_.data() : nullptr,
            .window = form_.window,
            .inputs = inputs};
  }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(form_.width)); }

  void bound_query(const Slice& slice, int64_t t, int64_t head, const Stored& stored,
                   TestMatrix& result) const {
    const int64_t token = slice.first + t;
    const int64_t column = head * form_.width;
    const int64_t end = form_.causal ? slice.rows - slice.count + t + 1 : slice.rows;
    const int64_t begin =
        form_.window == 0 ? 0 : std::max<int64_t>(0, slice.position + t + 1 - form_.window);
    double norm = 0.0, largest = 0.0;
    for (int64_t c = 0; c < form_.width; ++c) {
      const auto value = static_cast<double>(queries.at(token, column + c));
      norm += value * value;
      largest = std::max(largest, std::fabs(value));
    }
    const double step = std::max(std::sqrt(norm) / 46000.0, largest / 32767.0);
    std::vector<double> weights(static_cast<size_t>(std::max<int64_t>(end, 0)));
    double maximum = -std::numeric_limits<double>::infinity(), off = 0.0, size = 0.0;
    for (int64_t s = begin; s < end; ++s) {
      const auto at = static_cast<size_t>(s);
      double score = 0.0, terms = 0.0, magnitudes = 0.0;
      for (int64_t c = 0; c < form_.width; ++c) {
        const auto key = static_cast<double>(stored.values[at][static_cast<size_t>(c)]);
        const double product = static_cast<double>(queries.at(token, column + c)) * key;
        score += product;
        terms += std::fabs(product);
        magnitudes += std::fabs(key);
      }
      const double by = static_cast<double>(scale()) * (form_.factors ? stored.factors[at] : 1.0);
      const double slope =
          form_.slopes ? static_cast<double>(slopes_[static_cast<size_t>(head)]) : 0.0;
      const auto distance = static_cast<double>(s - slice.position - t);
      weights[at] = by * score + slope * distance;
      off = std::max(off, by * kRounding * step * magnitudes);
      size = std::max(size, by * terms + std::fabs(slope * distance));
      maximum = std::max(maximum, weights[at]);
    }
    double sum = 0.0;
    for (int64_t s = begin; s < end; ++s) {
      double& weight = weights[static_cast<size_t>(s)];
      weight = std::exp(weight - maximum);
      sum += weight;
    }
    const double share =
        std::exp(2.0 * off) - 1.0 + attention_tolerance(std::max<int64_t>(end - begin, 1), 1, size);
    for (int64_t tile = begin / kPageRows * kPageRows; tile < end; tile += kPageRows) {
      double all = 0.0, most = 0.0;
      const int64_t first = std::max(begin, tile), last = std::min(end, tile + kPageRows);
      for (int64_t s = first; s < last; ++s) {
        const auto at = static_cast<size_t>(s);
        const double u = weights[at] / sum * stored.scales[at];
        all += u;
        most = std::max(most, u);
      }
      const double t_step = kRounding * std::exp(2.0 * off) * std::max(all / 65472.0, most / 32767);
      for (int64_t c = 0; c < form_.width; ++c) {
        double bound = static_cast<double>(result.at(token, column + c));
        for (int64_t s = first; s < last; ++s) {
          const auto at = static_cast<size_t>(s);
          const double value =
              std::fabs(static_cast<double>(stored.values[at][static_cast<size_t>(c)]));
          bound += share * weights[at] / sum * value;
          if (stored.scales[at] > 0.0) bound += t_step * value / stored.scales[at];
        }
        result.set(token, column + c, static_cast<float>(bound));
      }
    }
  }

  Form form_;
  std::vector<PagedRows> sequences_;
  std::vector<Slice> slices_;
  std::vector<float> slopes_;
};

class Int16Rows : public ParityTest {
 protected:
  void SetUp() override {
    ParityTest::SetUp();
    if (!IsSkipped() && !kernels_->takes(Inputs::i16)) GTEST_SKIP() << "it has no such rows";
  }
  void expect_within_bounds(const Scene& scene, const std::string& what) {
    const TestMatrix actual = scene.run(*kernels_, Inputs::i16);
    EXPECT_TRUE(agrees(actual, scene.run(*reference_, Inputs::f32), scene.bounds())) << what;
  }
  void expect_within_bounds(const Form& form, const std::vector<Part>& parts) {
    const Scene scene(form, parts);
    expect_within_bounds(scene, form.name());
    EXPECT_NE(scene.run(*kernels_, Inputs::i16), scene.run(*kernels_, Inputs::f32))
        << form.name() << ": as f32";
  }
};

TEST_P(Int16Rows, AreAttendedToWithinTheBound) {
  for (const int64_t width : {32, 64, 96, 384, 512, 768, 1280}) {
    for (const bool causal : {true, false}) {
      expect_within_bounds(
          {6, width, causal},
          width <= 64 ? kUneven : std::vector<Part>{{1, 1}, {1, 63}, {1, 64}, {1, 65}, {3, 130}});
    }
  }
}

TEST_P(Int16Rows, EveryNumberOfQueries) {
  for (int64_t queries = 1; queries <= 41; ++queries) {
    expect_within_bounds({queries, 64}, {{1, 71}});
    expect_within_bounds({1, 64}, {{queries, 71}});
  }
  for (const int64_t heads : {8, 20}) {
    expect_within_bounds({heads, 96, false}, {{5, 67}, {2, 9}});
  }
}

TEST_P(Int16Rows, AreSeenThroughWindows) {
  for (const int64_t window : {2, 17, 64, 100}) {
    expect_within_bounds({.heads = 6, .width = 64, .window = window}, kUneven);
  }
}

TEST_P(Int16Rows, HaveFactorsAndSlopes) {
  for (const auto& [factors, slopes] : {std::pair{true, false}, {false, true}, {true, true}}) {
    expect_within_bounds({.heads = 6, .width = 64, .factors = factors, .slopes = slopes}, kUneven);
  }
}

TEST_P(Int16Rows, ThatAreManyAreCutAndJoined) {
  expect_within_bounds({.heads = 6, .width = 64, .causal = false}, {{2, 1500}, {1, 389}, {1, 64}});
  expect_within_bounds({.heads = 8, .width = 512, .causal = false}, {{1, 1500}});
}

TEST_P(Int16Rows, InTwoSegmentsAreMerged) {
  for (const int64_t width : {32, 96}) {
    const Form form{.heads = 6, .width = width, .causal = false};
    const Scene scene(form, {{1, 65}, {3, 130}, {2, 200}, {1, 20}});
    EXPECT_TRUE(agrees(scene.run_in_two(*kernels_, Inputs::i16),
                       scene.run(*reference_, Inputs::f32), scene.bounds()))
        << width;
  }
}

// Whatever their size: of one size, and beside rows that are nothing beside them.
TEST_P(Int16Rows, AreLargeAndSmall) {
  for (const float by : {1e30F, 1e-30F}) {
    Scene scene({.heads = 6, .width = 64}, kUneven);
    scene.scale_rows(by);
    expect_within_bounds(scene, fmt::format("{}", by));
    for (const size_t sequence : {2, 6, 9}) {
      for (int64_t s = 0; s < scene.slices()[sequence].rows; s += 3) {
        std::vector<float> values = scene.row(sequence, s);
        for (float& value : values) value /= by;
        scene.set_row(sequence, s, values.data());
      }
    }
    if (by > 1.0F) expect_within_bounds(scene, "with small ones");
  }
}

TEST_P(Int16Rows, OfZerosGiveZeros) {
  Scene scene({.heads = 6, .width = 64}, {{1, 70}, {3, 70}});
  const std::vector<float> zeros(64, 0.0F);
  for (int64_t s = 0; s < 70; ++s) scene.set_row(0, s, zeros.data());
  for (int64_t s = 0; s < 70; s += 2) scene.set_row(1, s, zeros.data());
  for (int64_t c = 0; c < scene.queries.columns(); ++c) scene.queries.set(2, c, 0.0F);
  expect_within_bounds(scene, "zeros");
  const TestMatrix mixed = scene.run(*kernels_, Inputs::i16);
  for (int64_t c = 0; c < mixed.columns(); ++c) ASSERT_EQ(mixed.at(0, c), 0.0F) << c;
}

// The largest sums there may be, of scores (a query that is its rows) and of mixtures (a column
// that is all of its rows, and weights that are all the same).
TEST_P(Int16Rows, SumsDoNotOverflow) {
  for (const int64_t width : {32, 1280}) {
    for (const bool spikes : {false, true}) {
      for (const float sign : {1.0F, -1.0F}) {
        Scene scene({.heads = 6, .width = width, .causal = false}, {{2, 64}, {1, 128}});
        std::vector<float> values(static_cast<size_t>(width), spikes ? 0.0F : sign);
        values[3] = sign;
        for (int64_t s = 0; s < 64; ++s) scene.set_row(0, s, values.data());
        for (int64_t s = 0; s < 128; ++s) scene.set_row(1, s, values.data());
        for (int64_t t = 0; t < 3; ++t) {
          for (int64_t c = 0; c < 6 * width; ++c) {
            scene.queries.set(t, c, values[static_cast<size_t>(c % width)]);
          }
        }
        expect_within_bounds(scene, fmt::format("width {}, spikes {}", width, spikes));
      }
    }
  }
}

// One row: its weight is one, and f32 rounds three times.
TEST_P(Int16Rows, ARowAloneComesAsItIs) {
  for (const int64_t heads : {1, 6, 8}) {
    for (const int64_t window : {0, 1}) {
      const Scene scene({.heads = heads, .width = 96, .window = window},
                        {{1, 1}, {1, window == 0 ? 1 : 77}});
      const TestMatrix expected = scene.run(*kernels_, Inputs::f32);
      EXPECT_TRUE(agrees(scene.run(*kernels_, Inputs::i16), expected,
                         expected.magnitudes().map(
                             [](float value) { return static_cast<float>(16.0 * kUnit) * value; })))
          << heads;
    }
  }
}

TEST_P(Int16Rows, NaNAndInfinityReachThoseWhoSeeThem) {
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    for (const int64_t window : {0, 4}) {
      Scene scene({.heads = 6, .width = 32, .window = window}, {{9, 40}, {5, 77}, {2, 70}});
      std::vector<float> values = scene.row(0, 36);
      values[5] = bad;
      scene.set_row(0, 36, values.data());  // later queries of its own step
      scene.set_row(1, 3, values.data());   // all, or with a window none
      scene.queries.set(14, 33, bad);       // one query of the third sequence
      const TestMatrix finite =
          Scene({.heads = 6, .width = 32, .window = window}, {{9, 40}, {5, 77}, {2, 70}})
              .run(*kernels_, Inputs::i16);
      const TestMatrix mixed = scene.run(*kernels_, Inputs::i16);
      for (int64_t t = 0; t < 16; ++t) {
        for (int64_t c = 0; c < 192; ++c) {
          // Row 36 is that of token 5, and is seen by 5 to 8.
          const bool own = t >= 5 && t < 9;
          const bool early = window == 0 && t >= 9 && t < 14;
          const bool query = t == 14 && c / 32 == 1;
          if (own || early || query) {
            ASSERT_TRUE(std::isnan(mixed.at(t, c))) << t << ", " << c << ", window " << window;
          } else {
            ASSERT_EQ(mixed.at(t, c), finite.at(t, c)) << t << ", " << c << ", window " << window;
          }
        }
      }
    }
  }
}

TEST_P(Int16Rows, BitsDependOnNeitherThreadsNorCompany) {
  for (const int64_t heads : {1, 6, 8}) {
    for (const bool causal : {true, false}) {
      const Scene scene({heads, 64, causal}, {{1, 700}, {3, 1501}, {1, 65}, {40, 90}, {1, 2}});
      const TestMatrix together = scene.run(*kernels_, Inputs::i16);
      for (const int threads : {1, 2, 5}) {
        const auto others = test::test_kernels(GetParam().name, threads);
        EXPECT_EQ(together, scene.run(*others, Inputs::i16)) << threads << " threads";
      }
      for (const Slice& slice : scene.slices()) {
        const TestMatrix alone = scene.run(*kernels_, Inputs::i16, {&slice, 1});
        for (int64_t t = slice.first; t < slice.first + slice.count; ++t) {
          for (int64_t c = 0; c < alone.columns(); ++c) {
            ASSERT_EQ(alone.at(t, c), together.at(t, c)) << t << ", " << c;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Int16Rows, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
