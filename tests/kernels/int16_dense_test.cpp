// Attention within runs of rows whose factors are 16-bit integers (Inputs::i16): close to the
// reference's f32 by the bound of that rounding, and rounded indeed.
//
// Bounds (int16_panels.h has the rounding). A number of a row with scale s is off by r s, r = 1/2
// and what the divisions of f32 add. So is a score by at most, over all keys,
//   e = scale r (s_q |k|_1 + s_k |q|_1 + n r s_q s_k),
// and a weight by a factor of exp(e) and what a power of two is off, 2^-18; the sum of weights by
// as much. Values are off by r s_v each, and each weight of a chunk by r t, which an integer of the
// value multiplies. With normed weights p:
//   |out' - out| <= sum p |v| (exp(2 e') - 1) + exp(2 e') (sum p r s_v + r sum_chunks t sum |i|)
// with e' = e + 2^-18, t of u = p s_v, and |i| <= |v| / s_v + r. f32 strays as in
// attend_dense_test.cpp, and what is dropped below 2^-110 is nothing beside that.
#include <algorithm>
#include <cmath>
#include <limits>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr double kHalf = 0.505;
constexpr int64_t kChunk = 64;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

double number(const TestMatrix& matrix, int64_t row, int64_t column) {
  return static_cast<double>(matrix.view().row<float>(row)[column]);
}

// Of one head's part of a row.
struct Sizes {
  double largest = 0.0;
  double sum = 0.0;
  double norm = 0.0;

  Sizes(const TestMatrix& matrix, int64_t row, int64_t begin, int64_t width) {
    for (int64_t c = begin; c < begin + width; ++c) {
      const double size = std::fabs(number(matrix, row, c));
      largest = std::max(largest, size);
      sum += size;
      norm += size * size;
    }
    norm = std::sqrt(norm);
  }
  double key_scale() const { return std::max(norm / 46000.0, largest / 32767.0); }
  double value_scale() const { return largest / 32767.0; }
};

struct DenseCase {
  DenseCase(int64_t run_count, int64_t run_rows, int64_t head_count, int64_t head_width)
      : batch(run_count),
        rows(run_rows),
        heads(head_count),
        width(head_width),
        q(random(1).map([](float value) { return 4.0F * value; })),
        k(random(2)),
        v(random(3)) {}

  TestMatrix random(unsigned seed) const {
    return TestMatrix::random(seed, DType::f32, batch * rows, heads * width, width % 2);
  }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(width)); }

  TestMatrix run(Kernels& kernels, Inputs inputs) const {
    TestMatrix out(DType::f32, q.rows(), q.columns(), 2);
    kernels.attend_dense(arguments(q, out, inputs));
    return out;
  }
  // The result where q was.
  TestMatrix run_in_place(Kernels& kernels) const {
    TestMatrix both = q;
    kernels.attend_dense(arguments(both, both, Inputs::i16));
    return both;
  }
  AttendDense arguments(const TestMatrix& queries, TestMatrix& out, Inputs inputs) const {
    AttendDense dense{queries.view(), k.view(), v.view(), out.view(),
                      heads,          batch,    scale(),  {biases.floats(), reach},
                      places,         inputs};
    if (reach == 0) dense.bias = {};
    return dense;
  }
  // Random biases of up to 3, by distance.
  void add_bias(int64_t of_reach) {
    reach = of_reach;
    biases = TestMatrix::random(4, DType::f32, heads, 2 * reach + 1).map([](float value) {
      return 3.0F * value;
    });
  }
  void add_gaps() {
    for (int64_t row = 0; row < q.rows(); ++row) {
      places.push_back(static_cast<int32_t>(row % rows * 3 + row % 2));
    }
  }
  // Numbers of one head.
  static void fill(TestMatrix& matrix, int64_t row, int64_t begin, int64_t end, float value) {
    for (int64_t c = begin; c < end; ++c) matrix.set(row, c, value);
  }

  int64_t batch, rows, heads, width;
  int64_t reach = 0;
  TestMatrix q, k, v;
  TestMatrix biases{DType::f32, 1, 1};
  std::vector<int32_t> places;
};

// One head of one run, in f64: what is exact, and its bound.
class HeadBounds {
 public:
  HeadBounds(const DenseCase& dense, int64_t run, int64_t head)
      : dense_(dense), head_(head), first_(run * dense.rows), begin_(head * dense.width) {
    for (int64_t s = first_; s < first_ + dense.rows; ++s) {
      const Sizes key(dense.k, s, begin_, dense.width);
      key_sum_ = std::max(key_sum_, key.sum);
      key_scale_ = std::max(key_scale_, key.key_scale());
      largest_key_ = std::max(largest_key_, key.largest);
      value_scales_.push_back(Sizes(dense.v, s, begin_, dense.width).value_scale());
    }
  }

