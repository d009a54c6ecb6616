// Pages beyond element 2^31 of what a card was asked for: attention reads them as it reads the
// first.
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "kernels/staged_kernels.h"
#include "slim/error.h"
#include "tensor/tensor.h"

namespace slim {
namespace {

constexpr int64_t kWidth = 512;
constexpr int64_t kHeads = 8;
constexpr int64_t kPages = 3;

class FarPages : public testing::Test {
 protected:
  void SetUp() override {
    kernels_ = test::device_kernels("cuda", 1);
    if (kernels_ == nullptr) GTEST_SKIP() << test::kNoCard;
    // Two planes of f16 rows a page; pages in the first and in the last bytes of 8 GiB and more.
    page_bytes_ = 2 * kPageRows * kWidth * 2;
    const int64_t far = 4 * (int64_t{1} << 31);
    const auto bytes = static_cast<size_t>(far + kPages * page_bytes_);
    try {
      memory_ = kernels_->device().allocate(bytes);
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<Half> rows(static_cast<size_t>(kPages * page_bytes_ / 2));
    for (Half& value : rows) value = to_half(normal(random));
    for (const int64_t begin : {int64_t{0}, far}) {
      kernels_->device().copy(memory_->data() + begin, rows.data(),
                              static_cast<size_t>(kPages * page_bytes_));
    }
    for (int64_t i = 0; i < kPages; ++i) {
      near_.push_back(memory_->data() + i * page_bytes_);
      far_.push_back(memory_->data() + far + i * page_bytes_);
    }
  }

  // The mixtures of `tokens` queries; `whole`: each head scores and mixes whole rows.
  std::vector<float> attend(const std::vector<std::byte*>& pages, int64_t tokens, bool whole) {
    Device& device = kernels_->device();
    const int64_t columns = whole ? kHeads * kWidth : kWidth;
    std::vector<float> numbers(static_cast<size_t>(tokens * columns));
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (float& number : numbers) number = normal(random);
    const Tensor queries = Tensor::from(numbers, {tokens, columns}).on(device);
    Tensor mixed = Tensor::allocate(device, DType::f32, {tokens, columns});
    Slice slice;
    slice.count = tokens;
    slice.rows = kPages * kPageRows;
    slice.pages = pages.data();
    slice.position = slice.rows - tokens;
    Attend attend;
    attend.queries = queries.matrix();
    attend.mixed = mixed.writable_matrix();
    attend.slices = {&slice, 1};
    attend.keys = {{DType::f16, kWidth}, 0};
    attend.values = whole ? attend.keys : Plane{{DType::f16, kWidth}, page_bytes_ / 2};
    attend.heads = kHeads;
    attend.key_width = attend.value_width = whole ? kWidth : kWidth / kHeads;
    attend.key_stride = attend.value_stride = whole ? 0 : kWidth / kHeads;
    attend.causal = !whole;
    attend.scale = 0.125F;
    if (whole) {
      kernels_->attend_shared(attend);
    } else {
      kernels_->attend_pair(attend);
    }
    device.copy(numbers.data(), mixed.data(), numbers.size() * sizeof(float));
    return numbers;
  }

  std::unique_ptr<Kernels> kernels_;
  std::shared_ptr<Buffer> memory_;
  int64_t page_bytes_ = 0;
  std::vector<std::byte*> near_, far_;
};

TEST_F(FarPages, ReadAsTheFirst) {
  for (const bool whole : {false, true}) {
    for (const int64_t tokens : {1, 5, 40}) {
      const std::vector<float> near = attend(near_, tokens, whole);
      EXPECT_EQ(near, attend(far_, tokens, whole)) << tokens << ' ' << whole;
      EXPECT_NE(near, std::vector<float>(near.size())) << tokens << ' ' << whole;
    }
  }
}

}  // namespace
}  // namespace slim
