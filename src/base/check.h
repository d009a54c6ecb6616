// Invariants of Slim's own code. A failed check is a bug here, never the fault of the input: input
// is validated with its own Error that names file and field.
#pragma once

#include <string_view>

namespace slim {

// Throws Error{internal} naming the caller's file and line. Out of line: the hot path stays small.
[[noreturn]] void fail_check(std::string_view text, std::string_view file, int line);

// `text` says what must hold ("pages cover the rows"). The builtins stand in for
// std::source_location, which clang 14 has not.
inline void check(bool holds, std::string_view text, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (!holds) fail_check(text, file, line);
}

}  // namespace slim
