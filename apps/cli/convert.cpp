// slim convert: stores the chosen plan and the weights derived for it.
#include <cstdio>
#include <memory>

#include "command.h"
#include "report.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string directory;
};

}  // namespace

Action add_convert(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_option("-o,--output", options->directory, "Directory to write; new, or empty")
      ->required();
  return [options] {
    const Conversion result =
        convert(options->model.model, options->directory, options->model.engine);
    print_layers(result.layers);
    print_calibration(result.calibration);
    const double growth =
        100 *
        (static_cast<double>(result.written_bytes) / static_cast<double>(result.source_bytes) - 1);
    std::printf("\nwritten   %s: %s of tensors, %+.2f %% of the source\n", result.directory.c_str(),
                bytes_text(result.written_bytes).c_str(), growth);
    return 0;
  };
}

}  // namespace slim::cli
