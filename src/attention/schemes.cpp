// The table of cache kinds. A new kind is one line here, its declaration in kinds.h and its file.
// (Listed by hand: a static library drops objects that only register themselves.)
#include <array>
#include <string>

#include "attention/kinds.h"
#include "slim/error.h"

namespace slim {

std::span<const Scheme* const> schemes() {
  static const std::array<const Scheme*, 4> kinds{&kv_kind(), &x_kind(), &encoder_kind(),
                                                  &k_kind()};
  return kinds;
}

const Scheme& scheme(std::string_view name) {
  std::string known;
  for (const Scheme* const kind : schemes()) {
    if (kind->name() == name) return *kind;
    known += (known.empty() ? "" : ", ") + std::string(kind->name());
  }
  throw Error(ErrorCode::bad_request,
              "There is no cache kind '" + std::string(name) + "'; there are " + known + ".",
              "cache");
}

}  // namespace slim
