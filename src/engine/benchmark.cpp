// Medians, memory, and how fast it can be read.
#include "engine/benchmark.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>

#include "base/stopwatch.h"
#include "engine/logits.h"
#include "slim/error.h"

namespace slim {
namespace {

constexpr int64_t kLeastRead = int64_t{64} << 20;
constexpr double kRoundSeconds = 0.02;  // starting and awaiting a card's work costs 1e-5
constexpr int kRounds = 5;

// As much memory as there is room for; null: none.
std::shared_ptr<Buffer> allocate_most(Device& device, int64_t bytes) {
  for (int64_t size = bytes; size == bytes || size >= kLeastRead; size /= 2) {
    try {
      return device.allocate(static_cast<size_t>(size));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::out_of_memory) throw;
    }
  }
  return nullptr;
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::vector<int32_t> run_greedily(StepBatch& batch) {
  std::vector<int32_t> tokens;
  const bool judged = batch.model().judges_logits();
  judged ? batch.run_to_candidates({.x = {}}) : batch.run();
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const int64_t token =
        judged ? int64_t{batch.candidates(row).front().column} : argmax(batch.logits(row));
    tokens.push_back(static_cast<int32_t>(std::max<int64_t>(0, token)));
  }
  return tokens;
}

double read_limit(Kernels& kernels, int64_t bytes) {
  Device& device = kernels.device();
  const std::shared_ptr<Buffer> memory = allocate_most(device, bytes);
  if (memory == nullptr) return 0;
  const std::shared_ptr<Buffer> sum = device.allocate(sizeof(uint32_t));
  device.clear(memory->data(), memory->size());  // memory that was never written is not there yet
  device.clear(sum->data(), sum->size());
  const auto session = kernels.begin_session();
  const SumWords read{.words = reinterpret_cast<const uint32_t*>(memory->data()),
                      .count = static_cast<int64_t>(memory->size() / sizeof(uint32_t)),
                      .sum = reinterpret_cast<uint32_t*>(sum->data())};
  const auto seconds_of = [&](int passes) {
    Stopwatch clock;
    for (int i = 0; i < passes; ++i) kernels.sum_words(read);
    uint32_t result = 0;
    device.copy(&result, sum->data(), sizeof(result));  // waits
    return clock.seconds();
  };
  seconds_of(1);
  const int passes = static_cast<int>(std::ceil(kRoundSeconds / std::max(seconds_of(1), 1e-6)));
  std::vector<double> rounds;
  for (int i = 0; i < kRounds; ++i) rounds.push_back(seconds_of(passes) / passes);
  return static_cast<double>(memory->size()) / median(rounds);
}

}  // namespace slim
