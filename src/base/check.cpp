// Builds the message of a failed invariant.
#include "base/check.h"

#include <string>

#include "slim/error.h"

namespace slim {

void fail_check(std::string_view text, std::string_view file, int line) {
  throw Error(ErrorCode::internal, "this must hold: " + std::string(text),
              std::string(file.substr(file.rfind('/') + 1)) + ":" + std::to_string(line));
}

}  // namespace slim
