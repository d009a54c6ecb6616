// Benchmark of models with an encoder, of speech, text or series: encoder and decoder at several
// batch sizes, standard cache and slim in turn, in one run.
#include <algorithm>
#include <cmath>

#include "base/stopwatch.h"
#include "engine/benchmark.h"
#include "engine/runtime.h"
#include "engine/series_source.h"
#include "engine/step_batch.h"
#include "models/waveform.h"

namespace slim {
namespace {

// What the decoder begins with: start, language, task, first timestamp; or the start alone.
int64_t prompt_tokens(const ModelSpec& spec) { return spec.hears() && !spec.waveform ? 4 : 1; }

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

// The longest window of samples.
Tensor encode_made_up_samples(const Model& model) {
  std::vector<float> samples;
  for (int64_t i = 0; i < kWaveformLongest; ++i) {
    samples.push_back(static_cast<float>(0.1 * std::sin(0.37 * static_cast<double>(i))));
  }
  return model.encode(samples, std::span(&kWaveformLongest, 1));
}

// As long as the model looks back.
SeriesSource made_up_series(const ModelSpec& spec) {
  std::vector<float> values;
  for (int64_t i = 0; i < spec.series.context; ++i) {
    values.push_back(static_cast<float>(2 + std::sin(0.37 * static_cast<double>(i))));
  }
  return spec.series.patch > 0 ? cut_patches(spec.series, values) : SeriesBins(spec).read(values);
}

// Rows of one window or series.
Tensor encode_made_up(const Model& model) {
  if (model.spec().waveform) return encode_made_up_samples(model);
  if (model.spec().hears()) return model.encode(made_up_mel(model, 1).matrix(), 1);
  return encode_series(model, made_up_series(model.spec()));
}

// Encoder rows of each of a batch, as its decoder needs them, and the seconds that the encoder took
// and then making such rows of its output.
struct Encoded {
  std::vector<PageTable> rows;
  double seconds = 0;
  double remember_seconds = 0;
};

// One, remembered for each of the batch: memory for more output would be the benchmark's.
Encoded repeat_made_up(const Model& model, int batch) {
  Encoded encoded;
  Stopwatch clock;
  const Tensor one = encode_made_up(model);
  encoded.seconds = clock.lap();
  for (int i = 0; i < batch; ++i) encoded.rows.push_back(model.remember(one.matrix()));
  encoded.remember_seconds = clock.lap();
  return encoded;
}

// As many sources, of tokens that differ; rows are made of some while others wait.
Encoded read_made_up(const Model& model, const BenchOptions& options, int batch) {
  const ModelSpec& spec = model.spec();
  const int64_t vocabulary = spec.source_vocabulary > 0 ? spec.source_vocabulary : spec.vocabulary;
  const auto length = static_cast<size_t>(options.source_tokens);
  std::vector<int32_t> tokens(length * static_cast<size_t>(batch));
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<int32_t>((7919 * static_cast<int64_t>(i) + 13) % vocabulary);
  }
  std::vector<std::span<const int32_t>> sources;
  for (size_t first = 0; first < tokens.size(); first += length) {
    sources.push_back(std::span(tokens).subspan(first, length));
  }
  Encoded encoded;
  const Stopwatch clock;
  encoded.rows = model.read(sources);
  encoded.seconds = clock.seconds();
  return encoded;
}

struct DecoderTimes {
  double first_token = 0;
  double step = 0;
  int64_t context_bytes = 0;
};

DecoderTimes time_decoder(const Model& model, std::span<const PageTable> rows, int tokens) {
  const ModelSpec& spec = model.spec();
  const auto any = static_cast<int32_t>(1 % spec.vocabulary);  // of series there may be one alone
  const std::vector<int32_t> prompt(static_cast<size_t>(prompt_tokens(spec)), any);
  DecoderTimes times;
  Stopwatch clock;
  std::vector<Sequence> sequences;
  sequences.reserve(rows.size());
  StepBatch step(model);
  step.clear();
  for (const PageTable& table : rows) {
    sequences.push_back({model.new_sequence(), &table});
    step.add(sequences.back(), prompt);
  }
  step.run();
  times.first_token = clock.lap();
  for (int t = 0; t < tokens; ++t) {
    step.clear();
    const auto token = static_cast<int32_t>((1 + t) % spec.vocabulary);
    for (Sequence& sequence : sequences) step.add(sequence, std::span(&token, 1));
    run_greedily(step);  // sampling is part of a step
  }
  if (tokens > 0) times.step = clock.lap() / tokens;
  for (const Sequence& sequence : sequences) {
    times.context_bytes += sequence.encoded->held_bytes() + sequence.rows.held_bytes();
  }
  return times;
}

BenchRow bench_one(const Model& model, const std::string& cache, int batch,
                   const BenchOptions& options) {
  BenchRow row;
  row.cache = cache;
  row.row_type = std::string(name_of(model.plan().front().rows.type));
  row.batch = batch;
  row.prompt = model.spec().reads() ? options.source_tokens : 0;
  std::vector<double> encode;
  std::vector<double> first;
  std::vector<double> steps;
  int64_t positions = 0;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    const Encoded encoded =
        model.spec().reads() ? read_made_up(model, options, batch) : repeat_made_up(model, batch);
    encode.push_back(encoded.seconds);
    positions = encoded.rows.front().rows();
    const DecoderTimes times = time_decoder(model, encoded.rows, options.tokens);
    first.push_back(encoded.remember_seconds + times.first_token);
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
    row.step_row_bytes += batch * model.step_row_bytes(prompt_tokens(model.spec()) + i, positions);
  }
  row.step_row_bytes /= std::max(options.tokens, 1);
  row.peak_rss_bytes = peak_rss_bytes();
  return row;
}

}  // namespace