  void fill(int64_t query, TestMatrix& exact, TestMatrix& bounds) const {
    const std::vector<double> p = weights(first_ + query);
    const Sizes size(dense_.q, first_ + query, begin_, dense_.width);
    const auto n = static_cast<double>(dense_.width);
    const double scale = static_cast<double>(dense_.scale());
    const double off = scale * kHalf *
                       (size.key_scale() * key_sum_ + key_scale_ * size.sum +
                        n * kHalf * size.key_scale() * key_scale_);
    const double factor = std::exp(2.0 * (off + 0x1p-18));
    const double score = scale * size.sum * largest_key_ + (dense_.reach > 0 ? 3.0 : 0.0);
    const double share = factor - 1.0 + attention_tolerance(dense_.rows, dense_.width, score);
    const std::vector<double> steps = steps_of(p);
    for (int64_t c = begin_; c < begin_ + dense_.width; ++c) {
      double sum = 0.0;
      double magnitudes = 0.0;
      double rounding = 0.0;
      for (int64_t s = 0; s < dense_.rows; ++s) {
        const auto at = static_cast<size_t>(s);
        const double value = number(dense_.v, first_ + s, c);
        sum += p[at] * value;
        magnitudes += p[at] * std::fabs(value);
        rounding += kHalf * p[at] * value_scales_[at];
        if (value_scales_[at] > 0.0) {
          const double integer = std::fabs(value) / value_scales_[at] + kHalf;
          rounding += kHalf * steps[static_cast<size_t>(s / kChunk)] * integer;
        }
      }
      exact.set(first_ + query, c, static_cast<float>(sum));
      bounds.set(first_ + query, c, static_cast<float>(share * magnitudes + factor * rounding));
    }
  }

 private:
  std::vector<double> weights(int64_t query) const {
    std::vector<double> p;
    for (int64_t s = first_; s < first_ + dense_.rows; ++s) {
      double score = 0.0;
      for (int64_t c = begin_; c < begin_ + dense_.width; ++c) {
        score += number(dense_.q, query, c) * number(dense_.k, s, c);
      }
      p.push_back(score * static_cast<double>(dense_.scale()) + bias(query, s));
    }
    const double largest = *std::max_element(p.begin(), p.end());
    double sum = 0.0;
    for (double& weight : p) sum += weight = std::exp(weight - largest);
    for (double& weight : p) weight /= sum;
    return p;
  }
  double bias(int64_t query, int64_t row) const {
    if (dense_.reach == 0) return 0.0;
    const auto place = [&](int64_t s) {
      return dense_.places.empty() ? s : int64_t{dense_.places[static_cast<size_t>(s)]};
    };
    const int64_t distance = std::clamp(place(row) - place(query), -dense_.reach, dense_.reach);
    return number(dense_.biases, head_, dense_.reach + distance);
  }
  std::vector<double> steps_of(const std::vector<double>& p) const {
    std::vector<double> steps;
    for (size_t begin = 0; begin < p.size(); begin += kChunk) {
      double sum = 0.0;
      double largest = 0.0;
      for (size_t s = begin; s < std::min(p.size(), begin + kChunk); ++s) {
        sum += p[s] * value_scales_[s];
        largest = std::max(largest, p[s] * value_scales_[s]);
      }
      steps.push_back(std::max(sum / 65472.0, largest / 32767.0));
    }
    return steps;
  }

  const DenseCase& dense_;
  int64_t head_, first_, begin_;
  double key_sum_ = 0.0;
  double key_scale_ = 0.0;
  double largest_key_ = 0.0;
  std::vector<double> value_scales_;
};

struct Exact {
  explicit Exact(const DenseCase& dense)
      : values(DType::f32, dense.q.rows(), dense.q.columns()), bounds(values) {
    for (int64_t run = 0; run < dense.batch; ++run) {
      for (int64_t head = 0; head < dense.heads; ++head) {
        const HeadBounds of(dense, run, head);
        for (int64_t query = 0; query < dense.rows; ++query) of.fill(query, values, bounds);
      }
    }
  }

  TestMatrix values, bounds;
};

double rms_difference(const TestMatrix& a, const TestMatrix& b) {
  double sum = 0.0;
  for (int64_t t = 0; t < a.rows(); ++t) {
    for (int64_t c = 0; c < a.columns(); ++c) {
      const double difference = static_cast<double>(a.at(t, c)) - static_cast<double>(b.at(t, c));
      sum += difference * difference;
    }
  }
  return std::sqrt(sum / static_cast<double>(a.rows() * a.columns()));
}

