// What the targets of weights formats do with a checkpoint that was taken: read all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "weights/builder.h"

namespace slim {

inline WeightsFile fuzzed_file(const uint8_t* data, size_t size) {
  return {"input", std::as_bytes(std::span(data, size)), nullptr};
}

inline void read_everything(const Checkpoint& weights) {
  // Added up and compared, so that no compiler drops the reading.
  size_t differing = 0;
  for (const auto& name : weights.names()) {
    const Tensor floats = weights.get(name).to_f32();
    const float* values = floats.values<float>();
    for (int64_t i = 1; i < floats.elements(); ++i) differing += values[i] != values[0] ? 1U : 0U;
  }
  if (differing == SIZE_MAX) std::abort();
}

}  // namespace slim
