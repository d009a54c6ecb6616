// Tensor, Matrix and Device: shapes, sharing, conversion, and the count of bytes held.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "error_matchers.h"

namespace slim {
namespace {

using Shape = std::vector<int64_t>;

Tensor counting(const Shape& shape, size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0F);
  return Tensor::from(values, shape);
}

TEST(Tensor, KnowsItsShape) {
  const Tensor tensor = counting({2, 3, 4}, 24);
  EXPECT_FALSE(tensor.empty());
  EXPECT_EQ(tensor.shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(tensor.size(1), 3);
  EXPECT_EQ(tensor.elements(), 24);
  EXPECT_EQ(tensor.bytes(), 96);
  EXPECT_EQ(Tensor::from(std::vector<float>{7.0F}, {}).elements(), 1);
  EXPECT_TRUE(Tensor().empty());
}

TEST(Tensor, MatrixFoldsAllAxesButTheLast) {
  const Tensor tensor = counting({2, 3, 4}, 24);
  const ConstMatrix matrix = tensor.matrix();
  EXPECT_EQ(matrix.rows, 6);
  EXPECT_EQ(matrix.columns, 4);
  EXPECT_EQ(matrix.stride, 4);
  EXPECT_EQ(*matrix.row<float>(5), 20.0F);
  EXPECT_EQ(*matrix.columns_from(1, 2).row<float>(5), 21.0F);
  EXPECT_EQ(matrix.columns_from(1, 2).columns, 2);
  EXPECT_EQ(matrix.columns_from(1, 2).stride, 4);
  EXPECT_EQ(*matrix.rows_from(2, 3).row<float>(1), 12.0F);
  EXPECT_EQ(matrix.rows_from(2, 3).rows, 3);
  EXPECT_EQ(counting({3}, 3).matrix().rows, 1);
  EXPECT_EQ(counting({}, 1).matrix().columns, 1);
  EXPECT_EQ(counting({5, 0}, 0).matrix().rows, 0);
}

TEST(Tensor, SlicesShareBytesAndKeepThemAlive) {
  Tensor part;
  {
    const Tensor whole = counting({4, 3}, 12);
    part = whole.slice(1, 2);
    EXPECT_EQ(part.data(), whole.data() + 12);
    EXPECT_EQ(whole.slice(4, 0).elements(), 0);
    EXPECT_EQ(whole.slice(0, 4).shape(), whole.shape());
  }
  EXPECT_EQ(part.shape(), (Shape{2, 3}));
  EXPECT_EQ(part.values<float>()[0], 3.0F);
  EXPECT_EQ(part.slice(1, 1).values<float>()[2], 8.0F);
}

TEST(Tensor, SlicesStayInside) {
  const Tensor tensor = counting({4, 3}, 12);
  for (const auto& [begin, count] :
       std::vector<std::pair<int64_t, int64_t>>{{-1, 1}, {0, 5}, {4, 1}, {0, -1}, {2, 3}}) {
    EXPECT_TRUE(fails_with(ErrorCode::internal, {"slice"},
                           [&, b = begin, c = count] { tensor.slice(b, c); }))
        << begin << ", " << count;
  }
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"slice"}, [] { counting({}, 1).slice(0, 1); }));
}

TEST(Tensor, ReshapesWithoutCopying) {
  const Tensor tensor = counting({4, 3}, 12);
  EXPECT_EQ(tensor.reshape({2, 6}).data(), tensor.data());
  EXPECT_EQ(tensor.reshape({2, 6}).matrix().columns, 6);
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"elements"}, [&] { tensor.reshape({5, 2}); }));
}

TEST(Tensor, BorrowsBytesAndTheirOwner) {
  auto owner = std::make_shared<std::vector<float>>(std::vector<float>{1.0F, 2.0F});
  const std::weak_ptr<std::vector<float>> watch = owner;
  {
    const auto bytes = std::as_bytes(std::span<const float>(*owner));
    Tensor tensor = Tensor::borrow(std::move(owner), bytes, DType::f32, {2});
    EXPECT_EQ(tensor.values<float>()[1], 2.0F);
    EXPECT_FALSE(watch.expired());
    EXPECT_TRUE(fails_with(ErrorCode::internal, {"written"}, [&] { tensor.writable<float>(); }));
    EXPECT_TRUE(fails_with(ErrorCode::internal, {"written"}, [&] { tensor.writable_matrix(); }));
    EXPECT_TRUE(fails_with(ErrorCode::internal, {"fit the shape"},
                           [&] { Tensor::borrow(nullptr, bytes, DType::f32, {3}); }));
  }
  EXPECT_TRUE(watch.expired());
}

