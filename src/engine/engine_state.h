// What an Engine holds: shared with ChatSession, which runs on it.
#pragma once

#include <string>

#include "engine/runtime.h"

namespace slim {

struct Engine::State {
  State(const std::string& model, const EngineOptions& options) : runtime(model, options) {}
  Runtime runtime;
};

}  // namespace slim
