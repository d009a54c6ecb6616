// The failure path of visit().
#include "tensor/dtype.h"

#include <string>

#include "slim/error.h"

namespace slim {

void fail_visit(DType type) {
  throw Error(ErrorCode::internal, "no kernel computes on " + std::string(name_of(type)));
}

}  // namespace slim
