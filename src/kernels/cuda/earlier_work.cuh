// Kernels of a step begin before the one before them has ended (launch_list.h): while its last
// blocks run, blocks of the next one come onto the card and wait. So every kernel first calls
// wait_for_earlier(), and touches nothing before that another kernel writes.
#pragma once

#include <cuda_runtime.h>

namespace slim {

// Until all that was launched earlier is done and can be seen; and lets the next kernel come. Cards
// before sm_90 run kernels one after another.
__device__ __forceinline__ void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// Brings 128 bytes nearer, to the L2 cache, whoever may write them.
__device__ __forceinline__ void prefetch(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
}

}  // namespace slim
