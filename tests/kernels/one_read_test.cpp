// Attention over sealed keys in chunks, in the shapes that a card reads once: against the
// reference, alone and in company. Probabilities are f16 there, so an element may stray by 2^-11 of
// the largest value of its channel, and by as much again for what the scores' own rounding adds.
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/paged_rows.h"
#include "kernels/parity.h"

namespace slim {
namespace {

struct Shape {
  int bits, heads, head_width, spill;
  int turned = head_width;  // columns of a head that rotations turn
};

// A sequence's rows, and how many queries stand after them.
struct Sequence {
  int64_t rows, queries;
};

class OneRead : public ParityTest {
 protected:
  void SetUp() override {
    ParityTest::SetUp();
    if (!IsSkipped() && !kernels_->chunked()) GTEST_SKIP() << "its keys lie in rows";
  }
};

// A call with all its memory.
class Call {
 public:
  Call(const Shape& shape, const std::vector<Sequence>& sequences)
      : shape_(shape),
        width_(shape.heads * shape.head_width + shape.spill),
        format_{DType::f32, width_, shape.bits, Scaling::channel, true},
        rotation_(shape.turned, false, frequencies(shape.turned), 1.0, 4096),
        largest_(static_cast<size_t>(width_), 0.0F),
        queries_(TestMatrix(DType::f32, 0, 1)) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    int64_t tokens = 0;
    const RowFormat formats[] = {format_, {DType::f32, 1}};
    for (const Sequence& sequence : sequences) {
      PagedRows& pages = pages_.emplace_back(formats, sequence.rows);
      fill(pages, random);
      Slice slice = pages.slice(tokens, sequence.queries);
      slice.position = sequence.rows + 3;
      slices_.push_back(slice);
      tokens += sequence.queries;
    }
    queries_ = TestMatrix::random(5, DType::f32, tokens, shape.heads * shape.head_width);
    for (int i = 0; i < shape.heads; ++i) slopes_.push_back(0.002F * static_cast<float>(i + 1));
    for (int i = 0; i < shape.heads * shape.head_width; ++i) {
      gains_.push_back(0.8F + 0.1F * static_cast<float>(i % 5));
      biases_.push_back(0.2F * static_cast<float>(i % 7) - 0.5F);
    }
  }

  struct Result {
    TestMatrix mixed, lse;
  };

  Attend attend() {
    Attend attend;
    attend.queries = queries_.view();
    attend.keys = attend.values = {format_, 0};
    attend.heads = shape_.heads;
    attend.key_width = attend.key_stride = shape_.head_width;
    attend.value_width = width_;
    attend.value_stride = 0;
    attend.scale = 2.0F / std::sqrt(static_cast<float>(shape_.head_width));
    attend.causal = false;
    attend.rotations = {&turning_, 1};
    attend.merge = true;
    return attend;
  }
  void add_features(Attend& attend) {
    attend.key_gain = gains_.data();
    attend.key_bias = biases_.data();
    attend.key_factors = &pages_.front().plane(1);
    attend.slopes = slopes_.data();
    attend.cap = 8.0F;
    attend.window = 100;
  }

  // Over what other rows gave: 0.5 and a logarithm of 1.
  Result run(Kernels& kernels, Attend attend, std::span<const Slice> slices) {
    Result result{queries_over(width_), queries_over(1)};
    result.mixed = result.mixed.map([](float) { return 0.5F; });
    result.lse = result.lse.map([](float) { return 1.0F; });
    attend.slices = slices;
    attend.mixed = result.mixed.view();
    attend.lse = result.lse.view();
    kernels.attend_shared(attend);
    return result;
  }
  std::span<const Slice> slices() const { return slices_; }

  TestMatrix bounds() const {
    TestMatrix bounds = queries_over(width_);
    for (int64_t row = 0; row < bounds.rows(); ++row) {
      for (int64_t c = 0; c < bounds.columns(); ++c) {
        const float most = std::max(0.5F, largest_[static_cast<size_t>(c % width_)]);
        bounds.set(row, c, 0x1p-10F * most);
      }
    }
    return bounds;
  }
  TestMatrix lse_bounds() const {
    return queries_over(1).map([](float) { return 0x1p-10F; });
  }

 private:
  static std::vector<double> frequencies(int width) {
    std::vector<double> all;
    for (int i = 0; i < width / 2; ++i) all.push_back(std::pow(10000.0, -2.0 * i / width));
    return all;
  }
  TestMatrix queries_over(int64_t width) const {
    return TestMatrix(DType::f32, queries_.rows(), shape_.heads * width);
  }

