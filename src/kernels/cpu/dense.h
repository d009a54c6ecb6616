// The plans of the dense operations: how each is cut into blocks for the workers and which block
// functions of TargetOps do the work. Contracts are those of kernels.h.
#pragma once

#include "kernels/cpu/context.h"
#include "kernels/kernels.h"

namespace slim {

void run_linear(const CpuContext& context, const Linear& arguments);
void run_grouped_linear(const CpuContext& context, const GroupedLinear& arguments);
void run_convolve(const CpuContext& context, const Convolve& arguments);
void run_attend_dense(const CpuContext& context, const AttendDense& arguments);
void run_norm(const CpuContext& context, const Norm& arguments);
void run_gate(const CpuContext& context, const Gate& arguments);
void run_clamp(const CpuContext& context, const Clamp& arguments);
void run_rotate(const CpuContext& context, const Rotate& arguments);
void run_embed(const CpuContext& context, const Embed& arguments);
void run_log_softmax(const CpuContext& context, const LogSoftmax& arguments);
void run_forbid(const Forbid& arguments);
void run_find_candidates(const CpuContext& context, const FindCandidates& arguments);
void run_sum_words(const CpuContext& context, const SumWords& arguments);

}  // namespace slim
