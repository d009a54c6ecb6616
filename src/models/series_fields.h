// What the config.json of a model of series says of them, under "chronos_config": how values become
// tokens or patches, and what becomes of what the decoder says. The stacks are another matter.
#pragma once

#include "base/json.h"
#include "models/spec.h"

namespace slim {

// Nothing if there is no such field. Else fills in spec.series; of a model of patches also the
// vocabulary, and the positions of both sides, which are what one series takes. Throws
// Error{bad_file} for numbers that make no sense, and Error{unsupported_model} for other ways of
// making tokens.
void read_series(const JsonObject& config, ModelSpec& spec);

}  // namespace slim
