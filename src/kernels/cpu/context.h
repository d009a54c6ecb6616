// CpuContext: what every CPU kernel gets beside its arguments.
#pragma once

#include "base/thread_pool.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/target_ops.h"
#include "kernels/cpu/targets.h"

namespace slim {

struct CpuContext {
  Target target;
  TargetOps ops;  // of `target`
  ThreadPool& pool;
  ScratchSets& scratch;
};

}  // namespace slim
