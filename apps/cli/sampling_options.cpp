// Names and defaults are those of other engines, but for the temperature: greedy unless asked.
#include "sampling_options.h"

#include <cstdio>

#include "command.h"

namespace slim::cli {

void add_generate_options(CLI::App& app, GenerateOptions& options) {
  SamplingOptions& sampling = options.sampling;
  app.add_option("-n,--tokens,--max-tokens", options.max_tokens,
                 "Tokens at most (0: until the model ends or the context is full)")
      ->check(counts())
      ->capture_default_str();
  app.add_option("--temp,--temperature", sampling.temperature, "Temperature (0: greedy)")
      ->capture_default_str();
  app.add_option("--top-k", sampling.top_k, "Keep the k likeliest tokens (0: all)")
      ->capture_default_str();
  app.add_option("--top-p", sampling.top_p, "Keep the fewest with this much of the probability")
      ->capture_default_str();
  app.add_option("--min-p", sampling.min_p,
                 "Keep tokens with this share of the likeliest one's probability")
      ->capture_default_str();
  app.add_option("--repeat-penalty", sampling.repeat_penalty,
                 "Divides the logits of tokens in prompt or text (1: not)")
      ->capture_default_str();
  app.add_option("--presence-penalty", sampling.presence_penalty,
                 "Subtracted from the logits of tokens in the text")
      ->capture_default_str();
  app.add_option("--frequency-penalty", sampling.frequency_penalty,
                 "... for each time they are in it")
      ->capture_default_str();
  app.add_option("--seed", sampling.seed, "Seed (default: a random one)")->check(seeds());
  app.add_option("--stop", options.stop, "Ends the text before this; may be repeated");
  app.add_flag("--ignore-eos", options.ignore_end, "Go on after an end-of-text token");
  app.add_option("--step-tokens", options.step_tokens, "Prompts are read in chunks of so many")
      ->capture_default_str();
}

void print_generate_stats(const GenerateStats& stats) {
  const double held = static_cast<double>(stats.context_bytes);
  const double share =
      stats.context_kv_bytes > 0 ? 100 * held / static_cast<double>(stats.context_kv_bytes) : 0;
  std::fprintf(stderr, "load      %9.2f s\n", stats.load_seconds);
  std::fprintf(stderr, "prompt    %9lld tokens (%lld cached): %.2f s, %.1f tokens/s\n",
               static_cast<long long>(stats.prompt_tokens),
               static_cast<long long>(stats.cached_tokens), stats.prompt_seconds,
               stats.prompt_rate());
  std::fprintf(stderr, "text      %9lld tokens: %.2f s, %.1f tokens/s, in %lld passes\n",
               static_cast<long long>(stats.generated_tokens), stats.decode_seconds,
               stats.decode_rate(), static_cast<long long>(stats.steps));
  std::fprintf(stderr, "weights   %12s\n", bytes_text(stats.weight_bytes).c_str());
  std::fprintf(stderr, "context   %12s held at most; a standard cache in bf16: %s (%.1f %%)\n",
               bytes_text(stats.context_bytes).c_str(), bytes_text(stats.context_kv_bytes).c_str(),
               share);
}

}  // namespace slim::cli
