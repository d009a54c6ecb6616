// Command: one subcommand of the slim binary. A command is one file here and one line in main.cpp's
// table: it adds its options to the parser and returns what to run when it is chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <limits>
#include <string>

#include "slim/slim.h"

namespace slim::cli {

// Runs the command; returns the exit status. Throws slim::Error.
using Action = std::function<int()>;

Action add_transcribe(CLI::App& app);
Action add_translate(CLI::App& app);
Action add_forecast(CLI::App& app);
Action add_inspect(CLI::App& app);
Action add_verify(CLI::App& app);
Action add_bench(CLI::App& app);
Action add_generate(CLI::App& app);
Action add_chat(CLI::App& app);
Action add_perplexity(CLI::App& app);
Action add_convert(CLI::App& app);

// The options every command that loads a model has: -m, -c, --device, --threads and what is cached.
struct ModelOptions {
  std::string model;
  EngineOptions engine;
};
void add_model_options(CLI::App& app, ModelOptions& options);

// What an option that counts tokens may be.
inline CLI::Range counts() { return {int64_t{0}, int64_t{1} << 40}; }
inline CLI::Range small_counts() { return {0, std::numeric_limits<int>::max()}; }
// What a seed may be: the parser would take -1 for the largest.
CLI::Validator seeds();

// Exit statuses: 0 success, and one for each code of slim::Error (documented in docs/cli.md).
int exit_status(ErrorCode code);

// "1.2 GB": decimal units, as disks and cards count.
std::string bytes_text(int64_t bytes);

}  // namespace slim::cli