class Int16Dense : public ParityTest {
 protected:
  void SetUp() override {
    ParityTest::SetUp();
    if (!IsSkipped() && !GetParam().name.starts_with("cpu")) {
      GTEST_SKIP() << "it attends in f32 or f16";
    }
  }

  void expect_within_bounds(const DenseCase& dense, const std::string& what) {
    const TestMatrix actual = dense.run(*kernels_, Inputs::i16);
    EXPECT_TRUE(agrees(actual, dense.run(*reference_, Inputs::f32), Exact(dense).bounds)) << what;
    EXPECT_EQ(actual, dense.run(*kernels_, Inputs::i16)) << what;
  }
};

TEST_P(Int16Dense, AttendsWithinTheBound) {
  for (const int64_t rows : {1, 2, 7, 31, 63, 64, 65, 130}) {
    for (const int64_t width : {1, 7, 31, 64, 80}) {
      const DenseCase dense(rows % 2 == 0 ? 1 : 3, rows, 2, width);
      const auto what = fmt::format("batch {}, S {}, 2 heads of {}", dense.batch, rows, width);
      expect_within_bounds(dense, what);
      if (rows > 2 && width > 1) {
        EXPECT_NE(dense.run(*kernels_, Inputs::i16), dense.run(*kernels_, Inputs::f32)) << what;
      }
    }
  }
  expect_within_bounds(DenseCase(1, 33, 1, 300), "a width of 300");
  expect_within_bounds(DenseCase(1, 1500, 1, 64), "1500 rows");
}

TEST_P(Int16Dense, AnEmptyRunIsNone) {
  const DenseCase dense(2, 0, 3, 64);
  EXPECT_EQ(dense.run(*kernels_, Inputs::i16).rows(), 0);
}

TEST_P(Int16Dense, AddsBiasesByDistanceAndPlaces) {
  for (const int64_t reach : {1, 16, 500}) {
    for (const int64_t rows : {1, 33, 200}) {
      DenseCase dense(2, rows, 3, 20);
      dense.add_bias(reach);
      expect_within_bounds(dense, fmt::format("reach {}, S {}", reach, rows));
      dense.add_gaps();
      expect_within_bounds(dense, fmt::format("reach {}, S {} with gaps", reach, rows));
    }
  }
}

TEST_P(Int16Dense, PeakedAndEvenWeights) {
  for (const float factor : {30.0F, 0.01F, 0.0F}) {
    for (const int64_t rows : {65, 300}) {
      DenseCase dense(1, rows, 2, 64);
      dense.q = dense.q.map([&](float value) { return factor * value; });
      expect_within_bounds(dense, fmt::format("queries times {}, S {}", factor, rows));
    }
  }
}

// Scores that rise along the rows, and fall: what was weighed before vanishes, or what comes.
TEST_P(Int16Dense, EarlierWeightsFollowLargerScores) {
  for (const float slope : {1.0F, -1.0F, 0.05F, -0.05F}) {
    DenseCase dense(1, 300, 2, 32);
    for (int64_t t = 0; t < 300; ++t) {
      for (const int64_t c : {0, 32}) {
        dense.q.set(t, c, std::sqrt(32.0F));
        dense.k.set(t, c, slope * static_cast<float>(t) / 10.0F);
      }
    }
    expect_within_bounds(dense, fmt::format("a slope of {}", slope));
  }
}

// The largest sums there are, of either sign, of rows that lie in one direction: within 1.5 % of
// 2^31. One that is not within 32 bits changes its sign.
TEST_P(Int16Dense, SumsStayWithin32Bits) {
  for (const int64_t width : {1, 2, 64, 300}) {
    for (const int64_t period : {1, 2, 100}) {
      DenseCase dense(1, 200, 1, width);
      for (int64_t t = 0; t < 200; ++t) {
        const float sign = t % period == 0 ? 1.0F : -1.0F;
        DenseCase::fill(dense.q, t, 0, width, 1.0F);
        DenseCase::fill(dense.k, t, 0, width, sign);
        DenseCase::fill(dense.v, t, 0, width, sign);
      }
      expect_within_bounds(dense, fmt::format("width {}, period {}", width, period));
    }
  }
}

