// Error: composes its message once, so that what() never allocates.
#include "slim/error.h"

#include <utility>

namespace slim {

Error::Error(ErrorCode code, std::string text, std::string place)
    : code_(code), text_(std::move(text)), place_(std::move(place)) {
  message_ = place_.empty() ? text_ : place_ + ": " + text_;
}

}  // namespace slim
