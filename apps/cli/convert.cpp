// slim convert: stores the chosen plan and the weights derived for it, or weights of another type.
#include <cstdio>
#include <memory>

#include "command.h"
#include "report.h"

namespace slim::cli {
namespace {

struct Options {
  ModelOptions model;
  std::string directory;
  std::string weights;
};

void print_written(const Conversion& result) {
  const double growth =
      100 *
      (static_cast<double>(result.written_bytes) / static_cast<double>(result.source_bytes) - 1);
  std::printf("written   %s: %s of tensors, %+.2f %% of the source\n", result.directory.c_str(),
              bytes_text(result.written_bytes).c_str(), growth);
}

int change_weights(const Options& options) {
  const Conversion result =
      convert_weights(options.model.model, options.directory, options.weights);
  print_written(result);
  if (result.rounded.empty()) {
    std::printf("weights   %s: every number as it was\n", result.weights.c_str());
  } else {
    std::printf("weights   %s: rounding changes a matrix by %.2g of its size at most (%s)\n",
                result.weights.c_str(), result.rounding, result.rounded.c_str());
  }
  return 0;
}

}  // namespace

Action add_convert(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  add_model_options(app, options->model);
  app.add_option("-o,--output", options->directory, "Directory to write; new, or empty")
      ->required();
  CLI::Option* const weights =
      app.add_option("--weights", options->weights,
                     "Speech models: weights of this type, f32, f16, bf16 or i8, from any form of "
                     "the model, for every cache");
  for (const char* cache : {"--cache", "--cache-type", "--cache-budget", "--calibration", "--spill",
                            "--rank", "--force-cache"}) {
    weights->excludes(app.get_option(cache));
  }
  return [options, weights] {
    if (weights->count() > 0) return change_weights(*options);
    const Conversion result =
        convert(options->model.model, options->directory, options->model.engine);
    print_layers(result.layers);
    print_calibration(result.calibration);
    std::printf("\n");
    print_written(result);
    return 0;
  };
}

}  // namespace slim::cli
