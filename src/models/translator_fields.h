// What the configs of BART's kin (Marian, M2M100, Pegasus) have in common: two stacks of one width
// with absolute positions and biases everywhere, and one table of embeddings that is the head, too.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "models/spec.h"
#include "weights/checkpoint.h"

namespace slim {

// What the class of a family in Transformers says where a config is silent.
struct TranslatorDefaults {
  std::string_view activation = "gelu";
  bool scaled = false;  // embeddings, by sqrt(D)
};

// Sizes, activation and the embedding's factor; learned positions, a layer norm before each branch
// and one at the end. A family changes what it does otherwise, on both sides alike.
ModelSpec read_translator(const JsonObject& config, std::string family,
                          const TranslatorDefaults& defaults);

// Positions of both sides by sines and cosines, w_i = 10000^(-i / steps).
void use_sinusoids(ModelSpec& spec, int64_t steps);
// Norms of both sides after the sums, and none at the end.
void use_post_norms(ModelSpec& spec);

// From the names of BART's tensors, which all of them use, to canonical ones.
const Checkpoint::Renames& bart_renames();

}  // namespace slim
