// What the K-cache takes from the weights of a layer: the prediction of its errors, by which a plan
// chooses rows, and the map, spill and shaping of the rows chosen.
#pragma once

#include "attention/scheme.h"

namespace slim {

// The condition number of W_K; and where keys are turned and could be sealed, the errors predicted
// for all key_choices(). Takes the input as white. Cost: about 8 e^3 operations, and for each
// spill and rank a few hundred rank e^2 more. Weights that are not finite: Error{bad_file}.
Conditioning find_conditioning(const AttentionSpec& spec, const AttentionWeights& weights);

// For sealed rows M is rounded to i16, shaped; for others it is f32. Throws
// Error{unsupported_model} if no such map exists.
DerivedWeights derive_weights(const AttentionWeights& weights, const RowChoice& rows);

}  // namespace slim
