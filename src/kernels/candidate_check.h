// What every Forbid and FindCandidates must fulfil, wherever it runs.
#pragma once

#include "kernels/kernels.h"

namespace slim {

void check_forbid(const Forbid& forbid);
void check_candidates(const FindCandidates& find);

}  // namespace slim