TEST(Tensor, IsReadWithItsOwnType) {
  const Tensor tensor = counting({2}, 2);
  EXPECT_TRUE(fails_with(ErrorCode::internal, {"own type"}, [&] { tensor.values<Half>(); }));
}

TEST(Tensor, ConvertsEveryTypeToFloats) {
  const auto converted = [](DType type, const auto& stored) {
    const auto bytes = std::as_bytes(std::span(stored));
    const Tensor floats = Tensor::borrow(nullptr, bytes, type, {2}).to_f32();
    EXPECT_EQ(floats.type(), DType::f32);
    return std::vector<float>(floats.values<float>(), floats.values<float>() + 2);
  };
  using Pair = std::vector<float>;
  EXPECT_EQ(converted(DType::f32, std::vector<float>{1.5F, -2}), (Pair{1.5F, -2}));
  EXPECT_EQ(converted(DType::f16, std::vector<uint16_t>{0x3E00, 0xC000}), (Pair{1.5F, -2}));
  EXPECT_EQ(converted(DType::bf16, std::vector<uint16_t>{0x3FC0, 0xC000}), (Pair{1.5F, -2}));
  EXPECT_EQ(converted(DType::i8, std::vector<int8_t>{-128, 127}), (Pair{-128, 127}));
  EXPECT_EQ(converted(DType::i16, std::vector<int16_t>{-32768, 300}), (Pair{-32768, 300}));
  EXPECT_EQ(converted(DType::i32, std::vector<int32_t>{-70000, 3}), (Pair{-70000, 3}));
}

TEST(Device, AlignsAndCounts) {
  Device& device = host_device();
  const int64_t before = device.allocated_bytes();
  {
    const auto first = device.allocate(1000);
    EXPECT_EQ(first->size(), 1000U);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first->data()) % 64, 0U);
    std::memset(first->data(), 1, 1000);
    const Tensor tensor = Tensor::allocate(device, DType::f16, {10, 5});
    const Tensor shared = tensor.slice(2, 3);
    EXPECT_EQ(device.allocated_bytes() - before, 1100);
    EXPECT_GE(device.peak_bytes(), device.allocated_bytes());
  }
  EXPECT_EQ(device.allocated_bytes(), before);
  EXPECT_GE(device.peak_bytes(), before + 1100);
}

TEST(Device, LargeBlocksEndWhereNothingCanBeTouched) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (const size_t bytes : {size_t{1} << 20, (size_t{1} << 20) + 4096, (size_t{3} << 20) - 64}) {
    const auto block = host_device().allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block->data()) % 64, 0U);
    std::memset(block->data(), 1, bytes);
    const volatile std::byte* const end = block->data() + bytes;
    EXPECT_DEATH(std::exit(static_cast<int>(*end)), "") << bytes;
  }
}

TEST(Device, CountsFromManyThreads) {
  Device& device = host_device();
  const int64_t before = device.allocated_bytes();
  const auto churn = [&] {
    for (size_t i = 1; i < 500; ++i) device.allocate(i);
  };
  std::thread other(churn);
  churn();
  other.join();
  EXPECT_EQ(device.allocated_bytes(), before);
}

// Has memory for one allocation at a time.
class SmallDevice final : public Device {
 public:
  std::string_view name() const override { return "small"; }

 protected:
  std::byte* acquire(size_t bytes) override {
    return taken_ || bytes > sizeof bytes_ ? nullptr : (taken_ = true, bytes_);
  }
  void release(std::byte* /*data*/, size_t /*bytes*/) noexcept override { taken_ = false; }

 private:
  bool taken_ = false;
  std::byte bytes_[64] = {};
};

TEST(Device, SurvivesRunningOutOfMemory) {
  SmallDevice device;
  auto held = device.allocate(40);
  EXPECT_TRUE(fails_with(ErrorCode::out_of_memory, {"small", "another 10 bytes"},
                         [&] { device.allocate(10); }));
  EXPECT_EQ(device.allocated_bytes(), 40);
  EXPECT_EQ(device.peak_bytes(), 40);
  held.reset();
  EXPECT_EQ(device.allocated_bytes(), 0);
  EXPECT_NO_THROW(device.allocate(64));
  EXPECT_EQ(device.peak_bytes(), 64);
}

