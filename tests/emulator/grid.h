// Grids of a card on one thread of the processor: blocks run one after another, the threads of a
// block as fibers that take turns at barriers and shuffles, in an order drawn at random, so that
// what a missing barrier leaves to chance goes wrong here. SLIM_EMULATOR_SEED sets the order.
//
// The process aborts, saying why, where threads wait for each other forever or lanes of a warp
// meet in different operations. Shared memory holds NaNs when a block begins.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/function_ref.h"
#include "emulator/card_runtime.h"

namespace slim::emulated {

// Of the thread that runs.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

struct GridShape {
  dim3 grid, block;
  size_t shared_bytes;

  GridShape(dim3 blocks, dim3 threads, size_t shared = 0, cudaStream_t /*stream*/ = nullptr)
      : grid(blocks), block(threads), shared_bytes(shared) {}
};

// Runs `thread` as every thread of the grid. Shapes that a card refuses leave an error for
// cudaGetLastError(), as there; `kernel` is whom cudaFuncSetAttribute() may have given more memory.
void run_threads(const GridShape& shape, const void* kernel, FunctionRef<void()> thread);

// kernel<<<shape>>>(arguments): `call` calls the kernel with them.
template <typename Call, typename... Parameters>
void run_grid(void (*kernel)(Parameters...), const GridShape& shape, Call call) {
  run_threads(shape, reinterpret_cast<const void*>(kernel), [&] { call(kernel); });
}

template <typename... Parameters>
const void* known_kernel(void (*kernel)(Parameters...)) {
  const void* const address = reinterpret_cast<const void*>(kernel);
  make_known(address, {{sizeof(Parameters)...},
                       [kernel](dim3 grid, dim3 block, size_t shared_bytes, void** parameters) {
                         const auto call = [&]<size_t... kIndex>(std::index_sequence<kIndex...>) {
                           run_grid(kernel, GridShape(grid, block, shared_bytes),
                                    [&](auto* emulated) {
                                      emulated(*static_cast<Parameters*>(parameters[kIndex])...);
                                    });
                         };
                         call(std::index_sequence_for<Parameters...>());
                       }});
  return address;
}

// What a thread may ask for.
enum class WarpOperation : uint8_t { none, barrier, shuffle, shuffle_xor };
bool wait_for_block(bool vote);  // true if any thread's is
// Waits for the other lanes; returns the `value` of lane `from`.
uint64_t wait_for_warp(WarpOperation operation, unsigned mask, uint64_t value = 0, int from = 0);
int lane_of_thread();
void enter_shared(void* memory, size_t bytes);
void* dynamic_memory();

template <typename T>
void enter_shared(T& variable) {
  enter_shared(&variable, sizeof(variable));
}
template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(dynamic_memory());
}

}  // namespace slim::emulated