std::vector<BenchRow> bench_encoded(Runtime& runtime, BenchOptions options) {
  if (!options.alone) require_kv(runtime);
  const int64_t room = runtime.context() - prompt_tokens(runtime.spec());
  // A forecast has no more steps; by patches there are none after the first.
  if (runtime.forecasts())
    options.tokens = static_cast<int>(std::min<int64_t>(options.tokens, room));
  const int least = runtime.forecasts() ? 0 : 1;
  if (options.tokens < least || options.tokens > room || options.repeats < 1) {
    throw Error(ErrorCode::bad_request, "Between 1 and " + std::to_string(room) +
                                            " tokens and at least one repeat can be timed.");
  }
  if (options.source_tokens < 1) {
    throw Error(ErrorCode::bad_request, "A source must have at least one token.");
  }
  const auto session = runtime.kernels().begin_session();
  const Arithmetic& arithmetic = runtime.choice().arithmetic;
  std::vector<BenchRow> rows;
  for (const int batch : options.batches.empty() ? std::vector{1, 16, 64} : options.batches) {
    if (batch < 1 || batch > 4096) {
      throw Error(ErrorCode::bad_request, "A batch size must lie between 1 and 4096.",
                  std::to_string(batch));
    }
    const LayerPlan& first = runtime.model().plan().front();
    // Beside rows that are sealed, a standard cache is one in bf16, beside those in i16 one in f16.
    const RowType type = first.hot_bytes_per_token > 0     ? RowType::bf16
                         : first.rows.type == RowType::i16 ? RowType::f16
                                                           : first.rows.type;
    if (!options.alone) {
      rows.push_back(
          bench_one(runtime.model(kv_choice(RowType::f32, arithmetic)), "kv", batch, options));
    }
    if (!options.alone && type != RowType::f32) {
      CacheChoice plain = runtime.choice();
      plain.row_type = RowType::f32;
      rows.push_back(bench_one(runtime.model(kv_choice(type, arithmetic)), "kv", batch, options));
      rows.push_back(bench_one(runtime.model(plain), "slim", batch, options));
    }
    rows.push_back(bench_one(runtime.model(), "slim", batch, options));
  }
  return rows;
}

}  // namespace slim
