// What benchmarks of speech and of text share.
#pragma once

#include <cstdint>
#include <vector>

namespace slim {

double median(std::vector<double> values);  // of at least one
int64_t peak_rss_bytes();                   // of the process so far

}  // namespace slim
