// slim generate: continues a prompt. Text on stdout as it comes, or JSON at the end; everything
// else on stderr.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "output.h"
#include "progress.h"
#include "sampling_options.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string prompt;
  std::string file;
  GenerateRequest request;
  bool json = false;
  bool stats = false;
};

// A text in JSON: bytes that are part of a character as U+FFFD.
std::string dump(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

// The bytes themselves, for texts that are part of a character.
nlohmann::ordered_json bytes_of(const std::string& text) {
  nlohmann::ordered_json bytes = nlohmann::ordered_json::array();
  for (const char byte : text) bytes.push_back(static_cast<unsigned char>(byte));
  return bytes;
}

nlohmann::ordered_json probability_json(const TokenProbability& one) {
  return {{"token", one.token},
          {"text", one.text},
          {"bytes", bytes_of(one.text)},
          {"logprob", one.logprob}};
}

nlohmann::ordered_json sample_json(const Completion& sample, bool logprobs) {
  nlohmann::ordered_json all = {{"text", sample.text},
                                {"tokens", sample.tokens},
                                {"finish", name_of(sample.finish)},
                                {"stop", nullptr}};
  if (sample.finish == Finish::stop) all["stop"] = sample.stop;
  if (!logprobs) return all;
  all["logprobs"] = nlohmann::ordered_json::array();
  for (const GeneratedToken& token : sample.logprobs) {
    nlohmann::ordered_json one = probability_json(token.chosen);
    one["top"] = nlohmann::ordered_json::array();
    for (const TokenProbability& other : token.top) one["top"].push_back(probability_json(other));
    all["logprobs"].push_back(one);
  }
  return all;
}

std::string as_json(const Generation& generation, bool logprobs) {
  nlohmann::ordered_json samples = nlohmann::ordered_json::array();
  for (const Completion& sample : generation.samples) {
    samples.push_back(sample_json(sample, logprobs));
  }
  const GenerateStats& stats = generation.stats;
  return dump({{"samples", samples},
               {"seed", generation.seed},
               {"prompt_tokens", stats.prompt_tokens},
               {"generated_tokens", stats.generated_tokens},
               {"prompt_seconds", stats.prompt_seconds},
               {"prompt_tokens_per_second", stats.prompt_rate()},
               {"decode_seconds", stats.decode_seconds},
               {"decode_tokens_per_second", stats.decode_rate()},
               {"load_seconds", stats.load_seconds},
               {"weight_bytes", stats.weight_bytes},
               {"context_bytes", stats.context_bytes},
               {"context_kv_bytes", stats.context_kv_bytes}});
}

std::string prompt_of(const Options& options) {
  if (options.file.empty()) return options.prompt;
  std::string text = read_text(options.file);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

void warn(const Completion& sample) {
  if (sample.finish != Finish::context) return;
  std::fprintf(stderr, "slim: The context is full: the text ends there.\n");
}

int run(Options& options) {
  GenerateRequest& request = options.request;
  GenerateOptions& generate = request.options;
  if (generate.logprobs >= 0 && !options.json) {
    throw Error(ErrorCode::bad_request, "Log-probabilities are printed with --json only.",
                "--logprobs");
  }
  request.prompt = prompt_of(options);
  Engine engine(options.model.model, options.model.engine);
  const Interrupt interrupt;
  Progress progress(true);
  const bool streams = !options.json && request.samples == 1;
  bool read = true;
  generate.on_text = [&](int, const std::string& text) {
    progress.clear();
    if (streams && !text.empty()) read = put(text);
    return read && !interrupt.requested();
  };
  generate.on_prompt = [&](int64_t done, int64_t total) {
    progress.show("prompt", static_cast<double>(done), static_cast<double>(total), "tokens");
    return !interrupt.requested();
  };
  const Generation generation = engine.generate(request);
  progress.clear();
  if (options.json) {
    put(as_json(generation, generate.logprobs >= 0));
  } else if (streams) {
    if (read) put("\n");
  } else {
    for (const Completion& sample : generation.samples) put(sample.text + "\n----\n");
  }
  for (const Completion& sample : generation.samples) warn(sample);
  if (options.stats) print_generate_stats(generation.stats);
  return interrupt.requested() ? kInterrupted : 0;
}

}  // namespace

Action add_generate(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  CLI::Option_group* prompt = app.add_option_group("prompt");
  prompt->add_option("-p,--prompt", options->prompt, "Text to continue");
  prompt->add_option("-f,--file", options->file,
                     "... from a file (- is stdin), without a newline at its end");
  prompt->require_option(1);
  add_generate_options(app, options->request.options);
  app.add_option("--num-samples", options->request.samples, "Texts over one copy of the prompt")
      ->capture_default_str();
  app.add_option("--logprobs", options->request.options.logprobs,
                 "With --json: log-probabilities of each token and of so many alternatives")
      ->check(CLI::Range(0, 1000));
  app.add_flag("--json", options->json, "Print JSON at the end");
  app.add_flag("--stats", options->stats, "Print times and memory to stderr");
  return [options] { return run(*options); };
}

}  // namespace slim::cli