// Memory that tensors must be brought to: here the host's, but nobody may know.
class FarDevice final : public Device {
 public:
  std::string_view name() const override { return "far"; }
  bool host() const noexcept override { return false; }
  void copy(void* to, const void* from, size_t bytes) override {
    ++copies;
    Device::copy(to, from, bytes);
  }
  int copies = 0;

 protected:
  std::byte* acquire(size_t bytes) override { return new std::byte[bytes]; }
  void release(std::byte* data, size_t /*bytes*/) noexcept override { delete[] data; }
};

TEST(TensorOn, IsTheTensorItselfWhereItsBytesLie) {
  FarDevice far;
  const Tensor here = Tensor::from(std::vector<float>{1, 2, 3, 4}, {2, 2});
  EXPECT_EQ(here.on(host_device()).data(), here.data());
  const Tensor there = here.on(far);
  EXPECT_NE(there.data(), here.data());
  EXPECT_EQ(there.shape(), here.shape());
  EXPECT_EQ(there.on(far).data(), there.data());
  EXPECT_EQ(there.slice(1, 1).on(far).data(), there.data() + 8);
  const Tensor back = there.slice(1, 1).on(host_device());
  EXPECT_NE(back.data(), there.data() + 8);
  EXPECT_EQ(back.values<float>()[1], 4.0F);
  EXPECT_TRUE(Tensor().on(far).empty());
  EXPECT_EQ(far.copies, 2);
}

TEST(TensorOn, CopiesWhatMayBeWrittenEachTime) {
  FarDevice far;
  Tensor here = Tensor::from(std::vector<float>{1, 2}, {2});
  const Tensor first = here.on(far);
  here.writable<float>()[0] = 5;
  EXPECT_EQ(here.on(far).on(host_device()).values<float>()[0], 5.0F);
  EXPECT_EQ(first.on(host_device()).values<float>()[0], 1.0F);
}

TEST(TensorOn, SharesOneCopyOfWhatNeverChanges) {
  FarDevice far;
  auto bytes = std::make_shared<std::vector<float>>(8, 1.5F);
  const std::weak_ptr<std::vector<float>> alive = bytes;
  Tensor borrowed = Tensor::borrow(bytes, std::as_bytes(std::span(*bytes)), DType::f32, {4, 2});
  bytes.reset();
  {
    const Tensor first = borrowed.on(far);
    const Tensor again = borrowed.reshape({8}).on(far);
    const Tensor part = borrowed.slice(0, 2).on(far);
    EXPECT_EQ(first.data(), again.data());
    EXPECT_NE(first.data(), part.data());
    EXPECT_EQ(far.copies, 2);
    EXPECT_EQ(far.allocated_bytes(), 32 + 16);
  }
  EXPECT_EQ(far.allocated_bytes(), 0) << "nobody holds it";
  const Tensor later = borrowed.on(far);
  EXPECT_EQ(far.copies, 3);
  borrowed = Tensor();
  EXPECT_FALSE(alive.expired()) << "the address could be another's";
  const Tensor owned = Tensor::from(std::vector<float>{1, 2}, {2});
  const Tensor kept = owned.frozen().on(far);
  EXPECT_EQ(owned.frozen().on(far).data(), kept.data());
  EXPECT_THROW(owned.frozen().writable<float>(), Error);
}

TEST(CopyMatrix, CopiesRowsOfAnyStride) {
  FarDevice far;
  const Tensor from = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  Tensor to = Tensor::from(std::vector<float>(6, 0.0F), {2, 3});
  copy_matrix(far, from.matrix().columns_from(1, 2), to.writable_matrix().columns_from(0, 2));
  EXPECT_EQ(std::vector<float>(to.values<float>(), to.values<float>() + 6),
            (std::vector<float>{2, 3, 0, 5, 6, 0}));
  copy_matrix(far, from.matrix(), to.writable_matrix());
  EXPECT_EQ(far.copies, 3);
  EXPECT_EQ(to.values<float>()[2], 3.0F);
  EXPECT_THROW(copy_matrix(far, from.matrix(), to.writable_matrix().rows_from(0, 1)), Error);
}

}  // namespace
}  // namespace slim
