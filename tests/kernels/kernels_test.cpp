// The factory, and the parity harness itself: a comparison that cannot fail proves nothing.
#include "kernels/kernels.h"

#include <algorithm>
#include <limits>

#include "kernels/parity.h"
#include "slim/error.h"

namespace slim {
namespace {

TEST(KernelFactory, ListsTheReferenceFirstAndMakesWhatItLists) {
  const std::vector<std::string> names = kernel_names();
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names.front(), "reference");
  for (const std::string& name : names) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
    const auto kernels = make_kernels(name, 1);
    ASSERT_NE(kernels, nullptr) << name;
    EXPECT_EQ(std::count(names.begin(), names.end(), kernels->name()), 1) << name;
    EXPECT_EQ(kernels->threads(), 1) << name;
  }
}

TEST(KernelFactory, NamesTheDevicesThereAre) {
  for (const char* name : {"", "referenc", "reference:", "cpu:", "cpu:none", "tpu"}) {
    try {
      make_kernels(name, 1);
      ADD_FAILURE() << "'" << name << "' was made";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request);
      EXPECT_NE(error.text().find("reference"), std::string::npos) << error.text();
      EXPECT_NE(error.text().find("'" + std::string(name) + "'"), std::string::npos);
    }
  }
}

class ParityHarness : public testing::Test {
 protected:
  TestMatrix expected_ = TestMatrix::random(1, DType::f32, 5, 20, 2);
  TestMatrix actual_ = expected_;
  TestMatrix bounds_ = expected_.map([](float v) { return 1e-5F * std::fabs(v); });
};

TEST_F(ParityHarness, PassesWhatIsWithinBounds) {
  EXPECT_TRUE(agrees(actual_, expected_, bounds_));
  actual_.set(2, 3, expected_.at(2, 3) * 1.000009F);
  EXPECT_TRUE(agrees(actual_, expected_, bounds_));
}

TEST_F(ParityHarness, FailsOneElementOutsideItsBound) {
  actual_.set(2, 3, expected_.at(2, 3) * 1.00002F);
  EXPECT_FALSE(agrees(actual_, expected_, bounds_));
  EXPECT_EQ(compare(actual_, expected_, bounds_).outside, 1);
}

TEST_F(ParityHarness, FailsMisplacedNaNAndInfinity) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float odd : {kNaN, kInfinity, -kInfinity}) {
    TestMatrix other = expected_;
    other.set(4, 19, odd);
    EXPECT_FALSE(agrees(other, expected_, bounds_)) << odd;
    EXPECT_FALSE(agrees(expected_, other, bounds_)) << odd;
    EXPECT_TRUE(agrees(other, other, bounds_)) << odd;
    EXPECT_FALSE(agrees(other, other.map([](float v) { return -v; }), bounds_)) << odd;
  }
}

TEST_F(ParityHarness, FailsABoundThatIsNoNumber) {
  bounds_.set(0, 0, std::numeric_limits<float>::quiet_NaN());
  EXPECT_FALSE(agrees(actual_, expected_, bounds_));
  bounds_.set(0, 0, std::numeric_limits<float>::infinity());
  EXPECT_FALSE(agrees(actual_, expected_, bounds_));
}

// Each element within its bound, but all of them off by most of it, in turns up and down.
TEST_F(ParityHarness, FailsErrorsThatFillTheBounds) {
  float sign = 9e-6F;
  actual_ = expected_.map([&](float v) { return v + (sign = -sign) * std::fabs(v); });
  EXPECT_EQ(compare(actual_, expected_, bounds_).outside, 0);
  EXPECT_FALSE(agrees(actual_, expected_, bounds_));
}

TEST_F(ParityHarness, FailsWrittenPadding) {
  actual_.view().row<float>(1)[20] = 0.0F;
  EXPECT_FALSE(agrees(actual_, expected_, bounds_));
}

}  // namespace
}  // namespace slim
