// The plans of the operations on paged rows. Contracts are those of kernels.h.
#pragma once

#include "kernels/cpu/context.h"
#include "kernels/kernels.h"

namespace slim {

void run_store_rows(const CpuContext& context, const StoreRows& arguments);
void run_seal_pages(const CpuContext& context, const SealPages& arguments);
void run_load_rows(const CpuContext& context, const LoadRows& arguments);
void run_attend_pair(const CpuContext& context, const Attend& arguments);
void run_attend_shared(const CpuContext& context, const Attend& arguments);

}  // namespace slim
