// Benchmark of speech: encoder and decoder at several batch sizes, standard cache and slim in turn,
// in one run.
#include <cmath>

#include "base/stopwatch.h"
#include "engine/benchmark.h"
#include "engine/logits.h"

#include "engine/runtime.h"
#include "engine/step_batch.h"

namespace slim {
namespace {

constexpr int64_t kPromptTokens = 4;  // start, language, task, first timestamp

// One window of frames that are not all alike; what they say does not matter to the time.
Tensor made_up_mel(const Model& model, int64_t batch) {
  const ModelSpec& spec = model.spec();
  Tensor mel = Tensor::allocate(host_device(), DType::f32,
                                {batch * 2 * spec.encoder.positions, spec.mel_bins});
  float* values = mel.writable<float>();
  for (int64_t i = 0; i < mel.elements(); ++i) {
    values[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
  }
  return mel;
}

struct DecoderTimes {
  double first_token = 0;
  double step = 0;
  int64_t context_bytes = 0;
};

DecoderTimes time_decoder(const Model& model, const Tensor& encoded, int batch, int tokens) {
  const int64_t positions = model.spec().encoder.positions;
  const std::vector<int32_t> prompt(kPromptTokens, 1);
  DecoderTimes times;
  Stopwatch clock;
  std::vector<PageTable> rows;
  std::vector<Sequence> sequences;
  rows.reserve(static_cast<size_t>(batch));
  sequences.reserve(static_cast<size_t>(batch));
  StepBatch step(model);
  step.clear();
  for (int i = 0; i < batch; ++i) {
    rows.push_back(model.remember(encoded.slice(0, positions).matrix()));
    sequences.push_back({model.new_sequence(), &rows.back()});
    step.add(sequences.back(), prompt);
  }
  step.run();
  times.first_token = clock.lap();
  for (int t = 0; t < tokens; ++t) {
    step.clear();
    const int32_t token = 1 + t;
    for (Sequence& sequence : sequences) step.add(sequence, std::span(&token, 1));
    step.run();
    // Sampling is part of a step: greedy over log-probabilities, as transcription does it.
    step.log_softmax(step.rows());
    for (int64_t i = 0; i < step.rows(); ++i) argmax(step.logits(i));
  }
  times.step = clock.lap() / tokens;
  for (int i = 0; i < batch; ++i) {
    times.context_bytes += rows[static_cast<size_t>(i)].held_bytes() +
                           sequences[static_cast<size_t>(i)].rows.held_bytes();
  }
  return times;
}

BenchRow bench_one(const Model& model, const std::string& cache, int batch,
                   const BenchOptions& options) {
  BenchRow row;
  row.cache = cache;
  row.row_type = std::string(name_of(model.plan().front().rows.type));
  row.batch = batch;
  // Encoded one window at a time, as memory would ask for at large batches.
  const Tensor mel = made_up_mel(model, 1);
  std::vector<double> encode;
  std::vector<double> first;
  std::vector<double> steps;
  Tensor encoded;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    Stopwatch clock;
    encoded = model.encode(mel.matrix(), 1);
    encode.push_back(clock.seconds());
    const DecoderTimes times = time_decoder(model, encoded, batch, options.tokens);
    first.push_back(times.first_token);
    steps.push_back(times.step);
    row.context_bytes = times.context_bytes;
  }
  row.encode_seconds = median(encode);
  row.first_token_seconds = median(first);
  row.step_seconds = median(steps);
  row.tokens_per_second =
      batch * (options.tokens + 1) / (row.first_token_seconds + options.tokens * row.step_seconds);
  row.step_weight_bytes = model.step_weight_bytes();
  for (int i = 1; i <= options.tokens; ++i) {
    row.step_row_bytes +=
        batch * model.step_row_bytes(kPromptTokens + i, model.spec().encoder.positions);
  }
  row.step_row_bytes /= options.tokens;
  row.peak_rss_bytes = peak_rss_bytes();
  return row;
}

}  // namespace

std::vector<BenchRow> bench_speech(Runtime& runtime, const BenchOptions& options) {
  require_kv(runtime);
  const int64_t room = runtime.spec().decoder.positions - kPromptTokens;
  if (options.tokens < 1 || options.tokens > room || options.repeats < 1) {
    throw Error(ErrorCode::bad_request, "Between 1 and " + std::to_string(room) +
                                            " tokens and at least one repeat can be timed.");
  }
  const auto session = runtime.kernels().begin_session();
  std::vector<BenchRow> rows;
  for (const int batch : options.batches.empty() ? std::vector{1, 16, 64} : options.batches) {
    if (batch < 1 || batch > 4096) {
      throw Error(ErrorCode::bad_request, "A batch size must lie between 1 and 4096.",
                  std::to_string(batch));
    }
    const RowType type = runtime.model().plan().front().rows.type;
    rows.push_back(bench_one(runtime.model(kv_choice(RowType::f32)), "kv", batch, options));
    if (type != RowType::f32) {
      CacheChoice plain = runtime.choice();
      plain.row_type = RowType::f32;
      rows.push_back(bench_one(runtime.model(kv_choice(type)), "kv", batch, options));
      rows.push_back(bench_one(runtime.model(plain), "slim", batch, options));
    }
    rows.push_back(bench_one(runtime.model(), "slim", batch, options));
  }
  return rows;
}

}  // namespace slim
