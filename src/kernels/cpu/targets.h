// Instruction sets. Every file of vector code is compiled once per Highway target; a Kernels object
// fixes its target when it is made, so that objects for several may live side by side (Highway's
// own dispatch is global to the process). Each such file collects its functions into a struct of
// pointers, one per target, and looks the struct up here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hwy/targets.h"  // not highway.h, which must come after foreach_target.h

namespace slim {

// A bit of Highway's: HWY_AVX2, HWY_AVX3, ...
using Target = int64_t;

// Those this library holds and this machine runs, the best first: "avx3_dl", "avx3", "avx2",
// "scalar". (The rest of Highway's x86 targets are left out: they cost build time, and a machine
// older than AVX2 is served by "scalar".)
std::vector<std::string> target_names();

// The target of that name, the best for "". Throws Error{bad_request}.
Target find_target(std::string_view name);

// The function for `target` from a table that HWY_EXPORT made.
template <typename Function, size_t size>
Function pick(Function const (&table)[size], Target target) {
  if constexpr (size == 1) {
    return table[0];
  } else {
    hwy::ChosenTarget chosen;
    chosen.Update(target);
    return table[chosen.GetIndex()];
  }
}

}  // namespace slim
