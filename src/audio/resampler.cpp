// Resampler over libsoxr's streaming interface, single-threaded.
#include "audio/resampler.h"

#include <soxr.h>

#include <string>

#include "slim/error.h"

namespace slim {

void Resampler::Delete::operator()(void* soxr) const noexcept {
  soxr_delete(static_cast<soxr_t>(soxr));
}

Resampler::Resampler(double from, double to) {
  const soxr_io_spec_t format = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t one_thread = soxr_runtime_spec(1);
  soxr_error_t error = nullptr;
  soxr_.reset(soxr_create(from, to, 1, &error, &format, &quality, &one_thread));
  if (!soxr_ || error != nullptr) {
    throw Error(ErrorCode::out_of_memory, std::string("The resampler cannot be made: ") +
                                              (error != nullptr ? error : "no memory") + ".");
  }
}

Resampler::Progress Resampler::run(const float* in, size_t in_length, std::span<float> out) {
  size_t used = 0;
  size_t made = 0;
  const soxr_error_t error = soxr_process(static_cast<soxr_t>(soxr_.get()), in, in_length, &used,
                                          out.data(), out.size(), &made);
  if (error != nullptr) {
    throw Error(ErrorCode::out_of_memory, std::string("The resampler failed: ") + error + ".");
  }
  return {static_cast<int64_t>(used), static_cast<int64_t>(made)};
}

Resampler::Progress Resampler::process(std::span<const float> in, std::span<float> out) {
  // An empty span may hold a null pointer, which libsoxr takes for the end of the input.
  if (in.empty()) return {};
  return run(in.data(), in.size(), out);
}

int64_t Resampler::finish(std::span<float> out) { return run(nullptr, 0, out).made; }

}  // namespace slim