  void fill(PagedRows& pages, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> rows(static_cast<size_t>(kPageRows * width_));
    for (int64_t page = 0; page * kPageRows < pages.rows(); ++page) {
      for (size_t i = 0; i < rows.size(); ++i) {
        const auto channel = i % static_cast<size_t>(width_);
        rows[i] = normal(random) * 0.3F * static_cast<float>(1 + channel % 7) +
                  static_cast<float>(channel % 5) - 2.0F;
        largest_[channel] = std::max(largest_[channel], std::fabs(rows[i]));
      }
      seal_page(format_, rows.data(), nullptr, pages.sealed(0, page));
      for (int64_t row = 0; row < kPageRows; ++row) {
        const float factor = 0.5F + 0.01F * static_cast<float>(row);
        pages.set_row(1, page * kPageRows + row, &factor);
      }
    }
  }

  Shape shape_;
  int64_t width_;
  RowFormat format_;
  Rotation rotation_;
  const Rotation* turning_ = &rotation_;
  std::vector<float> largest_;  // of each channel
  TestMatrix queries_;
  std::vector<float> slopes_;
  std::vector<float> gains_;  // of keys, by column
  std::vector<float> biases_;
  std::vector<PagedRows> pages_;
  std::vector<Slice> slices_;
};

const std::vector<Sequence> kSequences = {{64, 1}, {0, 1}, {640, 2}, {128, 1}, {1984, 1}};

// As the reference to the accuracy of probabilities.
void expect_agreement(Call& call, const Attend& attend, Kernels& reference, Kernels& kernels) {
  const Call::Result expected = call.run(reference, attend, call.slices());
  const Call::Result actual = call.run(kernels, attend, call.slices());
  EXPECT_TRUE(agrees(actual.mixed, expected.mixed, call.bounds()));
  EXPECT_TRUE(agrees(actual.lse, expected.lse, call.lse_bounds()));
}

TEST_P(OneRead, AgreesWithTheReferenceInEveryShape) {
  constexpr struct {
    int heads, width, turned;
  } kShapes[] = {{8, 64, 64},   {16, 64, 64},   {16, 64, 16},  {32, 64, 64},
                 {32, 64, 32},  {32, 80, 80},   {32, 80, 32},  {32, 96, 96},
                 {8, 128, 128}, {16, 128, 128}, {16, 128, 64}, {20, 128, 128},
                 {32, 128, 32}, {40, 128, 128}, {40, 128, 32}, {16, 256, 256}};
  for (const int bits : {16, 12, 10, 8}) {
    for (const auto& [heads, width, turned] : kShapes) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << heads << " heads of " << width << ", "
                                      << turned << " turned");
      Call call({bits, heads, width, heads == 8 ? 8 : 32, turned}, {{192, 1}, {64, 2}});
      expect_agreement(call, call.attend(), *reference_, *kernels_);
    }
  }
}

TEST_P(OneRead, AddsWhatALayerAddsToKeysAndScores) {
  for (const int bits : {16, 12}) {
    for (const int turned : {64, 16}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << turned << " turned");
      Call call({bits, 16, 64, 8, turned}, kSequences);
      Attend attend = call.attend();
      call.add_features(attend);
      expect_agreement(call, attend, *reference_, *kernels_);
    }
  }
}

// Keys that are not turned at all.
TEST_P(OneRead, DoesWithoutRotations) {
  Call call({12, 8, 64, 8}, kSequences);
  Attend attend = call.attend();
  attend.rotations = {};
  expect_agreement(call, attend, *reference_, *kernels_);
}

// Neighbours decide where a sequence's pages are cut, which changes no more than rounding.
TEST_P(OneRead, CompanyChangesOnlyRounding) {
  Call call({12, 8, 64, 8}, kSequences);
  const Call::Result together = call.run(*kernels_, call.attend(), call.slices());
  for (const Slice& slice : call.slices()) {
    const Call::Result alone = call.run(*kernels_, call.attend(), {&slice, 1});
    for (int64_t token = slice.first; token < slice.first + slice.count; ++token) {
      for (int64_t c = 0; c < alone.mixed.columns(); ++c) {
        ASSERT_NEAR(alone.mixed.at(token, c), together.mixed.at(token, c), 2e-3) << token;
      }
    }
  }
}

TEST_P(OneRead, NoRowsLeaveWhatWasThere) {
  Call call({16, 8, 64, 8}, {{0, 1}, {0, 2}});
  const Call::Result result = call.run(*kernels_, call.attend(), call.slices());
  for (int64_t token = 0; token < 3; ++token) {
    EXPECT_EQ(result.mixed.at(token, 0), 0.5F);
    EXPECT_EQ(result.lse.at(token, 0), 1.0F);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, OneRead, testing::ValuesIn(candidates()), candidate_name);

}  // namespace
}  // namespace slim