TEST_P(Int16Dense, NaNAndInfinityMakeNaNOfWhatDependsOnThem) {
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    for (const int64_t rows : {7, 70}) {
      DenseCase dense(2, rows, 4, 20);
      DenseCase marked = dense;  // whole rows of values
      dense.k.set(5, 21, bad);   // run 0, head 1: every query
      marked.k.set(5, 21, kNaN);
      dense.v.set(rows + 2, 45, bad);  // run 1, head 2: the same
      DenseCase::fill(marked.v, rows + 2, 40, 60, kNaN);
      dense.q.set(rows + 4, 0, bad);  // run 1, head 0: one query
      marked.q.set(rows + 4, 0, kNaN);
      const TestMatrix expected = marked.run(*reference_, Inputs::f32);
      EXPECT_TRUE(agrees(dense.run(*kernels_, Inputs::i16), expected, expected.map([](float value) {
        return std::isfinite(value) ? 0.01F : kInfinity;
      }))) << bad
           << ", S " << rows;
    }
  }
}

TEST_P(Int16Dense, ZerosAreExact) {
  DenseCase dense(1, 100, 1, 64);
  dense.v = dense.v.map([](float) { return 0.0F; });
  const TestMatrix zeros = dense.run(*kernels_, Inputs::i16);
  EXPECT_EQ(zeros.magnitudes(), zeros.map([](float) { return 0.0F; }));
  dense = DenseCase(1, 100, 1, 64);
  for (const int64_t row : {0, 5, 99}) {
    for (TestMatrix* matrix : {&dense.q, &dense.k, &dense.v}) {
      DenseCase::fill(*matrix, row, 0, 64, 0.0F);
    }
  }
  expect_within_bounds(dense, "rows of zeros");
}

// Queries and keys whose sizes cancel, and values of any size.
TEST_P(Int16Dense, LargeAndSmallNumbers) {
  for (const float factor : {1e30F, 1e-30F}) {
    DenseCase dense(1, 100, 2, 64);
    dense.v = dense.v.map([&](float value) { return factor * value; });
    expect_within_bounds(dense, fmt::format("values times {}", factor));
    dense.q = dense.q.map([&](float value) { return factor * value; });
    dense.k = dense.k.map([&](float value) { return value / factor; });
    expect_within_bounds(dense, fmt::format("queries times {}", factor));
  }
}

TEST_P(Int16Dense, RowsOfDifferentSizes) {
  DenseCase dense(1, 130, 1, 64);
  for (int64_t row = 0; row < 130; ++row) {
    const float size = std::exp2(static_cast<float>(row % 41 - 20));
    for (int64_t c = 0; c < 64; ++c) {
      dense.v.set(row, c, size * dense.v.at(row, c));
      dense.q.set(row, c, std::min(size, 4.0F) * dense.q.at(row, c));
      dense.k.set(row, c, std::min(size, 1.0F) * dense.k.at(row, c));
    }
  }
  expect_within_bounds(dense, "rows of 2^-20 to 2^20");
}

TEST_P(Int16Dense, TheSmallestNumbersCountAsZeros) {
  DenseCase dense(1, 9, 1, 8);
  dense.v = dense.v.map([](float) { return 0x1p-112F; });
  EXPECT_EQ(dense.run(*kernels_, Inputs::i16).magnitudes().at(8, 7), 0.0F);
  dense.v = dense.v.map([](float) { return 0x1p-110F; });
  EXPECT_NEAR(dense.run(*kernels_, Inputs::i16).at(8, 7), 0x1p-110F, 0x1p-124F);
}

// Scores beyond what two steps of rounding resolve: one weight is one, and all others vanish.
TEST_P(Int16Dense, LargeScores) {
  for (const float factor : {1e4F, 1e6F, 1e8F, 1e30F}) {
    DenseCase dense(1, 150, 2, 16);
    for (int64_t t = 0; t < 150; ++t) {
      for (const int64_t begin : {0, 16}) {
        DenseCase::fill(dense.q, t, begin, begin + 16, factor);
        const float key = static_cast<float>((t * 37 + begin) % 150) / 150.0F - 0.7F;
        DenseCase::fill(dense.k, t, begin, begin + 16, key);
      }
    }
    const TestMatrix actual = dense.run(*kernels_, Inputs::i16);
    const TestMatrix expected = dense.run(*reference_, Inputs::f32);
    for (int64_t t = 0; t < 150; ++t) {
      for (int64_t c = 0; c < 32; ++c) {
        ASSERT_NEAR(actual.at(t, c), expected.at(t, c), kHalf / 32767.0) << factor << ", " << t;
      }
    }
  }
}

TEST_P(Int16Dense, ScoresOutOfRangeAreNaN) {
  DenseCase dense(1, 70, 1, 16);
  for (TestMatrix* matrix : {&dense.q, &dense.k}) {
    *matrix = matrix->map([](float) { return 1e30F; });
  }
  const TestMatrix actual = dense.run(*kernels_, Inputs::i16);
  for (int64_t t = 0; t < 70; ++t) ASSERT_TRUE(std::isnan(actual.at(t, t % 16))) << t;
}

