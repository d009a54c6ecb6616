// The options of commands that generate text, and how its statistics are printed.
#pragma once

#include <CLI/CLI.hpp>

#include "slim/slim.h"

namespace slim::cli {

void add_generate_options(CLI::App& app, GenerateOptions& options);
void print_generate_stats(const GenerateStats& stats);  // to stderr

}  // namespace slim::cli
