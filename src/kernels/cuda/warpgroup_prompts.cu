// The kernels of warpgroup_prompts.cuh, and their launches.
#include "kernels/cuda/warpgroup_prompts.cuh"

#include "kernels/cuda/earlier_work.cuh"

namespace slim {
namespace {

constexpr int kAttendRegisters = 240;
constexpr int kLoadRegisters = 24;

template <int kColumns, int kParts>
__global__ void __launch_bounds__(cuda::kGroupThreads, 1)
    attend_prompt_groups(const __grid_constant__ PromptView view, const PromptItem* items) {
  wait_for_earlier();
  extern __shared__ std::byte memory[];
  // Slabs begin at multiples of 1024 bytes.
  const uint32_t past = cuda::shared_address(memory) % 1024;
  cuda::PromptGroup<kColumns, kParts> group(view, items[blockIdx.x], static_cast<int>(blockIdx.y),
                                            memory + (past == 0 ? 0 : 1024 - past));
  group.begin();
  if (threadIdx.x < 256) {
    cuda::take_registers<kAttendRegisters>();
    group.attend();
  } else {
    cuda::give_registers<kLoadRegisters>();
    if (threadIdx.x == 256) group.load();
  }
}

template <int kColumns, int kParts>
void launch(CudaDevice& device, const PromptView& view, const PromptItem* items, int64_t count) {
  constexpr int kBytes = cuda::GroupShape<kColumns, kParts>::kBytes;
  const auto kernel = attend_prompt_groups<kColumns, kParts>;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
             "give a block shared memory");
  const dim3 blocks(static_cast<unsigned>(count), static_cast<unsigned>(view.call.heads));
  device.launch("attend to a prompt", kernel, {blocks, cuda::kGroupThreads, kBytes}, view, items);
}

template <int kParts>
void launch_parts(CudaDevice& device, const PromptView& view, const PromptItem* items,
                  int64_t count) {
  if (view.call.key_width <= 64) return launch<64, kParts>(device, view, items, count);
  if (view.call.key_width <= 96) return launch<96, kParts>(device, view, items, count);
  launch<128, kParts>(device, view, items, count);
}

}  // namespace

bool has_prompt_groups(const CudaDevice& device) { return device.architecture() == 90; }

void attend_prompt_groups(CudaDevice& device, const PromptView& view, const PromptItem* items,
                          int64_t count) {
  view.parts == 1 ? launch_parts<1>(device, view, items, count)
                  : launch_parts<2>(device, view, items, count);
}

}  // namespace slim
