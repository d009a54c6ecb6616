// Benchmark of text: prompts of given lengths and the tokens after them, a standard cache in bf16
// and slim in turn, in one run; a converted model has slim alone.
#include "base/stopwatch.h"
#include "engine/benchmark.h"
#include "engine/runtime.h"
#include "engine/step_batch.h"

namespace slim {
namespace {

struct TextTimes {
  double prompt = 0;
  double steps = 0;
};

// Tokens that are not all alike, other ones for each sequence; what they say does not matter to the
// time.
std::vector<int32_t> made_up_tokens(const ModelSpec& spec, int count, int sequence) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<int32_t>((7919 * i + 13 + 31 * sequence) % spec.vocabulary));
  }
  return tokens;
}

// Reads a prompt in parts; the likeliest token after it.
int32_t read_prompt(StepBatch& batch, Sequence& sequence, std::span<const int32_t> tokens,
                    int64_t step_tokens) {
  std::vector<int32_t> next;
  const auto length = std::ssize(tokens);
  for (int64_t first = 0; first < length; first += step_tokens) {
    const int64_t count = std::min(step_tokens, length - first);
    const auto chunk = tokens.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    batch.clear();
    if (first + count == length) {
      batch.add(sequence, chunk);
      next = run_greedily(batch);
    } else {
      batch.add(sequence, chunk, {});
      batch.run();
    }
  }
  return next.front();
}

int64_t step_tokens(const Model& model, const BenchOptions& options) {
  return options.step_tokens > 0 ? options.step_tokens : model.kernels().prompt_sizes().tokens;
}

TextTimes time_text(const Model& model, int prompt, int size, const BenchOptions& options) {
  std::vector<Sequence> sequences;
  std::vector<int32_t> next;
  StepBatch batch(model);
  const int64_t at_a_time = step_tokens(model, options);
  TextTimes times;
  Stopwatch clock;
  for (int i = 0; i < size; ++i) {
    sequences.push_back({model.new_sequence()});
    sequences.back().regime = model.regime(prompt + options.tokens);
    next.push_back(
        read_prompt(batch, sequences.back(), made_up_tokens(model.spec(), prompt, i), at_a_time));
  }
  times.prompt = clock.lap();
  for (int step = 0; step < options.tokens; ++step) {
    batch.clear();
    for (size_t i = 0; i < sequences.size(); ++i) {
      batch.add(sequences[i], std::span(&next[i], 1));
    }
    next = run_greedily(batch);
  }
  times.steps = clock.lap();
  return times;
}

// What is done once for a model, and is not what a token takes: weights come from their file, a
// card loads kernels and makes graphs of them.
void warm_up(const Model& model, int prompt, int size, BenchOptions options) {
  options.tokens = std::min(options.tokens, 4);
  time_text(model, std::min(prompt, static_cast<int>(step_tokens(model, options))), 1, options);
  time_text(model, 1, size, options);
}

BenchRow bench_one(const Model& model, const std::string& cache, int prompt, int size,
                   const BenchOptions& options) {
  warm_up(model, prompt, size, options);
  std::vector<double> prompts;
  std::vector<double> steps;
  for (int i = 0; i < options.repeats; ++i) {
    const TextTimes times = time_text(model, prompt, size, options);
    prompts.push_back(times.prompt);
    steps.push_back(times.steps);
  }
  BenchRow row;
  row.cache = cache;
  row.row_type = std::string(name_of(model.plan().front().rows.type));
  row.batch = size;
  row.prompt = prompt;
  row.first_token_seconds = median(prompts);
  row.step_seconds = median(steps) / options.tokens;
  row.prompt_rate = size * prompt / row.first_token_seconds;
  row.tokens_per_second = size / row.step_seconds;
  row.context_bytes = size * held_context(model, prompt + options.tokens, 0);
  row.step_weight_bytes = model.step_weight_bytes();
  for (int i = 1; i <= options.tokens; ++i)
    row.step_row_bytes += size * model.step_row_bytes(prompt + i, 0);
  row.step_row_bytes /= options.tokens;
  row.peak_rss_bytes = peak_rss_bytes();
  return row;
}

}  // namespace

std::vector<BenchRow> bench_text(Runtime& runtime, const BenchOptions& options) {
  require_text(runtime);
  if (options.tokens < 1 || options.repeats < 1 || options.step_tokens < 0) {
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
    for (const int size : options.batches.empty() ? std::vector<int>{1} : options.batches) {
      if (size < 1) {
        throw Error(ErrorCode::bad_request, "A batch has at least one sequence.",
                    std::to_string(size));
      }
      if (has_kv(runtime)) {
        const Model& kv = runtime.model(kv_choice(RowType::bf16, runtime.choice().arithmetic));
        rows.push_back(bench_one(kv, "kv", prompt, size, options));
      }
      rows.push_back(bench_one(runtime.model(), "slim", prompt, size, options));
    }
  }
  return rows;
}

}  // namespace slim
