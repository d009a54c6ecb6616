// What every fuzz target promises: an input is either taken or refused with an Error that says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "slim/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace slim {

// Runs the action; a refusal is fine. A bug's Error ends the process, as any other exception does.
template <typename Action>
void accept_refusal(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal || error.text().empty()) std::abort();
  }
}

}  // namespace slim
