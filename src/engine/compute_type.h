// Compute types: what products and attention take (Arithmetic), by the names that CTranslate2 and
// faster-whisper have for it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernels.h"
#include "weights/checkpoint.h"

namespace slim {

std::vector<std::string> compute_type_names();  // "auto", then one for each
std::string_view name_of(const Arithmetic& arithmetic);

// "auto": where the checkpoint has weights of i8 and the kernels round inputs, products of i8; if
// `may_round` (a model with an encoder, whose rows are not asked for in f32) and the kernels have
// it, attention in i16; else f32. `checkpoint` may be null (a config alone).
// Throws Error{bad_request} for an unknown name, for rounded inputs where the weights have none,
// and for what the device has not.
Arithmetic compute_type(const std::string& name, bool may_round, const Checkpoint* checkpoint,
                        const Kernels& kernels);

}  // namespace slim