TEST_P(Int16Dense, TheResultMayTakeThePlaceOfQueries) {
  for (const int64_t rows : {7, 200}) {
    DenseCase dense(2, rows, 3, 64);
    dense.add_bias(30);
    const TestMatrix apart = dense.run(*kernels_, Inputs::i16);
    const TestMatrix both = dense.run_in_place(*kernels_);
    for (int64_t t = 0; t < both.rows(); ++t) {
      for (int64_t c = 0; c < both.columns(); ++c) ASSERT_EQ(both.at(t, c), apart.at(t, c));
    }
  }
}

TEST_P(Int16Dense, BitsDependOnNeitherThreadsNorCompany) {
  const DenseCase dense(3, 230, 5, 64);
  const TestMatrix together = dense.run(*kernels_, Inputs::i16);
  for (const int threads : {1, 2, 5}) {
    const auto others = test::test_kernels(GetParam().name, threads);
    EXPECT_EQ(together, dense.run(*others, Inputs::i16)) << threads << " threads";
  }
  DenseCase alone(1, 230, 5, 64);
  for (const auto& [to, from] :
       {std::pair{&alone.q, &dense.q}, {&alone.k, &dense.k}, {&alone.v, &dense.v}}) {
    for (int64_t t = 0; t < 230; ++t) {
      for (int64_t c = 0; c < to->columns(); ++c) to->set(t, c, from->at(460 + t, c));
    }
  }
  const TestMatrix last = alone.run(*kernels_, Inputs::i16);
  for (int64_t t = 0; t < 230; ++t) {
    for (int64_t c = 0; c < last.columns(); ++c) ASSERT_EQ(last.at(t, c), together.at(460 + t, c));
  }
}

// The usual error of scores, where bounds are those of the worst: of two keys with values 1 and -1
// the result is tanh(d / 2), d the difference of scores; d is off by roundings of s / sqrt(12)
// each. Beside that the weights' 2^-16 is little.
TEST_P(Int16Dense, ScoresAreNoFurtherOffThanRoundingMakesThem) {
  DenseCase dense(300, 2, 1, 64);
  for (int64_t t = 0; t < 600; ++t) {
    DenseCase::fill(dense.v, t, 0, 64, t % 2 == 0 ? 1.0F : -1.0F);
  }
  const TestMatrix actual = dense.run(*kernels_, Inputs::i16);
  double off = 0.0;
  double expected = 0.0;
  for (int64_t t = 0; t < 600; ++t) {
    const int64_t first = t / 2 * 2;
    const Sizes query(dense.q, t, 0, 64);
    double score = 0.0;
    double distance = 0.0;
    for (int64_t c = 0; c < 64; ++c) {
      const double difference = number(dense.k, first, c) - number(dense.k, first + 1, c);
      score += number(dense.q, t, c) * difference / 8.0;
      distance += difference * difference;
    }
    const double keys = std::pow(Sizes(dense.k, first, 0, 64).key_scale(), 2.0) +
                        std::pow(Sizes(dense.k, first + 1, 0, 64).key_scale(), 2.0);
    const double variance =
        (std::pow(query.key_scale(), 2.0) * distance + keys * query.norm * query.norm) /
        (12.0 * 64.0);
    const double exact = std::tanh(score / 2.0);
    off += std::pow(static_cast<double>(actual.at(t, 7)) - exact, 2.0);
    expected += variance * std::pow((1.0 - exact * exact) / 2.0, 2.0);
  }
  EXPECT_LT(off, 1.5 * expected);
  EXPECT_GT(off, 0.6 * expected);
}

// The usual error, where bounds are those of the worst: of even weights the rounding of weights
// prevails, by t / sqrt(12) each with t = p s_v / 1023, and errors are independent.
TEST_P(Int16Dense, ErrorsAreNoLargerThanRoundingMakesThem) {
  DenseCase dense(1, 300, 1, 64);
  dense.q = dense.q.map([](float value) { return 0.25F * value; });
  const Exact exact(dense);
  const double size = rms_difference(exact.values, exact.values.map([](float) { return 0.0F; }));
  const double off = rms_difference(dense.run(*kernels_, Inputs::i16), exact.values);
  EXPECT_LT(off, 1.25 * size / (1023.0 * std::sqrt(12.0)));
  EXPECT_GT(off, 0.75 * size / (1023.0 * std::sqrt(12.0)));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Int16Dense, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
