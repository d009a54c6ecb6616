// config.json of a speech model, written from its spec: what a file of another format says by its
// shapes, in Hugging Face's fields.
#pragma once

#include <string>

#include "models/spec.h"

namespace slim {

// Reading it gives the spec again. Of speech models alone.
std::string write_config(const ModelSpec& spec);

}  // namespace slim
