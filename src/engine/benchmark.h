// What benchmarks of speech and of text share.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/step_batch.h"

namespace slim {

double median(std::vector<double> values);  // of at least one
int64_t peak_rss_bytes();                   // of the process so far

// Runs a step: the likeliest token of each row that was asked for.
std::vector<int32_t> run_greedily(StepBatch& batch);

// Bytes a second of a plain read (Kernels::sum_words) of so much of the device's memory, which
// holds them while it runs: the median of five rounds of at least 20 ms. Of half as much where
// there is no room, and so on; 0 if there is next to none.
double read_limit(Kernels& kernels, int64_t bytes);

}  // namespace slim
