// The emulator itself: what a card would get wrong now and then goes wrong here, and is noticed.
#include "emulator/grid.h"

#include <array>
#include <cmath>

#include "emulator/card_language.h"
#include "gtest/gtest.h"

namespace slim::emulated {
namespace {

constexpr unsigned kThreads = 128;

// The last thread's number, through shared memory.
void hand_over(int* results, bool barrier) {
  static int number;
  enter_shared(number);
  if (threadIdx.x == kThreads - 1) number = static_cast<int>(threadIdx.x);
  if (barrier) __syncthreads();
  results[blockIdx.x * kThreads + threadIdx.x] = number;
}

int right_results(bool barrier) {
  std::array<int, 4 * kThreads> results{};
  run_grid(hand_over, GridShape(4, kThreads),
           [&](auto* kernel) { kernel(results.data(), barrier); });
  int right = 0;
  for (const int result : results) right += result == kThreads - 1 ? 1 : 0;
  return right;
}

TEST(Grid, BarriersKeepOrderAndTheirLackShows) {
  EXPECT_EQ(right_results(true), 4 * kThreads);
  EXPECT_LT(right_results(false), 4 * kThreads);
}

void sum_warp(float* sum) {
  auto value = static_cast<float>(threadIdx.x);
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(~0U, value, distance);
  }
  if (threadIdx.x == 31) *sum = value;
}

TEST(Grid, ShufflesExchange) {
  float sum = 0.0F;
  run_grid(sum_warp, GridShape(1, 32), [&](auto* kernel) { kernel(&sum); });
  EXPECT_EQ(sum, 31.0F * 32.0F / 2.0F);
}

void nothing() {}

TEST(Grid, RefusesShapesThatACardRefuses) {
  const auto status = [](const GridShape& shape) {
    run_grid(nothing, shape, [](auto* kernel) { kernel(); });
    return cudaGetLastError();
  };
  EXPECT_EQ(status(GridShape(1, 32)), cudaSuccess);
  EXPECT_EQ(status(GridShape(0, 32)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(GridShape(dim3(1, 65536), 32)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(GridShape(1, 1025)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(status(GridShape(1, 32, 64 * 1024)), cudaErrorInvalidConfiguration);
  EXPECT_EQ(cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 64 * 1024),
            cudaSuccess);
  EXPECT_EQ(status(GridShape(1, 32, 64 * 1024)), cudaSuccess);
}

void half_a_barrier() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __shfl_sync(~0U, 0, 0);
  }
}

TEST(GridDeathTest, LanesMeetInTheSameOperation) {
  EXPECT_DEATH(run_grid(half_a_barrier, GridShape(1, 32), [](auto* kernel) { kernel(); }),
               "different operations");
}

void waits_apart() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else if (threadIdx.x < 48) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

TEST(GridDeathTest, NobodyWaitsForever) {
  EXPECT_DEATH(run_grid(waits_apart, GridShape(1, 64), [](auto* kernel) { kernel(); }),
               "not all reach");
}

}  // namespace
}  // namespace slim::emulated
