// Parity of attend_dense: unmasked attention within runs of rows.
#include <limits>

#include "fmt/format.h"
#include "kernels/parity.h"

namespace slim {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct DenseCase {
  DenseCase(int64_t run_count, int64_t rows, int64_t head_count, int64_t head_width,
            int64_t padding = 0)
      : batch(run_count),
        heads(head_count),
        width(head_width),
        q(TestMatrix::random(1, DType::f32, batch * rows, heads * width, padding)),
        k(TestMatrix::random(2, DType::f32, batch * rows, heads * width, padding)),
        v(TestMatrix::random(3, DType::f32, batch * rows, heads * width, padding)) {
    q = q.map([](float value) { return 4.0F * value; });
  }

  float scale() const { return 1.0F / std::sqrt(static_cast<float>(width)); }
  TestMatrix run(Kernels& kernels) const { return run(kernels, v); }
  // Keys are at most 1, so the products of a score come to no more than scale * sum|q|.
  TestMatrix bounds(Kernels& reference) const {
    TestMatrix result = run(reference, v.magnitudes());
    for (int64_t t = 0; t < q.rows(); ++t) {
      for (int64_t head = 0; head < heads; ++head) {
        double score = 0.0;
        for (int64_t c = head * width; c < (head + 1) * width; ++c) {
          score += static_cast<double>(scale() * std::fabs(q.at(t, c)));
        }
        if (reach > 0) score += 3.0;
        const double share = attention_tolerance(q.rows() / batch, width, score);
        for (int64_t c = head * width; c < (head + 1) * width; ++c) {
          result.set(t, c, static_cast<float>(share * static_cast<double>(result.at(t, c))));
        }
      }
    }
    return result;
  }

  // Random biases of up to 3, by distance.
  void add_bias(int64_t of_reach) {
    reach = of_reach;
    biases = TestMatrix::random(4, DType::f32, heads, 2 * reach + 1).map([](float value) {
      return 3.0F * value;
    });
  }
  // Gaps of 0 to 4 rows, and a long one, that differ from run to run.
  void add_gaps() {
    for (int64_t row = 0, place = 0; row < q.rows(); ++row) {
      if (row % (q.rows() / batch) == 0) place = row % 7;
      places.push_back(static_cast<int32_t>(place));
      place += 1 + row * row % 5 + (row % 31 == 30 ? 90 : 0);
    }
  }
  // The result where q was.
  TestMatrix run_in_place(Kernels& kernels) const {
    TestMatrix both = q;
    kernels.attend_dense(
        {both.view(), k.view(), v.view(), both.view(), heads, batch, scale(), bias(), places});
    return both;
  }

  int64_t batch, heads, width;
  int64_t reach = 0;
  TestMatrix q, k, v;
  TestMatrix biases{DType::f32, 1, 1};
  std::vector<int32_t> places;

 private:
  DistanceBias bias() const { return {reach == 0 ? nullptr : biases.floats(), reach}; }
  TestMatrix run(Kernels& kernels, const TestMatrix& values) const {
    TestMatrix out(DType::f32, q.rows(), q.columns(), 2);
    kernels.attend_dense(
        {q.view(), k.view(), values.view(), out.view(), heads, batch, scale(), bias(), places});
    return out;
  }
};

class AttendDenseParity : public ParityTest {
 protected:
  void expect_parity(const DenseCase& dense, const std::string& what) {
    const TestMatrix actual = dense.run(*kernels_);
    EXPECT_TRUE(agrees(actual, dense.run(*reference_), dense.bounds(*reference_))) << what;
    EXPECT_EQ(actual, dense.run(*kernels_)) << what;
  }
};

TEST_P(AttendDenseParity, BatchesHeadsAndOddSizes) {
  for (const int64_t batch : {1, 3}) {
    for (const int64_t rows : {1, 2, 7, 31, 33, 64, 65, 70}) {
      for (const int64_t heads : {1, 6}) {
        for (const int64_t width : {1, 7, 31, 33, 64}) {
          expect_parity(DenseCase(batch, rows, heads, width, width % 2),
                        fmt::format("batch {}, S {}, {} heads of {}", batch, rows, heads, width));
        }
      }
    }
  }
  expect_parity(DenseCase(2, 20, 20, 64), "20 heads");
  expect_parity(DenseCase(1, 500, 1, 64, 64), "500 rows");
  expect_parity(DenseCase(2, 0, 6, 64), "no rows");
}

TEST_P(AttendDenseParity, BiasesByDistance) {
  for (const int64_t reach : {1, 16, 64, 500}) {
    for (const int64_t rows : {1, 33, 70, 300}) {
      DenseCase dense(2, rows, 3, 20);
      dense.add_bias(reach);
      expect_parity(dense, fmt::format("reach {}, S {}", reach, rows));
    }
  }
}

TEST_P(AttendDenseParity, BiasesByPlacesWithGaps) {
  for (const int64_t reach : {1, 16, 128}) {
    for (const int64_t rows : {1, 33, 70, 300}) {
      DenseCase dense(2, rows, 3, 20);
      dense.add_bias(reach);
      const TestMatrix without = dense.run(*kernels_);
      dense.add_gaps();
      expect_parity(dense, fmt::format("reach {}, S {}", reach, rows));
      // Beyond a reach of 1 all distances are one.
      if (rows > 1 && reach > 1) {
        EXPECT_NE(dense.run(*kernels_), without);
      }
    }
  }
}

TEST_P(AttendDenseParity, TheResultMayTakeThePlaceOfQueries) {
  for (const int64_t rows : {7, 200}) {
    DenseCase dense(2, rows, 3, 64);
    dense.add_bias(30);
    const TestMatrix apart = dense.run(*kernels_);
    const TestMatrix in_place = dense.run_in_place(*kernels_);
    for (int64_t t = 0; t < apart.rows(); ++t) {
      for (int64_t c = 0; c < apart.columns(); ++c) {
        ASSERT_EQ(in_place.at(t, c), apart.at(t, c)) << rows << " rows, " << t << ", " << c;
      }
    }
  }
}

TEST_P(AttendDenseParity, NaNStaysInItsRunAndHead) {
  DenseCase dense(2, 70, 3, 20);
  dense.k.set(5, 21, kNaN);   // run 0, head 1: every query
  dense.v.set(77, 45, kNaN);  // run 1, head 2: one column
  dense.q.set(80, 0, kNaN);   // run 1, head 0: one query
  expect_parity(dense, "NaN in q, k and v");
}

TEST_P(AttendDenseParity, LargeScores) {
  DenseCase dense(1, 70, 2, 16);
  dense.q = dense.q.map([](float value) { return 1e4F * value; });
  expect_parity(dense, "scores of 1e4");
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttendDenseParity, testing::ValuesIn(candidates()),
                         candidate_name);

}  // namespace
}  // namespace slim
