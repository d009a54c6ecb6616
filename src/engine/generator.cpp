// The loop over passes.
#include "engine/generator.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "base/stopwatch.h"
#include "engine/random_numbers.h"
#include "engine/runtime.h"
#include "engine/sampler.h"
#include "engine/text_stream.h"

namespace slim {
namespace {

// One sample on its way.
struct Sample {
  const TextRequest* request;
  Generation* generation;
  int number;
  std::vector<int32_t> tokens;  // of prompt and text
  Sequence sequence;            // rows for some of the first of them
  Sampler sampler;
  TextStream stream;
  Completion completion = {};
  bool done = false;

  // The first of its request, about to choose its first token: the others fork from it.
  bool begins() const { return number == 0 && completion.tokens.empty(); }
  int64_t pending() const { return static_cast<int64_t>(tokens.size()) - sequence.rows.rows(); }
};

void check_options(const GenerateOptions& options, int samples) {
  check_sampling(options.sampling);
  const auto check_range = [](int64_t value, int64_t low, int64_t high, const char* name) {
    if (value >= low && value <= high) return;
    throw Error(
        ErrorCode::bad_request,
        "The option must lie between " + std::to_string(low) + " and " + std::to_string(high) + ".",
        name);
  };
  check_range(samples, 1, 1024, "samples");
  check_range(options.max_tokens, 0, int64_t{1} << 40, "max_tokens");
  check_range(options.logprobs, -1, 1000, "logprobs");
  check_range(options.step_tokens, 0, 1 << 20, "step_tokens");
}

void check_prompt(const Model& model, std::span<const int32_t> prompt) {
  if (prompt.empty()) {
    throw Error(ErrorCode::bad_request,
                "The prompt is empty, and the tokenizer has no token to begin a text with.");
  }
  const auto count = static_cast<int64_t>(prompt.size());
  if (count > model.context()) {
    throw Error(ErrorCode::bad_request, "The prompt has " + std::to_string(count) +
                                            " tokens, more than the context of " +
                                            std::to_string(model.context()) + ".");
  }
  const int64_t vocabulary = model.spec().vocabulary;
  for (const int32_t token : prompt) {
    if (token >= 0 && token < vocabulary) continue;
    throw Error(
        ErrorCode::bad_request,
        "The prompt has a token that is not among the model's " + std::to_string(vocabulary) + ".",
        std::to_string(token));
  }
}

// The run of several requests.
class Run {
 public:
  Run(const Model& model, std::shared_ptr<const Tokenizer> tokenizer, const TextTokens& tokens)
      : model_(model), tokenizer_(std::move(tokenizer)), tokens_(tokens), batch_(model) {}

  void start(const TextRequest& request, Generation& generation);
  GenerateStats finish();

 private:
  Sample make_sample(const TextRequest& request, Generation& generation, int number) const;
  void pass();
  bool gather(std::vector<Sample*>& ready);
  void enter_regime(Sample& sample) const;
  void report_prompts();
  int64_t needed(std::span<Sample* const> ready) const;
  void accept(Sample& sample, const SampledToken& sampled);
  SampledToken choose(Sampler& sampler, int64_t row);
  void fork_samples(const Sample& first, int64_t row);
  void describe(Sample& sample, const SampledToken& sampled) const;
  void end(Sample& sample, Finish reason);
  void retire();
  void raise_peak();

