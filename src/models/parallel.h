// Work on whole layers at once: what transforms compute keeps one processor busy for seconds.
#pragma once

#include <cstddef>

#include "base/function_ref.h"

namespace slim {

// Runs body(i) for each i < count, on as many threads as there are processors. Rethrows one of the
// exceptions, once all threads have stopped.
void in_parallel(size_t count, FunctionRef<void(size_t)> body);

}  // namespace slim
