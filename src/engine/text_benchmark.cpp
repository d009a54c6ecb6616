// Benchmark of text: prompts of given lengths and the tokens after them, a standard cache in bf16
// and slim in turn, in one run.
#include "base/stopwatch.h"
#include "engine/benchmark.h"
#include "engine/logits.h"
#include "engine/runtime.h"
#include "engine/step_batch.h"

namespace slim {
namespace {

struct TextTimes {
  double prompt = 0;
  double steps = 0;
};

// Tokens that are not all alike; what they say does not matter to the time.
std::vector<int32_t> made_up_tokens(const ModelSpec& spec, int count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>((7919 * i + 13) % spec.vocabulary));
  }
  return tokens;
}

// The likeliest token after the last row.
int32_t run_greedily(StepBatch& batch) {
  if (batch.finds_peaks()) {
    batch.run_to_peaks();
    return batch.peaks().front().column;
  }
  batch.run();
  return static_cast<int32_t>(std::max<int64_t>(0, argmax(batch.logits(0))));
}

TextTimes time_text(const Model& model, int prompt, const BenchOptions& options) {
  const std::vector<int32_t> tokens = made_up_tokens(model.spec(), prompt);
  Sequence sequence{model.new_sequence()};
  sequence.regime = model.regime(prompt + options.tokens);
  StepBatch batch(model);
  TextTimes times;
  int32_t token = 0;
  Stopwatch clock;
  for (int64_t first = 0; first < prompt; first += options.step_tokens) {
    const int64_t count = std::min(options.step_tokens, prompt - first);
    const auto chunk =
        std::span(tokens).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    const bool last = first + count == prompt;
    batch.clear();
    if (last) {
      batch.add(sequence, chunk);
      token = run_greedily(batch);
    } else {
      batch.add(sequence, chunk, {});
      batch.run();
    }
  }
  times.prompt = clock.lap();
  for (int i = 0; i < options.tokens; ++i) {
    batch.clear();
    batch.add(sequence, std::span(&token, 1));
    token = run_greedily(batch);
  }
  times.steps = clock.lap();
  return times;
}

BenchRow bench_one(const Model& model, const std::string& cache, int prompt,
                   const BenchOptions& options) {
  std::vector<double> prompts;
  std::vector<double> steps;
  for (int i = 0; i < options.repeats; ++i) {
    const TextTimes times = time_text(model, prompt, options);
    prompts.push_back(times.prompt);
    steps.push_back(times.steps);
  }
  BenchRow row;
  row.cache = cache;
  row.row_type = std::string(name_of(model.plan().front().rows.type));
  row.batch = 1;
  row.prompt = prompt;
  row.first_token_seconds = median(prompts);
  row.step_seconds = median(steps) / options.tokens;
  row.prompt_rate = prompt / row.first_token_seconds;
  row.tokens_per_second = 1 / row.step_seconds;
  row.context_bytes = held_context(model, prompt + options.tokens, 0);
  row.step_weight_bytes = model.step_weight_bytes();
  for (int i = 1; i <= options.tokens; ++i)
    row.step_row_bytes += model.step_row_bytes(prompt + i, 0);
  row.step_row_bytes /= options.tokens;
  row.peak_rss_bytes = peak_rss_bytes();
  return row;
}

}  // namespace

std::vector<BenchRow> bench_text(Runtime& runtime, const BenchOptions& options) {
  require_text(runtime);
  require_kv(runtime);
  if (options.tokens < 1 || options.repeats < 1 || options.step_tokens < 1) {
    throw Error(ErrorCode::bad_request, "At least one token and one repeat can be timed.");
  }
  const auto session = runtime.kernels().begin_session();
  std::vector<BenchRow> rows;
  for (const int prompt : options.prompts) {
    const int64_t room = runtime.context() - options.tokens;
    if (prompt < 1 || prompt > room) {
      throw Error(ErrorCode::bad_request,
                  "With " + std::to_string(options.tokens) + " tokens after it and a context of " +
                      std::to_string(runtime.context()) + ", a prompt must have between 1 and " +
                      std::to_string(room) + ".",
                  std::to_string(prompt));
    }
    rows.push_back(bench_one(runtime.model(kv_choice(RowType::bf16)), "kv", prompt, options));
    rows.push_back(bench_one(runtime.model(), "slim", prompt, options));
  }
  return rows;
}

}  // namespace slim
