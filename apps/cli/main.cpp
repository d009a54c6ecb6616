// The slim binary: parses the command line, runs one command, turns an Error into one sentence on
// stderr and an exit status.
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iterator>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "command.h"
#include "output.h"

namespace slim::cli {
namespace {

struct Entry {
  const char* name;
  const char* help;
  Action (*add)(CLI::App&);
};

constexpr Entry kCommands[] = {
    {"transcribe", "Turn speech into text", add_transcribe},
    {"translate", "Turn lines of text into others: translations, summaries", add_translate},
    {"forecast", "Tell what comes after series of numbers", add_forecast},
    {"generate", "Continue a text", add_generate},
    {"chat", "Talk with a model in the terminal", add_chat},
    {"inspect", "Show a model's cache plan: kinds, sizes, conditioning", add_inspect},
    {"verify", "Measure how far a cache is from a standard one in f32", add_verify},
    {"perplexity", "Measure how well a model foretells a text", add_perplexity},
    {"convert", "Store a cache plan and the weights derived for it", add_convert},
    {"bench", "Time a model, standard cache and slim in turn", add_bench},
};

// openai-whisper's command gives its flags a value, --word_timestamps True: joined to it, as the
// parser takes them. Last first, which is the order it wants.
std::vector<std::string> joined_arguments(int argc, char** argv) {
  std::vector<std::string> arguments;
  for (const std::string_view argument : std::span(argv, static_cast<size_t>(argc)).subspan(1)) {
    const bool value = argument == "True" || argument == "False";
    if (value && !arguments.empty() && arguments.back().starts_with("--")) {
      arguments.back() += "=" + std::string(argument);
    } else {
      arguments.emplace_back(argument);
    }
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

// The parser takes "" for 0.
void refuse_empty_numbers(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    const std::string type = option->get_type_name();
    if (!type.starts_with("INT") && !type.starts_with("UINT") && !type.starts_with("FLOAT")) {
      continue;
    }
    option->check([](const std::string& value) -> std::string {
      return value.empty() ? "a number is missing" : "";
    });
  }
}

int run(int argc, char** argv) {
  // A reader that goes away is noticed by what is written, not by dying.
  std::signal(SIGPIPE, SIG_IGN);
  CLI::App app{"Slim: inference with slim attention (half the context memory, or less)", "slim"};
  app.set_version_flag("--version", std::string("slim ") + version());
  app.require_subcommand(1);
  std::vector<std::pair<CLI::App*, Action>> actions;
  for (const Entry& entry : kCommands) {
    CLI::App* command = app.add_subcommand(entry.name, entry.help);
    actions.emplace_back(command, entry.add(*command));
    refuse_empty_numbers(*command);
  }
  try {
    app.parse(joined_arguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : exit_status(ErrorCode::bad_request);
  }
  for (const auto& [command, action] : actions) {
    if (!command->parsed()) continue;
    const int status = action();
    finish_output();
    return status;
  }
  return 0;
}

}  // namespace

CLI::Validator seeds() {
  const auto check = [](const std::string& text) -> std::string {
    uint64_t seed = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), seed);
    if (failure == std::errc() && end == text.data() + text.size()) return "";
    return text + " is no whole number from 0 to 18446744073709551615";
  };
  return {check, "UINT"};
}

int exit_status(ErrorCode code) {
  switch (code) {
    case ErrorCode::bad_request:
      return 2;
    case ErrorCode::unsupported_model:
      return 3;
    case ErrorCode::bad_file:
      return 4;
    case ErrorCode::out_of_memory:
      return 5;
    case ErrorCode::device:
      return 6;
    case ErrorCode::internal:
      break;
  }
  return 70;
}

std::string bytes_text(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

namespace {

// What is wrong with a device, or "". Asked of the default, no card has to be woken up.
std::string device_error(const std::string& name) {
  if (name == EngineOptions().device) return "";
  std::string known;
  for (const std::string& device : devices()) {
    if (device == name) return "";
    known += (known.empty() ? "" : ", ") + device;
  }
  return "there is no device '" + name + "'; this machine has " + known;
}

}  // namespace

void add_model_options(CLI::App& app, ModelOptions& options) {
  app.add_option(
         "-m,--model", options.model,
         "Model directory (Hugging Face or CTranslate2), .gguf file, or whisper.cpp's .bin file")
      ->required();
  app.add_option("--device", options.engine.device, "Where to run")
      ->check(device_error, "cpu, cuda, cuda:N, reference or cpu:INSTRUCTIONS")
      ->capture_default_str();
  app.add_option("-t,--threads", options.engine.threads, "Threads (0: one per processor)")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--cache", options.engine.cache, "What is cached")
      ->check(CLI::IsMember({"auto", "kv", "x", "k"}))
      ->capture_default_str();
  app.add_option(
         "--cache-type", options.engine.cache_type,
         "Type of cached rows (default: f16, i16 where attention is in it; for k by the budget)")
      ->check(CLI::IsMember(cache_types()));
  app.add_option(
         "--compute-type", options.engine.compute_type,
         "What activations are rounded to (auto: int8 where weights are i8; on processors, models "
         "with an encoder have attention in int16, unless rows are asked for in f32)")
      ->check(CLI::IsMember(compute_types()))
      ->capture_default_str();
  app.add_option("--cache-budget", options.engine.cache_budget,
                 "Largest predicted error of k, relative to that of kv in bf16")
      ->capture_default_str();
  app.add_option("--calibration", options.engine.calibration,
                 "Text to choose rows of k on, by measured instead of predicted error")
      ->type_name("FILE");
  app.add_option("--spill", options.engine.spill, "Columns beside the keys (default: chosen)");
  app.add_option("--rank", options.engine.rank,
                 "Rank of shaped rounding (0: plain; default: chosen)");
  app.add_option("-c,--context", options.engine.context,
                 "Tokens of a sequence at most (0: what the model was made for)")
      ->check(counts())
      ->capture_default_str();
  app.add_flag("--force-cache", options.engine.force_cache,
               "Run a cache that the plan refuses, to look at its error");
}

}  // namespace slim::cli

int main(int argc, char** argv) {
  try {
    return slim::cli::run(argc, argv);
  } catch (const slim::Error& error) {
    std::fprintf(stderr, "slim: %s\n", error.what());
    return slim::cli::exit_status(error.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "slim: There is not enough memory.\n");
    return slim::cli::exit_status(slim::ErrorCode::out_of_memory);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "slim: %s\n", error.what());
    return slim::cli::exit_status(slim::ErrorCode::internal);
  }
}