  const Model& model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  const TextTokens& tokens_;
  StepBatch batch_;
  int64_t needed_ = 0;      // of the pass: tokens of a row; 0: whole rows
  std::vector<float> own_;  // of a sampler that changes its row
  std::vector<std::unique_ptr<Sample>> active_;
  GenerateStats stats_;
};

Sample Run::make_sample(const TextRequest& request, Generation& generation, int number) const {
  SamplingOptions sampling = request.options->sampling;
  sampling.seed = generation.seed;
  Sample sample{&request,
                &generation,
                number,
                request.tokens,
                {model_.new_sequence(), request.encoded},
                Sampler(sampling, static_cast<uint64_t>(number), request.options->logprobs),
                TextStream(tokenizer_, request.options->stop, request.continues)};
  sample.sampler.observe(request.tokens);
  return sample;
}

void Run::start(const TextRequest& request, Generation& generation) {
  check_options(*request.options, request.samples);
  check_prompt(model_, request.tokens);
  check(request.kept == nullptr || request.samples == 1, "one sample continues what is kept");
  const std::optional<uint64_t> seed = request.options->sampling.seed;
  generation.seed = seed ? *seed : random_seed();
  generation.samples.resize(static_cast<size_t>(request.samples));
  generation.stats.prompt_tokens = static_cast<int64_t>(request.tokens.size());
  Sample sample = make_sample(request, generation, 0);
  if (request.kept != nullptr) {
    sample.sequence = std::exchange(*request.kept, {model_.new_sequence()});
    generation.stats.cached_tokens = sample.sequence.rows.rows();
    check(sample.pending() > 0, "a prompt ends in a token without a row");
  }
  active_.push_back(std::make_unique<Sample>(std::move(sample)));
}

// Rows of the early tokens depend on how long the sequence is to be.
void Run::enter_regime(Sample& sample) const {
  const int32_t regime = model_.regime(static_cast<int64_t>(sample.tokens.size()));
  Sequence& sequence = sample.sequence;
  if (sequence.rows.rows() > 0 && sequence.regime != regime) model_.truncate(sequence.rows, 0);
  sequence.regime = regime;
}

// Fills the batch. Those that write come first, so that a long prompt does not hold them up.
// `ready` are the samples that get a row of logits, in the order of the rows. Returns whether some
// of a prompt is read.
bool Run::gather(std::vector<Sample*>& ready) {
  batch_.clear();
  const bool writing = std::any_of(active_.begin(), active_.end(),
                                   [](const auto& sample) { return sample->pending() == 1; });
  const Kernels::PromptSizes sizes = model_.kernels().prompt_sizes();
  int64_t room = 1;
  for (const auto& sample : active_) {
    const int64_t asked = sample->request->options->step_tokens;
    room = std::max(room, asked > 0 ? asked : writing ? sizes.beside : sizes.tokens);
    enter_regime(*sample);
  }
  const auto add = [&](Sample& sample, int64_t count) {
    const int64_t rows = sample.sequence.rows.rows();
    const auto tokens =
        std::span(sample.tokens).subspan(static_cast<size_t>(rows), static_cast<size_t>(count));
    if (count == sample.pending()) {
      batch_.add(sample.sequence, tokens);
      ready.push_back(&sample);
    } else {
      batch_.add(sample.sequence, tokens, {});
    }
    room -= count;
  };
  bool reads_prompt = false;
  for (const auto& sample : active_) {
    if (sample->pending() == 1) add(*sample, 1);
  }
  for (const auto& sample : active_) {
    if (sample->pending() == 1 || room <= 0) continue;
    add(*sample, std::min(sample->pending(), room));
    reads_prompt = true;
  }
  return reads_prompt;
}

void Run::pass() {
  const Stopwatch clock;
  std::vector<Sample*> ready;
  bool reads_prompt = gather(ready);
  for (const auto& sample : active_) reads_prompt |= sample->completion.tokens.empty();
  needed_ = needed(ready);
  needed_ > 0 ? batch_.run_to_candidates({.x = {}, .count = needed_}) : batch_.run();
  ++stats_.steps;
  for (size_t i = 0; i < ready.size(); ++i) {
    Sample& sample = *ready[i];
    const auto row = static_cast<int64_t>(i);
    if (sample.begins()) fork_samples(sample, row);
    accept(sample, choose(sample.sampler, row));
  }
  const auto chosen = std::ssize(ready);
  if (reads_prompt) report_prompts();
  const bool ending =
      std::any_of(active_.begin(), active_.end(), [](const auto& sample) { return sample->done; });
  if (ending) retire();
  (reads_prompt ? stats_.prompt_seconds : stats_.decode_seconds) += clock.seconds();
  if (!reads_prompt) stats_.decoded_tokens += chosen;
}

// How many of a row's likeliest tokens are enough for all who choose; 0: they need rows.
int64_t Run::needed(std::span<Sample* const> ready) const {
  if (!model_.judges_logits()) return 0;
  int64_t most = 0;
  for (const Sample* sample : ready) {
    const int64_t count = sample->sampler.needed();
    if (count == 0) return 0;
    most = std::max(most, count);
  }
  return most;
}

// Several may choose from one row.
SampledToken Run::choose(Sampler& sampler, int64_t row) {
  if (needed_ > 0) return sampler.choose(batch_.candidates(row));
  const std::span<const float> logits = batch_.logits(row);
  own_.assign(logits.begin(), logits.end());
  return sampler.sample(own_);
}

void Run::report_prompts() {
  for (const auto& sample : active_) {
    const GenerateOptions& options = *sample->request->options;
    if (sample->done || sample->number > 0 || !options.on_prompt) continue;
    if (sample->completion.tokens.size() > 1) continue;
    const auto total = static_cast<int64_t>(sample->request->tokens.size());
    const int64_t done = std::min(sample->sequence.rows.rows(), total);
    if (options.on_prompt(done, total)) continue;
    for (const auto& other : active_) {
      if (other->request == sample->request && !other->done) end(*other, Finish::cancelled);
    }
  }
}

// The other samples of a request begin where the first has read the prompt.
void Run::fork_samples(const Sample& first, int64_t row) {
  for (int number = 1; number < first.request->samples; ++number) {
    Sample sample = make_sample(*first.request, *first.generation, number);
    sample.sequence = first.sequence.fork();
    active_.push_back(std::make_unique<Sample>(std::move(sample)));
    accept(*active_.back(), choose(active_.back()->sampler, row));
  }
}

void Run::describe(Sample& sample, const SampledToken& sampled) const {
  if (sample.request->options->logprobs < 0) return;
  const auto probability = [&](int32_t token, double value) {
    const bool known = token < tokenizer_->size();  // models pad their vocabulary
    return TokenProbability{token, known ? std::string(tokenizer_->bytes(token)) : "", value};
  };
  GeneratedToken token{probability(sampled.token, sampled.logprob), {}};
  for (const LogProbability& one : sampled.top) {
    token.top.push_back(probability(one.token, one.value));
  }
  sample.completion.logprobs.push_back(std::move(token));
}

void Run::accept(Sample& sample, const SampledToken& sampled) {
  const GenerateOptions& options = *sample.request->options;
  describe(sample, sampled);
  sample.completion.tokens.push_back(sampled.token);
  sample.tokens.push_back(sampled.token);
  ++sample.generation->stats.generated_tokens;
  if (!options.ignore_end && tokens_.is_end(sampled.token)) return end(sample, Finish::end);
  const bool known = sampled.token < tokenizer_->size();
  const std::string piece = known ? sample.stream.push(sampled.token) : "";
  if (options.on_text && !options.on_text(sample.number, piece)) {
    return end(sample, Finish::cancelled);
  }
  const auto generated = static_cast<int64_t>(sample.completion.tokens.size());
  const auto total = static_cast<int64_t>(sample.tokens.size());
  if (!sample.stream.stop().empty()) return end(sample, Finish::stop);
  if (options.max_tokens > 0 && generated >= options.max_tokens) {
    return end(sample, Finish::length);
  }
  // The token just chosen would need a row of its own.
  if (total > model_.context()) end(sample, Finish::context);
}

void Run::end(Sample& sample, Finish reason) {
  const GenerateOptions& options = *sample.request->options;
  const std::string piece = sample.stream.finish();
  const bool wanted = reason != Finish::cancelled && !piece.empty() && options.on_text;
  if (wanted) options.on_text(sample.number, piece);
  sample.completion.text = sample.stream.text();
  sample.completion.stop = sample.stream.stop();
  sample.completion.finish = reason;
  sample.done = true;
}

// Takes what has ended out of the run.
void Run::retire() {
  raise_peak();
  for (const auto& sample : active_) {
    if (!sample->done) continue;
    auto& samples = sample->generation->samples;
    samples[static_cast<size_t>(sample->number)] = std::move(sample->completion);
    if (sample->request->kept != nullptr) *sample->request->kept = std::move(sample->sequence);
  }
  std::erase_if(active_, [](const auto& sample) { return sample->done; });
}

void Run::raise_peak() {
  std::unordered_set<const std::byte*> pages;
  std::unordered_set<const std::byte*> hot;
  std::unordered_set<const std::byte*> open;  // hot pages that have no page yet
  for (const auto& sample : active_) {
    const PageTable& rows = sample->sequence.rows;
    for (int64_t i = 0; i < rows.page_count(); ++i) pages.insert(rows.pages()[i]);
    if (rows.hot() != nullptr) hot.insert(rows.hot());
    if (rows.page_count() * kPageRows < rows.rows()) open.insert(rows.hot());
  }
  int64_t bytes = static_cast<int64_t>(pages.size()) * model_.self_pages().page_bytes();
  if (!hot.empty()) bytes += static_cast<int64_t>(hot.size()) * model_.hot_pages()->page_bytes();
  if (bytes <= stats_.context_bytes) return;
  stats_.context_bytes = bytes;
  const auto count = static_cast<int64_t>(pages.size() + open.size());
  stats_.context_kv_bytes =
      count * model_.self_pages().page_rows() * bf16_bytes_per_token(model_.spec());
}

GenerateStats Run::finish() {
  while (!active_.empty()) pass();
  return stats_;
}

}  // namespace

std::vector<Generation> Generator::run(std::span<const TextRequest> requests) {
  std::vector<Generation> generations(requests.size());
  Run run(model_, tokenizer_, tokens_);
  for (size_t i = 0; i < requests.size(); ++i) run.start(requests[i], generations[i]);
  const GenerateStats total = run.finish();
  for (Generation& generation : generations) {
    GenerateStats& stats = generation.stats;
    stats.decoded_tokens = total.decoded_tokens;
    stats.steps = total.steps;
    stats.prompt_seconds = total.prompt_seconds;
    stats.decode_seconds = total.decode_seconds;
    stats.context_bytes = total.context_bytes;
    stats.context_kv_bytes = total.context_kv_bytes;
  }
  return generations;
}

double GenerateStats::prompt_rate() const {
  const auto read = static_cast<double>(prompt_tokens - cached_tokens);
  return prompt_seconds > 0 ? read / prompt_seconds : 0;
}

double GenerateStats::decode_rate() const {
  return decode_seconds > 0 ? static_cast<double>(decoded_tokens) / decode_seconds : 0;
}

const char* name_of(Finish finish) {
  switch (finish) {
    case Finish::end:
      return "end";
    case Finish::stop:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::context:
      return "context";
    case Finish::cancelled:
      return "cancelled";
  }
  return "?";
}

}  // namespace slim
